"""Dense layers that multiply only their remaining weights, in training loops of your own on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune.arguments import check_module
from lthprune.pruning import kept_mask, named_modules
from lthprune.training.sparse_product import Pattern, is_compressed, sparse_product

# From tests/benchmarks/sparse_layers.py: with 64 samples, a step of the smallest such layer takes as long as that of a
# dense one under masks on AVX-512; larger batches and layers gain.
_DENSITY, _WEIGHTS = 0.1, 50_000
_TYPES = (torch.float32, torch.float64)
_PLAIN = (Tensor, nn.Parameter)
_KNOWN = "_lthprune_known"  # a layer's attribute: the mask or compressed weights it read last, their version, pattern


class SparseLinear(nn.Linear):
    """An ``nn.Linear`` that multiplies only the weights which its mask keeps, forward and backward.

    ``use_sparse_layers`` makes it of the layers of a pruned model. Parameters, masks and hooks stay those of the
    ``nn.Linear``, in either form of pruning; the gradient of ``weight`` is zero where it is pruned. The outputs equal
    those of ``nn.Linear`` up to rounding; a NaN in an input reaches only the outputs that have a weight for it.

    If the mask changes, the next forward pass reads the new one. Without a mask, on another device, in another type
    than float32 and float64, under autocast, ``torch.compile``, tracing or a transform of ``torch.func``, the layer
    computes what ``nn.Linear`` does.

    Second derivatives (``create_graph=True``) are made by dense products.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out_features) of (..., in_features)."""
        weight, bias = self.weight, self.bias
        pattern = self._pattern(weight) if _is_supported(x, weight, bias) else None
        if pattern is None:
            return F.linear(x, weight.to_dense() if is_compressed(weight) else weight, bias)
        if x.ndim == 2:
            return sparse_product(x, weight, bias, pattern)
        out = sparse_product(x.reshape(-1, self.in_features), weight, bias, pattern)
        return out.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Return the sizes and the number of remaining weights."""
        weight, mask = self.weight, _mask(self, self.weight)
        if is_compressed(weight):
            left = weight.values().numel()
        else:
            left = int((weight if mask is None else mask).count_nonzero())
        return f"{super().extra_repr()}, left={left}"

    def _pattern(self, weight: Tensor) -> Pattern | None:
        """Return where the remaining weights are, None without a mask; it is kept until that changes."""
        source = weight if is_compressed(weight) else _mask(self, weight)
        if source is None or source.is_inference():  # whether an inference tensor was written to cannot be found out
            return None
        known: tuple[Tensor, int, Pattern] | None = self.__dict__.get(_KNOWN)
        if known is None or known[0] is not source or known[1] != source._version:
            known = self.__dict__[_KNOWN] = source, source._version, Pattern.of(source)
        return known[2]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != _KNOWN}


def use_sparse_layers(model: nn.Module) -> list[str]:
    """Have the dense layers of a pruned model multiply only their remaining weights, where this is faster.

    These are the ``nn.Linear`` layers in float32 or float64 on a CPU that have at least 50,000 weights and at most 10 %
    of them left. They are found by size and density, not by the clock; on large batches, smaller and denser layers
    would gain, too. Each becomes a ``SparseLinear`` in place: it stays the same object, with the same parameters,
    names, masks and hooks, so optimisers, checkpoints and tickets remain valid. Layers that are read without being
    called (the output projection of ``nn.MultiheadAttention``) stay as they are.

    Args:
        model: pruned in either form.

    Returns:
        The plain names of the layers that are sparse now.

    Examples:
        >>> from lthprune import prune
        >>> model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
        >>> _ = prune(model, 0.95, scope="layerwise")
        >>> use_sparse_layers(model)
        ['0']
        >>> use_dense_layers(model)
        ['0']
    """
    check_module(model)
    for _, module in named_modules(model):
        if type(module) is nn.Linear and _gains(module):
            module.__class__ = SparseLinear
    return _sparse_layers(model)


def use_dense_layers(model: nn.Module) -> list[str]:
    """Undo ``use_sparse_layers``, in place.

    Returns:
        The plain names of the layers that were sparse.
    """
    check_module(model)
    names = _sparse_layers(model)
    for name, module in named_modules(model):
        if name in names:
            module.__dict__.pop(_KNOWN, None)
            module.__class__ = nn.Linear
    return names


def _sparse_layers(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in named_modules(model)
        if isinstance(module, SparseLinear) and not is_compressed(module.weight)
    ]


def _gains(linear: nn.Linear) -> bool:
    """Return whether a layer is faster as a sparse one, by size and density and not by the clock."""
    weight = linear.weight
    mask = _mask(linear, weight)
    if mask is None or weight.device.type != "cpu" or weight.dtype not in _TYPES or weight.numel() < _WEIGHTS:
        return False
    return int(mask.count_nonzero()) <= _DENSITY * weight.numel()


def _mask(linear: nn.Linear, weight: Tensor) -> Tensor | None:
    kept = kept_mask(weight)
    return kept.values if kept is not None else linear._buffers.get("weight_mask")


def _is_supported(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether compiled kernels can multiply these tensors, and nothing but their values is asked for."""
    dtype = x.dtype
    return (
        type(x) in _PLAIN
        and type(weight) in _PLAIN
        and dtype in _TYPES
        and dtype is weight.dtype
        and x.is_cpu
        and weight.is_cpu
        and (bias is None or (type(bias) in _PLAIN and bias.dtype is dtype and bias.is_cpu))
        and x.ndim > 0
        and x.shape[-1] == weight.shape[1]
        and x.layout is torch.strided
        and not torch.is_autocast_enabled("cpu")
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._get_tracing_state() is None
        and not torch.compiler.is_compiling()
    )
