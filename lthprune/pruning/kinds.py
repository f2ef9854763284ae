"""Kinds: convolutional, dense, recurrent and other parameters of a model."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.conv import _ConvNd

from lthprune.pruning.naming import join, named_modules
from lthprune.pruning.torch_form import masked_by_torch, plain_name

Kind = Literal["conv", "dense", "output", "recurrent", "attention", "bilinear", "embedding", "matrix", "vector"]
DEFAULT_KINDS: tuple[Kind, ...] = ("conv", "dense", "output", "recurrent", "attention", "bilinear")
ALL_KINDS: tuple[Kind, ...] = (*DEFAULT_KINDS, "embedding", "matrix", "vector")


@dataclass(frozen=True, eq=False)
class ModelParameter:
    """A parameter in one of the places in which a model holds it.

    Attributes:
        layer: the plain name of its module.
        module: the module.
        attribute: its name there, without the suffix of torch's pruning.
        parameter: the parameter; None if the module computes the tensor from other parameters.
        kind: the kind of its module; for other parameters, by their shape.
        is_bias: whether it is the bias of a layer that has weights.
    """

    layer: str
    module: nn.Module
    attribute: str
    parameter: nn.Parameter | None
    kind: Kind
    is_bias: bool

    @property
    def name(self) -> str:
        """The plain name, such as ``"dense1.weight"``."""
        return join(self.layer, self.attribute)


def model_parameters(model: nn.Module) -> Iterator[ModelParameter]:
    """Yield the floating-point parameters of a model, weights before biases in each module.

    A tied parameter is yielded for each of its places. If a layer computes its weight from other parameters, the weight
    is yielded without a parameter.

    Examples:
        >>> [(each.name, each.kind) for each in model_parameters(nn.LSTM(2, 3))][:2]
        [('weight_ih_l0', 'recurrent'), ('weight_hh_l0', 'recurrent')]
    """
    projections: set[int] = set()  # output projections of attention layers, which are visited before them
    for layer, module in named_modules(model):
        if isinstance(module, nn.MultiheadAttention):
            projections.add(id(module.out_proj))
        layer_kind = "attention" if id(module) in projections else _kind_of_layer(module)
        masked = masked_by_torch(module)
        own: list[ModelParameter] = []
        for name, parameter in module._parameters.items():
            if parameter is not None and (parameter.is_floating_point() or parameter.is_complex()):
                plain = plain_name(name, masked)
                is_bias = is_bias_name(plain) and (layer_kind is not None or "weight" in module._parameters)
                raw: Kind = "matrix" if parameter.ndim >= 2 else "vector"
                kind = layer_kind if layer_kind is not None and (is_bias or _is_weight(plain)) else raw
                own.append(ModelParameter(layer, module, plain, parameter, kind, is_bias))
        if layer_kind is not None:
            computed = filter(_is_weight, _computed(module))
            own += [ModelParameter(layer, module, name, None, layer_kind, is_bias=False) for name in computed]
        yield from sorted(own, key=lambda each: each.is_bias)


def is_conv1d(module: nn.Module) -> bool:
    """Return whether a module is the Conv1D of transformers, the dense layer of GPT-2; its weight is (in, out)."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")


def _kind_of_layer(module: nn.Module) -> Kind | None:
    if isinstance(module, nn.Linear) or is_conv1d(module):
        return "dense"
    if isinstance(module, _ConvNd):
        return "conv"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return "recurrent"
    if isinstance(module, nn.MultiheadAttention):
        return "attention"
    if isinstance(module, nn.Bilinear):
        return "bilinear"
    return "embedding" if isinstance(module, nn.Embedding | nn.EmbeddingBag) else None


def _is_weight(name: str) -> bool:
    """Return whether a layer multiplies its inputs by the parameter of this name."""
    return re.fullmatch(r"weight(_(ih|hh|hr)(_l\d+)?(_reverse)?)?|(in|q|k|v)_proj_weight", name) is not None


def is_bias_name(name: str) -> bool:
    """Return whether a parameter of this name in its module is the bias of a layer with weights."""
    return re.fullmatch(r"bias(_(ih|hh)(_l\d+)?(_reverse)?)?|in_proj_bias", name) is not None


def _computed(module: nn.Module) -> list[str]:
    """Return the names of the tensors that a module computes from other parameters, or takes from another module."""
    computed = list(getattr(module, "parametrizations", None) or ())
    if "weight" not in (*module._parameters, *masked_by_torch(module)) and "weight" in vars(module):
        computed.append("weight")  # the older torch.nn.utils.weight_norm does this
    return list(dict.fromkeys(computed))
