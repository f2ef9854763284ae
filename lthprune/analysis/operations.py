"""The effect of operations on neurons: the table of supported operations."""

import operator
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

Rule = Literal["each", "move", "pool", "reduce", "sum", "product", "mix", "rescale", "contract", "shape"]

# An operation maps each element on its own, moves elements, pools each channel, reduces axes, adds or multiplies
# tensors, mixes elements along axes or divides them by a norm, sums products, or reads only the shape of a tensor.
# Modules are listed by class, functions as they are, methods by name.
_RULES: dict[Rule, tuple[Any, ...]] = {
    "each": (
        *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
        *(nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Tanhshrink),
        *(nn.Softshrink, nn.Hardshrink, nn.Threshold),
        *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
        *(F.relu, F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.softplus, F.tanh, F.sigmoid),
        *(F.logsigmoid, F.softsign, F.hardtanh, F.hardsigmoid, F.hardswish, F.tanhshrink, F.softshrink, F.hardshrink),
        *(torch.relu, torch.relu_, torch.tanh, torch.sigmoid, torch.clamp, torch.neg, operator.neg, torch.dropout),
        *(torch.pow, torch.sqrt, torch.rsqrt, torch.exp, torch.log, torch.abs, torch.square, torch.erf, torch.where),
        *(torch.sin, torch.cos, torch.masked_fill, operator.pow, operator.ipow, operator.abs),
        *("relu", "relu_", "tanh", "sigmoid", "clamp", "contiguous", "clone", "detach", "float", "double", "to", "neg"),
        *("pow", "sqrt", "rsqrt", "exp", "log", "abs", "square", "erf", "sin", "cos", "masked_fill", "type_as"),
    ),
    "move": (
        *(nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
        *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.cat),
        *(torch.concat, torch.stack, torch.chunk, torch.split, F.pixel_shuffle, operator.getitem, torch.roll),
        *(torch.flip, torch.movedim, torch.swapaxes, torch.select, torch.narrow, torch.unbind),
        *("flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "chunk", "split", "expand"),
        *("unflatten", "narrow", "unbind", "roll", "flip", "movedim", "swapaxes", "select", "expand_as", "view_as"),
        *("repeat", "reshape_as"),
    ),
    "pool": (
        *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool2d),
        *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
        *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.Upsample),
        *(F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.interpolate),
        *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, nn.ZeroPad2d, F.pad),
        *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
    ),
    "reduce": (torch.mean, torch.amax, torch.sum, "mean", "amax", "sum"),
    "sum": (
        *(torch.add, torch.sub, operator.add, operator.sub, operator.iadd, operator.isub),
        *("add", "add_", "sub", "sub_"),
    ),
    "product": (torch.mul, operator.mul, operator.imul, "mul", "mul_"),
    "mix": (
        *(nn.Softmax, nn.LogSoftmax, F.softmax, F.log_softmax, torch.softmax, torch.log_softmax),
        *("softmax", "log_softmax"),
    ),
    "rescale": (F.normalize,),
    "contract": (torch.matmul, torch.bmm, torch.einsum, operator.matmul, "matmul", "bmm"),
    "shape": (
        *(getattr, "size", "dim", "numel", "new_zeros", "new_ones", "new_full", "new_empty", "is_floating_point"),
        *(torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like),
    ),
}
_RULE_OF: dict[Any, Rule] = {operation: rule for rule, operations in _RULES.items() for operation in operations}
_DIVISIONS = (torch.div, operator.truediv, operator.itruediv, "div", "div_")
_IN_PLACE = (
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ipow,
    "add_",
    "sub_",
    "mul_",
    "div_",
)
_JOINING = (torch.cat, torch.concat, torch.stack)
SHAPED_LIKE = ("expand_as", "view_as", "reshape_as")  # give a tensor the shape of another
_PADDING = (F.pad, nn.ZeroPad2d)


def rule_of(operation: Any) -> Rule | None:
    """Return the rule of an operation (a module's class, a function or a method's name); None if it is unsupported.

    Examples:
        >>> rule_of(nn.ReLU), rule_of("view"), rule_of(nn.CosineSimilarity)
        ('each', 'move', None)
    """
    return _RULE_OF.get(operation)


def divides(operation: Any) -> bool:
    """Return whether an operation divides."""
    return operation in _DIVISIONS


def writes_in_place(operation: Any) -> bool:
    """Return whether a sum or a product overwrites its first operand."""
    return operation in _IN_PLACE


def joins(operation: Any) -> bool:
    """Return whether an operation concatenates or stacks tensors."""
    return operation in _JOINING


def pads(operation: Any) -> bool:
    """Return whether an operation adds elements at the ends of axes."""
    return operation in _PADDING


def axes_of(operation: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], ndim: int) -> tuple[int, ...]:
    """Return the axes that an operation reduces or mixes, all if it does not say.

    Args:
        operation: a module, a function or a method's name.
        arguments: of the call, the tensor first.
        keywords: of the call.
        ndim: the number of the tensor's axes.
    """
    given: Any = keywords.get("dim", keywords.get("axis"))
    if isinstance(operation, nn.Module):
        given = getattr(operation, "dim", None)
    elif operation is F.normalize:
        given = arguments[2] if len(arguments) > 2 else keywords.get("dim", 1)
    elif given is None and len(arguments) > 1:
        given = arguments[1]
    if given is None:
        return tuple(range(ndim))
    return tuple(axis % ndim for axis in ((given,) if isinstance(given, int) else given))
