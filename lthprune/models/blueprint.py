"""A network's layers as plain data, from which it can be built again."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lthprune.errors import StorageError, suggestion
from lthprune.models.build import ACTIVATIONS
from lthprune.models.residual import BLOCK_ARGUMENTS, PreActivationBlock, ResidualBlock

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
        StorageError: a kind of layer is unknown.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.device("meta"):
        for layer in blueprint:
            arguments = dict(layer)
            name, kind = arguments.pop("name"), arguments.pop("kind")
            if kind not in _KINDS:
                raise StorageError(f"the layer {name!r} is of an unknown kind {kind!r}{suggestion(kind, _KINDS)}")
            layers[name] = _KINDS[kind][0](**arguments)
    return nn.Sequential(layers)
