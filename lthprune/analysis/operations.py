"""The effect of operations on neurons: the table of supported operations."""

import operator
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

Rule = Literal["each", "move", "pool", "mean", "sum", "mix"]

# An operation maps each element on its own, moves elements, pools each channel, takes means over positions, adds
# tensors, or mixes a sample's features. Modules are listed by class, functions as they are, methods by name.
_RULES: dict[Rule, tuple[Any, ...]] = {
    "each": (
        *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
        *(nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Tanhshrink),
        *(nn.Softshrink, nn.Hardshrink, nn.Threshold),
        *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
        *(F.relu, F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.softplus, F.tanh, F.sigmoid),
        *(F.logsigmoid, F.softsign, F.hardtanh, F.hardsigmoid, F.hardswish, F.tanhshrink, F.softshrink, F.hardshrink),
        *(torch.relu, torch.relu_, torch.tanh, torch.sigmoid, torch.clamp, torch.neg, operator.neg),
        *("relu", "relu_", "tanh", "sigmoid", "clamp", "contiguous", "clone", "detach", "float", "double", "to", "neg"),
    ),
    "move": (
        *(nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
        *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.cat),
        *(torch.concat, torch.stack, torch.chunk, torch.split, F.pixel_shuffle, operator.getitem),
        *("flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "chunk", "split", "expand"),
        *("unflatten", "narrow", "unbind"),
    ),
    "pool": (
        *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool2d),
        *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
        *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.Upsample, nn.ZeroPad2d),
        *(F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.interpolate),
        *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.pad),
        *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
    ),
    "mean": (torch.mean, torch.amax, "mean", "amax"),
    "sum": (
        *(torch.add, torch.sub, operator.add, operator.sub, operator.iadd, operator.isub),
        *("add", "add_", "sub", "sub_"),
    ),
    "mix": (
        *(nn.Softmax, nn.LogSoftmax, F.softmax, F.log_softmax, torch.softmax, torch.log_softmax),
        *("softmax", "log_softmax"),
    ),
}
_RULE_OF: dict[Any, Rule] = {operation: rule for rule, operations in _RULES.items() for operation in operations}
_SCALING = (torch.mul, torch.div, operator.mul, operator.truediv, "mul", "div", "mul_", "div_")  # by a constant
_IN_PLACE = (operator.iadd, operator.isub, "add_", "sub_")
_READING_SHAPE = (getattr, "size", "dim", "numel")  # getattr as in x.shape
_JOINING = (torch.cat, torch.concat, torch.stack)


def rule_of(operation: Any) -> Rule | None:
    """Return the rule of an operation (a module's class, a function or a method's name); None if it is unsupported.

    Examples:
        >>> rule_of(nn.ReLU), rule_of("view"), rule_of(nn.LSTM)
        ('each', 'move', None)
    """
    return _RULE_OF.get(operation)


def scales(operation: Any) -> bool:
    """Return whether an operation multiplies or divides; this is supported if one of its arguments is a constant."""
    return operation in _SCALING


def writes_in_place(operation: Any) -> bool:
    """Return whether a sum overwrites its first term."""
    return operation in _IN_PLACE


def reads_shape(operation: Any) -> bool:
    """Return whether an operation may read a tensor's shape instead of its values."""
    return operation in _READING_SHAPE


def joins(operation: Any) -> bool:
    """Return whether an operation concatenates or stacks tensors."""
    return operation in _JOINING
