"""Which tensors of a model are prunable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lthprune.arguments import check_module, check_word
from lthprune.errors import PruningError, suggestion
from lthprune.pruning.keeping import kept_mask
from lthprune.pruning.kinds import ALL_KINDS, DEFAULT_KINDS, Kind, ModelParameter, model_parameters
from lthprune.pruning.naming import further_names, join, named_modules


@dataclass(frozen=True)
class Selection:
    """Which parameters are prunable: by kind, by name and by predicate; a parameter must pass all three.

    - ``kinds``: ``"conv"`` (convolutions of 1 to 3 dimensions, transposed ones too), ``"dense"`` (``nn.Linear``, the
      ``Conv1D`` of transformers), ``"output"`` (the layer that ``output`` names), ``"recurrent"`` (``nn.LSTM``,
      ``nn.GRU``, ``nn.RNN`` and their cells), ``"attention"`` (``nn.MultiheadAttention``), ``"bilinear"``: these by
      default. Besides ``"embedding"``, ``"matrix"`` (any other parameter of two or more dimensions) and ``"vector"``
      (any other: gains of norms, scales).
    - ``include``, ``exclude``: shell-style patterns for names of layers, as in ``model.named_modules()``, or of
      parameters, as in ``model.named_parameters()``.
    - ``where``: a predicate on a layer's name and module.
    - ``output``: the name of the output layer; ``"auto"`` takes the last dense or convolutional layer in the
      order of registration, ``None`` treats no layer as the output.

    A tied parameter has to pass under every one of its names.

    Examples:
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
                raise PruningError(f"{name} = {value!r}: this must be a tuple of texts, as in {example}.")
        if self.where is not None and not callable(self.where):
            raise PruningError(f"where = {self.where!r}: this must be a function of a layer's name and module.")
        if self.output is not None and not isinstance(self.output, str):
            raise PruningError(f"output = {self.output!r}: this must be the name of a layer, 'auto' or None.")
        for kind in self.kinds:
            check_word("kind of layer", kind, ALL_KINDS)

    def describe(self) -> dict[str, object]:
        """Return the selection in words fit for a file; a predicate by its name."""
        where = None if self.where is None else getattr(self.where, "__qualname__", type(self.where).__qualname__)
        words = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return words | {"where": where}


@dataclass(frozen=True, eq=False)
class PrunableTensor:
    """A weight or bias that may be pruned, in all places where the model holds it.

    Attributes:
        name: its plain name, such as ``"dense1.weight"``, pruned or not; the first one of a tied tensor.
        parameter: the dense parameter: in torch's form ``weight_orig``, else ``weight``.
        kind: by its module.
        is_bias: whether it is a bias.
        places: (layer, module, attribute) of every module that holds it.
    """

    name: str
    parameter: nn.Parameter
    kind: Kind
    is_bias: bool
    places: tuple[tuple[str, nn.Module, str], ...]

    @property
    def layer(self) -> str:
        """The plain name of the first module that holds it."""
        return self.places[0][0]

    @property
    def module(self) -> nn.Module:
        """The first module that holds it."""
        return self.places[0][1]

    @property
    def attribute(self) -> str:
        """Its name in that module."""
        return self.places[0][2]

    @property
    def mask(self) -> Tensor | None:
        """The mask, in either form; None while the tensor is not pruned."""
        kept = kept_mask(self.parameter)
        return kept.values if kept is not None else self.module._buffers.get(f"{self.attribute}_mask")


@dataclass(frozen=True)
class Choice:
    """What becomes of one parameter: ``reason`` says why it is left out, and is empty where it is prunable."""

    name: str
    kind: Kind
    is_bias: bool
    places: tuple[ModelParameter, ...]
    reason: str


