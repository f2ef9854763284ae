"""Which tensors of a model are prunable."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from lthprune.arguments import check_module, check_word
from lthprune.errors import PruningError, suggestion

Kind = Literal["conv", "dense", "output"]


@dataclass(frozen=True)
class Selection:
    """Which layers are prunable: by kind, by name and by predicate; a layer must pass all three.

    - ``kinds``: ``"conv"`` (convolutions of 1 to 3 dimensions, transposed ones too), ``"dense"``
      (``nn.Linear``) and ``"output"`` (the layer that ``output`` names).
    - ``include``, ``exclude``: shell-style patterns for layer names, as in ``model.named_modules()``.
    - ``where``: a predicate on a layer's name and module.
    - ``output``: the name of the output layer; ``"auto"`` takes the last dense or convolutional layer in the
      order of registration, ``None`` treats no layer as the output.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        >>> [(tensor.name, tensor.kind) for tensor in select(model)]
        [('0.weight', 'dense'), ('2.weight', 'output')]
        >>> [tensor.name for tensor in select(model, Selection(exclude=("2",)), bias=True)]
        ['0.weight', '0.bias']
    """

    kinds: tuple[Kind, ...] = ("conv", "dense", "output")
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    where: Callable[[str, nn.Module], bool] | None = None
    output: str | None = "auto"

    def __post_init__(self) -> None:
        for name in ("kinds", "include", "exclude"):
            if isinstance(getattr(self, name), str):
                raise PruningError(
                    f"{name} = {getattr(self, name)!r}: this must be a tuple, as in ({getattr(self, name)!r},)."
                )
        for kind in self.kinds:
            check_word("kind of layer", kind, get_args(Kind))

    def describe(self) -> dict[str, object]:
        """Return the selection in words fit for a file; a predicate by its name."""
        where = None if self.where is None else getattr(self.where, "__qualname__", type(self.where).__qualname__)
        words = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return words | {"where": where}


@dataclass(frozen=True)
class PrunableTensor:
    """A weight or bias that may be pruned: ``layer`` is its module's name, ``attribute`` the tensor's."""

    layer: str
    module: nn.Module
    attribute: Literal["weight", "bias"]
    kind: Kind

    @property
    def name(self) -> str:
        """The tensor's plain name, such as ``"dense1.weight"``, pruned or not."""
        return f"{self.layer}.{self.attribute}" if self.layer else self.attribute

    @property
    def parameter(self) -> nn.Parameter:
        """The dense parameter: ``weight_orig`` once the module is pruned in torch's terms, else ``weight``."""
        parameters = self.module._parameters
        parameter = parameters.get(f"{self.attribute}_orig", parameters.get(self.attribute))
        assert isinstance(parameter, nn.Parameter)
        return parameter

    @property
    def mask(self) -> Tensor | None:
        """The live mask buffer, or None while the tensor is not pruned."""
        return self.module._buffers.get(f"{self.attribute}_mask")


def select(model: nn.Module, selection: Selection | None = None, *, bias: bool = False) -> list[PrunableTensor]:
    """Return the prunable tensors of a model, in the order of registration.

    Raises:
        PruningError: it is no module, a pattern matches no layer, nothing is left to prune, or a chosen tensor is
            one that torch's pruning hooks do not reach: tied to another module, inside ``nn.MultiheadAttention``,
            parametrised; or something of the model is not initialised yet.
    """
    check_module(model)
    selection = selection or Selection()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise PruningError(f"{name!r} is not initialised yet (a lazy layer). Run one forward pass before pruning.")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | _ConvNd)}
    if not layers:
        raise PruningError(
            f"{type(model).__name__} has no dense or convolutional layers (nn.Linear, nn.Conv*d, "
            "nn.ConvTranspose*d), so there is nothing to prune."
        )
    output = _output_layer(layers, selection.output)
    for pattern in (*selection.include, *selection.exclude):
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise PruningError(
                f"the pattern {pattern!r} matches no dense or convolutional layer"
                f"{suggestion(pattern, layers)} Layers: {', '.join(layers)}."
            )
    chosen = {
        name: (module, _kind(module, is_output=name == output))
        for name, module in layers.items()
        if any(fnmatchcase(name, pattern) for pattern in selection.include)
        and not any(fnmatchcase(name, pattern) for pattern in selection.exclude)
        and (selection.where is None or selection.where(name, module))
    }
    tensors = [
        PrunableTensor(name, module, attribute, kind)
        for name, (module, kind) in chosen.items()
        if kind in selection.kinds
        for attribute in (("weight", "bias") if bias else ("weight",))
        if attribute == "weight" or module.bias is not None
    ]
    if not tensors:
        raise PruningError(
            f"the selection leaves nothing to prune in {type(model).__name__}: "
            f"no layer passes kinds={selection.kinds} and its patterns. Layers: {', '.join(layers)}."
        )
    _refuse_unreachable(model, tensors)
    return tensors


def _kind(module: nn.Module, *, is_output: bool) -> Kind:
    if is_output:
        return "output"
    return "dense" if isinstance(module, nn.Linear) else "conv"


def _output_layer(layers: Iterable[str], output: str | None) -> str | None:
    names = list(layers)
    if output == "auto":
        return names[-1]
    if output is not None and output not in names:
        raise PruningError(
            f"the output layer {output!r} is not a dense or convolutional layer of this model"
            f"{suggestion(output, names)} Layers: {', '.join(names)}."
        )
    return output


def _refuse_unreachable(model: nn.Module, tensors: Iterable[PrunableTensor]) -> None:
    """Refuse what a forward pre-hook on the owning module would leave unpruned, or prune in one place only."""
    attention = {
        id(part): name
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
        for part in module.modules()
    }
    owners: dict[int, list[str]] = {}
    for module_name, module in model.named_modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(_address(parameter), []).append(f"{module_name}.{attribute}".lstrip("."))
    for tensor in tensors:
        mend = f"Selection(exclude=({tensor.layer!r},))"
        if id(tensor.module) in attention:
            raise PruningError(
                f"{tensor.name!r} belongs to the nn.MultiheadAttention {attention[id(tensor.module)]!r}, which reads "
                f"its weights without calling the layer, so a pruning hook there would never run. Leave it out: {mend}."
            )
        if tensor.attribute not in tensor.module._parameters and tensor.mask is None:
            raise PruningError(
                f"{tensor.name!r} is computed from other tensors (a parametrisation, a weight norm), so a mask on it "
                f"would be overwritten. Remove the parametrisation first, or leave the layer out: {mend}."
            )
        places = owners[_address(tensor.parameter)]
        if len(places) > 1:
            raise PruningError(
                f"{tensor.name!r} is tied: {' and '.join(places)} share one tensor, and pruning would reach only one "
                f"of them. Untie them, or leave this layer out: {mend}."
            )


def _address(parameter: nn.Parameter) -> int:
    """What two parameters have in common when they share memory; the object itself where there is none."""
    if parameter.is_meta or parameter.numel() == 0:
        return id(parameter)
    return parameter.data_ptr()
