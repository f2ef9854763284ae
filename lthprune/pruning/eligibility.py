"""Eligibility: for each parameter of a model, whether a selection prunes it, and if not, why."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.parameter import is_lazy

from lthprune.arguments import check_module
from lthprune.errors import PruningError, suggestion
from lthprune.pruning.kinds import DEFAULT_KINDS, Kind, ModelParameter, model_parameters
from lthprune.pruning.naming import further_names, join, named_modules
from lthprune.pruning.selection import Selection


@dataclass(frozen=True)
class Eligibility:
    """Whether one parameter is prunable; ``reason`` says why not, and is empty if it is."""

    name: str
    kind: Kind
    is_bias: bool
    places: tuple[ModelParameter, ...]
    reason: str


def assess(model: nn.Module, selection: Selection, *, bias: bool = False) -> list[Eligibility]:
    """Return the eligibility of every parameter of a model, in the order of registration; a tied one comes once.

    Raises:
        PruningError: the model is not a module, has nothing to prune or is not initialised, or a pattern matches no
            layer.
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
    _check_patterns(model, selection, everything, further)
    adapted = _adapted(model)
    tied: dict[int, list[ModelParameter]] = {}
    for each in everything:
        tied.setdefault(id(each.parameter if each.parameter is not None else each), []).append(each)
    found = []
    for places in tied.values():
        kinds = [_kind(place, output) for place in places]
        reasons = [
            _reason(place, further.get(id(place.module), ()), kind, selection, bias=bias)
            for place, kind in zip(places, kinds, strict=True)
        ]
        reason = next((reason for reason in reasons if reason), "")
        if reason and not all(reasons):
            ineligible = ", ".join(place.name for place, why in zip(places, reasons, strict=True) if why)
            reason = f"tied to {ineligible}, which is left out ({reason})"
        if not reason and places[0].layer in adapted:
            places = [_without_parameter(places[0])]
        found.append(Eligibility(places[0].name, kinds[0], places[0].is_bias, tuple(places), reason))
    return found


def layers_of(model: nn.Module) -> str:
    """Return a sentence for an error message that lists a model's layers."""
    layers = dict.fromkeys(each.layer for each in model_parameters(model) if each.kind in DEFAULT_KINDS)
    return f"Layers: {', '.join(layers)}." if layers else "lthprune.describe(model) lists its parameters."


def _check_patterns(
    model: nn.Module, selection: Selection, everything: Sequence[ModelParameter], further: dict[int, list[str]]
) -> None:
    names = dict.fromkeys(
        name
        for each in everything
        for layer in (each.layer, *further.get(id(each.module), ()))
        for name in (layer, join(layer, each.attribute))
    )
    for pattern in (*selection.include, *selection.exclude):
        if not any(_matches(name, pattern) for name in names):
            raise PruningError(
                f"the pattern {pattern!r} matches no layer and no parameter{suggestion(pattern, names)} "
                f"{layers_of(model)}"
            )


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)  # brackets in a name would be special in a pattern


def _kind(place: ModelParameter, output: str | None) -> Kind:
    return "output" if place.layer == output and place.kind in ("dense", "conv") else place.kind


def _reason(place: ModelParameter, further: Sequence[str], kind: Kind, selection: Selection, *, bias: bool) -> str:
    """Return why a parameter is not prunable in one of its places; an empty string if it is.

    ``further`` are other names of its layer; a pattern may match any of them.
    """

    def matches(patterns: Sequence[str]) -> bool:
        layers = (place.layer, *further)
        names = [name for layer in layers for name in (layer, join(layer, place.attribute))]
        return any(_matches(name, pattern) for pattern in patterns for name in names)

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


def _adapted(model: nn.Module) -> set[str]:
    """Return the names of the layers that together compute one weight, as LoRA and similar adapters do."""
    adapted = set()
    for name, module in named_modules(model):
        if isinstance(getattr(module, "base_layer", None), nn.Module):
            adapted |= {f"{name}.{inner}".strip(".") for inner, _ in named_modules(module)}
    return adapted


def _without_parameter(place: ModelParameter) -> ModelParameter:
    return ModelParameter(place.layer, place.module, place.attribute, None, place.kind, place.is_bias)