def select(model: nn.Module, selection: Selection | None = None, *, bias: bool = False) -> list[PrunableTensor]:
    """Return the prunable tensors of a model, in the order of registration; a tied one once.

    Raises:
        PruningError: it is no module, a pattern matches no layer, there is nothing to prune, or a chosen tensor is
            computed from others (parametrised, adapted), shares memory with another parameter, is not initialised
            yet, is on the meta device or sharded.
    """
    selection = selection or Selection()
    chosen = [choice for choice in choices(model, selection, bias=bias) if not choice.reason]
    tensors = [
        PrunableTensor(
            name=choice.name,
            parameter=choice.places[0].parameter,
            kind=choice.kind,
            is_bias=choice.is_bias,
            places=tuple((place.layer, place.module, place.attribute) for place in choice.places),
        )
        for choice in chosen
        if choice.places[0].parameter is not None
    ]
    _refuse_computed([choice for choice in chosen if choice.places[0].parameter is None])
    _refuse_unusable(model, tensors)
    if not tensors:
        raise PruningError(
            f"the selection leaves nothing to prune in {type(model).__name__}: no layer passes "
            f"kinds={tuple(selection.kinds)} and its patterns.{_other_kinds(model, selection)} {_layers_of(model)}"
        )
    return tensors


def _other_kinds(model: nn.Module, selection: Selection) -> str:
    """Name the kinds that would have been chosen but for ``kinds``."""
    everything = replace(selection, kinds=ALL_KINDS)
    kinds = tuple(
        dict.fromkeys(each.kind for each in choices(model, everything) if not each.reason and not each.is_bias)
    )
    return f" Parameters of other kinds do: Selection(kinds={kinds!r}, ...) prunes them." if kinds else ""


def choices(model: nn.Module, selection: Selection, *, bias: bool = False) -> list[Choice]:
    """Return what becomes of every parameter of a model, in the order of registration; a tied one comes once.

    Raises:
        PruningError: it is no module, has nothing to prune or is not initialised, or a pattern matches no layer.
    """
    check_module(model)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise PruningError(f"{name!r} is not initialised yet (a lazy layer). Run one forward pass before pruning.")
    everything = list(model_parameters(model))
    if not any(each.kind != "vector" and not each.is_bias for each in everything):
        raise PruningError(f"{type(model).__name__} has no parameters of two or more dimensions: nothing to prune.")
    output = _output_layer(everything, selection.output)
    further = further_names(model)
    names = dict.fromkeys(
        name
        for each in everything
        for layer in (each.layer, *further.get(id(each.module), ()))
        for name in (layer, join(layer, each.attribute))
    )
    for pattern in (*selection.include, *selection.exclude):
        if not any(_fits(name, pattern) for name in names):
            raise PruningError(
                f"the pattern {pattern!r} matches no layer and no parameter{suggestion(pattern, names)} "
                f"{_layers_of(model)}"
            )
    adapted = _adapted(model)
    tied: dict[int, list[ModelParameter]] = {}
    for each in everything:
        tied.setdefault(id(each.parameter if each.parameter is not None else each), []).append(each)
    found = []
    for places in tied.values():
        kinds = [_kind(place, output) for place in places]
        reasons = [
            _left_out(place, further.get(id(place.module), ()), kind, selection, bias=bias)
            for place, kind in zip(places, kinds, strict=True)
        ]
        reason = next((reason for reason in reasons if reason), "")
        if reason and not all(reasons):
            names_left = ", ".join(place.name for place, why in zip(places, reasons, strict=True) if why)
            reason = f"tied to {names_left}, which is left out ({reason})"
        if not reason and places[0].layer in adapted:
            places = [_without_parameter(places[0])]
        found.append(Choice(places[0].name, kinds[0], places[0].is_bias, tuple(places), reason))
    return found


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)  # a name may have brackets, which patterns read otherwise


def _kind(place: ModelParameter, output: str | None) -> Kind:
    return "output" if place.layer == output and place.kind in ("dense", "conv") else place.kind


