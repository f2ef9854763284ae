"""Dense layers that store and multiply only their remaining weights."""

import warnings

import torch
from torch import Tensor, nn

from lthprune.arguments import check_module
from lthprune.errors import PruningError
from lthprune.pruning import without_pruning


class SparseLinear(nn.Module):
    """A dense layer for inference with its weights in compressed sparse rows; ``to_csr`` makes it.

    Attributes:
        weight: (out_features, in_features), a sparse matrix with the weights other than zero.
        bias: (out_features,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.register_buffer("weight", _compressed(weight))
        self.register_buffer("bias", weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, out_features) of (batch, in_features)."""
        if len(x) == 1:
            return torch.addmv(self.bias, self.weight, x[0])[None]
        columns = x.t().contiguous()  # MKL is slower on rows; the output of another SparseLinear is in columns already
        return torch.addmm(self.bias[:, None], self.weight, columns).t()

    def extra_repr(self) -> str:
        """Return the sizes and the number of weights stored."""
        out_features, in_features = self.weight.shape
        return f"in_features={in_features}, out_features={out_features}, left={self.weight.values().numel()}"


def to_csr(model: nn.Module) -> nn.Module:
    """Return a copy of a perceptron for inference, with the weights of its dense layers in compressed sparse rows.

    Zeros cost neither memory nor time. This is faster only at low densities; ``measure_latency`` shows whether it is
    on your machine.

    Args:
        model: dense, pruned or compacted; every ``nn.Linear`` in it is replaced, and has to read (batch, features).

    Raises:
        PruningError: the model has no dense layer, or sparse products do not support the type of its weights, or this
            build of PyTorch has no MKL.

    Examples:
        >>> linear = nn.Linear(3, 2)
        >>> _ = nn.init.zeros_(linear.weight[:, :2].detach())
        >>> to_csr(nn.Sequential(linear, nn.ReLU()))
        Sequential(
          (0): SparseLinear(in_features=3, out_features=2, left=2)
          (1): ReLU()
        )
    """
    check_module(model)
    dense = without_pruning(model).eval()
    modules = dense.named_modules(remove_duplicate=False)  # a layer may have several names
    linears = {name: module for name, module in modules if type(module) is nn.Linear}
    if not linears or isinstance(dense, nn.Linear):
        raise PruningError(f"this {type(model).__name__} contains no nn.Linear that could be made sparse.")
    for name, linear in linears.items():
        if linear.weight.dtype not in (torch.float32, torch.float64):
            raise PruningError(
                f"the weights of {name!r} are {linear.weight.dtype}; sparse products need torch.float32 or "
                "torch.float64. Convert the model first: model.float()."
            )
        if linear.weight.device.type == "cpu" and not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
            raise PruningError("this PyTorch was built without MKL, which sparse products on a CPU need.")
    for name, linear in linears.items():
        dense.set_submodule(name, SparseLinear(linear))
    return dense


def _compressed(weight: Tensor) -> Tensor:
    """Return a sparse copy of a matrix with indices of 32 bits, which MKL reads without conversion."""
    with warnings.catch_warnings():  # torch warns that CSR support is in beta, and that checks are off
        warnings.filterwarnings("ignore", message="(?s).*[Ss]parse", category=UserWarning)
        rows = weight.to_sparse_csr()
        return torch.sparse_csr_tensor(
            rows.crow_indices().int(), rows.col_indices().int(), rows.values(), weight.shape, check_invariants=False
        )
