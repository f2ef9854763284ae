"""A network's layers as plain data, from which it can be built again."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field, StrictBool, ValidationError
from torch import nn

from lthprune.errors import StorageError, listed, shown, suggestion
from lthprune.models.build import ACTIVATIONS
from lthprune.models.residual import BLOCK_ARGUMENTS, PreActivationBlock, ResidualBlock
from lthprune.models.spec import MOST_UNITS
from lthprune.section import first_fault

Blueprint = list[dict[str, Any]]

# The modules that build_model uses, and the arguments that describe each.
_KINDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "dense": (nn.Linear, ("in_features", "out_features", "bias")),
    "conv": (nn.Conv2d, ("in_channels", "out_channels", "kernel_size", "padding", "bias")),
    "batch_norm": (nn.BatchNorm2d, ("num_features",)),
    "max_pool": (nn.MaxPool2d, ("kernel_size",)),
    "avg_pool": (nn.AvgPool2d, ("kernel_size",)),
    "global_pool": (nn.AdaptiveAvgPool2d, ("output_size",)),
    "residual": (ResidualBlock, BLOCK_ARGUMENTS),
    "pre_activation": (PreActivationBlock, BLOCK_ARGUMENTS),
    "flatten": (nn.Flatten, ()),
    "dropout": (nn.Dropout, ("p",)),
    **{name: (activation, ()) for name, activation in ACTIVATIONS.items()},
}


_Size = Annotated[int, Field(strict=True, ge=1, le=MOST_UNITS)]
_Padding = Annotated[int, Field(strict=True, ge=0, le=MOST_UNITS)]


class _Arguments(BaseModel, extra="forbid"):
    """What the arguments in a description may be, whoever wrote it; a layer has those of its kind."""

    in_features: _Size = 1
    out_features: _Size = 1
    in_channels: _Size = 1
    hidden: _Size = 1
    out_channels: _Size = 1
    num_features: _Size = 1
    kernel_size: _Size | tuple[_Size, _Size] = 1
    padding: _Padding | tuple[_Padding, _Padding] = 0
    output_size: _Size | tuple[_Size, _Size] = 1
    stride: _Size = 1
    p: Annotated[float, Field(ge=0, le=1)] = 0.0
    bias: StrictBool = True
    projects: StrictBool = False
    biases: list[Literal["conv1", "conv2", "shortcut"]] = []


def describe(model: nn.Sequential) -> Blueprint:
    """Return the layers of a network that ``build_model`` made, in order: names, kinds and sizes, fit for JSON.

    Examples:
        >>> describe(nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU()))[1]
        {'name': '1', 'kind': 'relu'}
    """
    kind_of = {module: kind for kind, (module, _) in _KINDS.items()}
    blueprint = []
    for name, module in model.named_children():
        kind = kind_of[type(module)]
        values = {argument: getattr(module, argument) for argument in _KINDS[kind][1]}
        if "bias" in values:
            values["bias"] = module.bias is not None
        blueprint.append({"name": name, "kind": kind, **values})
    return blueprint


def build_from(blueprint: Sequence[Mapping[str, Any]]) -> nn.Sequential:
    """Build the network of a description by ``describe``; its tensors have shapes, but no memory yet.

    Raises:
        StorageError: a kind of layer is unknown, or a layer lacks an argument, has one more, or one that cannot be; the
            message lists the faults.
    """
    faults = [f"layer {place}: {fault}" for place, layer in enumerate(blueprint) for fault in _faults(layer)]
    if len({layer.get("name") for layer in blueprint}) < len(blueprint):
        faults.append("two layers have the same name")
    if faults:
        raise StorageError(f"the layers cannot be built: {listed(faults)}.")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.device("meta"):
        for layer in blueprint:
            arguments = dict(layer)
            name, kind = arguments.pop("name"), arguments.pop("kind")
            layers[name] = _KINDS[kind][0](**arguments)
    return nn.Sequential(layers)


def _faults(layer: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a layer cannot be built."""
    name, kind = layer.get("name"), layer.get("kind")
    if not isinstance(name, str) or not name or "." in name:
        yield f"its name is {shown(name)}"
    if not isinstance(kind, str) or kind not in _KINDS:
        yield f"its kind {shown(kind)} is unknown{suggestion(str(kind), _KINDS).rstrip('.')}"
        return
    arguments = {key: value for key, value in layer.items() if key not in ("name", "kind")}
    if arguments.keys() != set(_KINDS[kind][1]):
        yield f"{kind} has {shown(sorted(arguments))}, where {', '.join(_KINDS[kind][1]) or 'nothing'} is needed"
        return
    try:
        _Arguments.model_validate(arguments)
    except ValidationError as error:
        yield first_fault(error)