def _left_out(place: ModelParameter, further: Sequence[str], kind: Kind, selection: Selection, *, bias: bool) -> str:
    """Say why a parameter is not prunable in one of its places; an empty text where it is.

    ``further`` are more names of its layer, which any pattern may match.
    """

    def matches(patterns: Sequence[str]) -> bool:
        layers = (place.layer, *further)
        names = [name for layer in layers for name in (layer, join(layer, place.attribute))]
        return any(_fits(name, pattern) for pattern in patterns for name in names)

    if place.is_bias and not bias:
        return "biases are not pruned"
    if kind not in selection.kinds:
        return f"kind {kind!r} is not selected"
    if not matches(selection.include):
        return "not included"
    if matches(selection.exclude):
        return "excluded"
    if selection.where is not None and not selection.where(place.layer, place.module):
        return "excluded by where"
    return ""


def _output_layer(everything: Sequence[ModelParameter], output: str | None) -> str | None:
    names = list(dict.fromkeys(each.layer for each in everything if each.kind in ("dense", "conv")))
    if output == "auto":
        return names[-1] if names else None
    if output is not None and output not in names:
        raise PruningError(
            f"the output layer {output!r} is not a dense or convolutional layer of this model"
            f"{suggestion(output, names)} Layers: {', '.join(names)}."
        )
    return output


def _layers_of(model: nn.Module) -> str:
    layers = dict.fromkeys(each.layer for each in model_parameters(model) if each.kind in DEFAULT_KINDS)
    return f"Layers: {', '.join(layers)}." if layers else "lthprune.describe(model) lists its parameters."


def _adapted(model: nn.Module) -> set[str]:
    """Return the names of the layers that compute one weight together, as LoRA and its like do."""
    adapted = set()
    for name, module in named_modules(model):
        if isinstance(getattr(module, "base_layer", None), nn.Module):
            adapted |= {f"{name}.{inner}".strip(".") for inner, _ in named_modules(module)}
    return adapted


def _without_parameter(place: ModelParameter) -> ModelParameter:
    return ModelParameter(place.layer, place.module, place.attribute, None, place.kind, place.is_bias)


def _refuse_computed(computed: Sequence[Choice]) -> None:
    if computed:
        names = [choice.name for choice in computed]
        raise PruningError(
            f"{', '.join(map(repr, names))}: computed from other parameters in every forward pass (a weight norm, a "
            "spectral norm, an adapter such as LoRA), so a mask would be overwritten. Remove the parametrisation or "
            f"merge the adapter first, or leave them all out: Selection(exclude={tuple(names)!r})."
        )


def _refuse_unusable(model: nn.Module, tensors: Sequence[PrunableTensor]) -> None:
    """Refuse parameters without values of their own in this process."""
    owners: dict[tuple[int, torch.device], dict[int, str]] = {}  # of each piece of memory: its parameters
    for each in model_parameters(model):
        if each.parameter is not None and each.parameter.numel() and not each.parameter.is_meta:
            place = (each.parameter.data_ptr(), each.parameter.device)
            owners.setdefault(place, {}).setdefault(id(each.parameter), each.name)
    for tensor in tensors:
        parameter = tensor.parameter
        if hasattr(parameter, "device_mesh"):
            raise PruningError(
                f"{tensor.name!r} is sharded over processes (FSDP2, tensor parallelism), and a mask has to be chosen "
                "from the whole of it. Search with the model as it is before sharding, or train with "
                "DistributedDataParallel."
            )
        if parameter.is_meta:
            raise PruningError(
                f"{tensor.name!r} is on the meta device and has no values to prune by. Make the model on a real "
                "device, or move it: model.to_empty(device='cpu'), and initialise it."
            )
        if parameter.dtype.itemsize < 2:
            raise PruningError(f"{tensor.name!r} has the type {parameter.dtype}, in which nothing can be ranked.")
        if parameter.numel() and len(sharing := owners[parameter.data_ptr(), parameter.device]) > 1:
            raise PruningError(
                f"{' and '.join(map(repr, sharing.values()))} are different parameters that share memory, and an "
                "optimiser would train it twice. Tie them as one parameter (a.weight = b.weight), or give each its own "
                "memory."
            )
