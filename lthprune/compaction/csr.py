"""Perceptrons that store and multiply only their remaining weights."""

import warnings

import torch
from torch import Tensor, nn

from lthprune.arguments import check_module
from lthprune.errors import PruningError
from lthprune.pruning import without_pruning
from lthprune.training import SparseLinear, use_dense_layers


def to_csr(model: nn.Module) -> nn.Module:
    """Return a copy of a perceptron for inference, with the weights of its dense layers in compressed sparse rows.

    Zeros cost neither memory nor, on a CPU, time; on other devices, each call multiplies dense weights. This is faster
    only at low densities; ``measure_latency`` shows whether it is on your machine.

    Args:
        model: dense, pruned or compacted; every ``nn.Linear`` in it becomes a ``SparseLinear`` whose ``weight`` is a
            buffer in compressed sparse rows.

    Raises:
        PruningError: the model has no dense layer, or sparse products do not support the type of its weights.

    Examples:
        >>> linear = nn.Linear(3, 2)
        >>> _ = nn.init.zeros_(linear.weight[:, :2].detach())
        >>> to_csr(nn.Sequential(linear, nn.ReLU()))
        Sequential(
          (0): SparseLinear(in_features=3, out_features=2, bias=True, left=2)
          (1): ReLU()
        )
    """
    check_module(model)
    dense = without_pruning(model).eval()
    use_dense_layers(dense)
    linears = {name: module for name, module in dense.named_modules() if type(module) is nn.Linear}
    if not linears or isinstance(dense, nn.Linear):
        raise PruningError(f"this {type(model).__name__} contains no nn.Linear that could be made sparse.")
    for name, linear in linears.items():
        if linear.weight.dtype not in (torch.float32, torch.float64):
            raise PruningError(
                f"the weights of {name!r} are {linear.weight.dtype}; sparse products need torch.float32 or "
                "torch.float64. Convert the model first: model.float()."
            )
    for linear in linears.values():
        weight, bias = linear.weight.detach(), linear.bias
        del linear.weight, linear.bias
        linear.register_buffer("weight", _compressed(weight))
        linear.register_buffer("bias", None if bias is None else bias.detach())
        linear.__class__ = SparseLinear
    return dense


def _compressed(weight: Tensor) -> Tensor:
    """Return a sparse copy of a matrix with indices of 32 bits, which take half the memory."""
    with warnings.catch_warnings():  # torch warns that CSR support is in beta, and that checks are off
        warnings.filterwarnings("ignore", message="(?s).*[Ss]parse", category=UserWarning)
        rows = weight.to_sparse_csr()
        return torch.sparse_csr_tensor(
            rows.crow_indices().int(), rows.col_indices().int(), rows.values(), weight.shape, check_invariants=False
        )
