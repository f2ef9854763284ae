"""Selections: which parameters of a model are to be pruned."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lthprune.arguments import check_word
from lthprune.errors import PruningError
from lthprune.pruning.kinds import ALL_KINDS, DEFAULT_KINDS, Kind


@dataclass(frozen=True)
class Selection:
    """Which parameters are prunable: by kind, by name and by predicate; a parameter must pass all three.

    - ``kinds``: by default ``"conv"`` (convolutions of 1 to 3 dimensions, also transposed), ``"dense"``
      (``nn.Linear``, the ``Conv1D`` of transformers), ``"output"`` (the layer that ``output`` names), ``"recurrent"``
      (``nn.LSTM``, ``nn.GRU``, ``nn.RNN`` and their cells), ``"attention"`` (``nn.MultiheadAttention``) and
      ``"bilinear"``. Further kinds: ``"embedding"``, ``"matrix"`` (any other parameter of two or more dimensions) and
      ``"vector"`` (any other parameter: gains of norms, scales).
    - ``include``, ``exclude``: shell-style patterns for names of layers, as in ``model.named_modules()``, or of
      parameters, as in ``model.named_parameters()``.
    - ``where``: a predicate on a layer's name and module.
    - ``output``: the name of the output layer. ``"auto"`` takes the last dense or convolutional layer in the
      order of registration, ``None`` treats no layer as the output.

    A tied parameter must pass under each of its names.

    Raises:
        PruningError: an argument has the wrong type, or a kind is unknown.

    Examples:
        >>> from lthprune.pruning import select
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        >>> [(tensor.name, tensor.kind) for tensor in select(model)]
        [('0.weight', 'dense'), ('2.weight', 'output')]
        >>> [tensor.name for tensor in select(model, Selection(exclude=("2",)), bias=True)]
        ['0.weight', '0.bias']
        >>> [tensor.name for tensor in select(nn.Embedding(4, 3), Selection(kinds=(*Selection.kinds, "embedding")))]
        ['weight']
    """

    kinds: tuple[Kind, ...] = DEFAULT_KINDS
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    where: Callable[[str, nn.Module], bool] | None = None
    output: str | None = "auto"

    def __post_init__(self) -> None:
        for name in ("kinds", "include", "exclude"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or not all(isinstance(each, str) for each in value):
                example = f"({value!r},)" if isinstance(value, str) else "('conv',)" if name == "kinds" else "('fc*',)"
                raise PruningError(f"{name} = {value!r}: this must be a tuple of strings, as in {example}.")
        if self.where is not None and not callable(self.where):
            raise PruningError(f"where = {self.where!r}: this must be a function of a layer's name and module.")
        if self.output is not None and not isinstance(self.output, str):
            raise PruningError(f"output = {self.output!r}: this must be the name of a layer, 'auto' or None.")
        for kind in self.kinds:
            check_word("kind of layer", kind, ALL_KINDS)

    def describe(self) -> dict[str, object]:
        """Return the selection as values that a file can hold; a predicate is represented by its name."""
        where = None if self.where is None else getattr(self.where, "__qualname__", type(self.where).__qualname__)
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return values | {"where": where}
