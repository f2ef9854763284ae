"""A dense layer of all trials as one block-diagonal sparse matrix, so that pruned weights cost nothing."""

import warnings

import torch
from torch import Tensor

from lthprune.pruning import State
from lthprune.training.lowering import DenseLayer


class SparseLayer:
    """A dense layer of all trials; its values are remaining weights by trial and row, then biases (trials, out).

    The weights form a matrix (trials x out, trials x in) in compressed sparse rows (CSR), with a block for each trial.
    torch multiplies it with MKL; ``sampled_addmm`` computes the gradient of the remaining weights only.
    """

    def __init__(self, layer: DenseLayer) -> None:
        self.layer = layer
        self._trials, self._out, self._in = layer.weight_mask.shape
        self._has_bias = layer.bias_mask.numel() > 0
        trial, row, column = layer.weight_mask.nonzero(as_tuple=True)
        rows, columns = trial * self._out + row, trial * self._in + column
        self._split = [len(rows), layer.bias_mask.numel()]
        self._pattern = _Pattern(rows, columns, (self._trials * self._out, self._trials * self._in))
        self._shared_pattern = _Pattern(rows, column, (self._trials * self._out, self._in))
        order = torch.argsort(columns, stable=True)  # the values in the order of the transposed matrix
        self._transposed_pattern = _Pattern(
            columns[order], rows[order], (self._trials * self._in, self._trials * self._out)
        )
        self._order = order.int()

    def pack(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return weights (trials, out, in) and biases (trials, out), or their masks, as one vector of values."""
        return torch.cat([weight[self.layer.weight_mask], bias.flatten()])

    def owners(self) -> Tensor:
        """Return the trial of every value, as a vector."""
        trials, weights = torch.arange(self._trials), self.layer.weight_mask.flatten(1).sum(1)
        return torch.cat([trials.repeat_interleave(weights), trials.repeat_interleave(self._split[1] // self._trials)])

    def bind(self, values: Tensor, gradients: Tensor) -> None:
        """Read values from one vector from now on, and write their gradients to another."""
        self._values, bias = torch.split(values, self._split)
        self._bias = bias.view(-1, 1)
        weight_gradient, bias_gradient = torch.split(gradients, self._split)
        self._bias_gradient = bias_gradient.view(-1, 1)
        self._transposed_values = torch.empty_like(self._values)
        self._weight = self._pattern.matrix(self._values)
        self._shared_weight = self._shared_pattern.matrix(self._values)
        self._weight_gradient = self._pattern.matrix(weight_gradient)
        self._transposed = self._transposed_pattern.matrix(self._transposed_values)

    def forward(self, x: Tensor, *, shared: bool = False) -> Tensor:
        """Return outputs (trials x out, n) for inputs (trials x in, n), or for inputs (in, n) that all trials share."""
        weight = self._shared_weight if shared else self._weight
        x = x.view(weight.shape[1], -1)
        return torch.addmm(self._bias, weight, x) if self._has_bias else torch.mm(weight, x)

    def backward(self, x: Tensor, gradient: Tensor, *, to_inputs: bool) -> Tensor | None:
        """Write the gradients of the values; return the gradient of the inputs if ``to_inputs``."""
        x = x.view(self._trials * self._in, -1)
        torch.sparse.sampled_addmm(self._weight_gradient, gradient, x.t(), beta=0.0, out=self._weight_gradient)
        if self._has_bias:
            torch.sum(gradient, dim=1, keepdim=True, out=self._bias_gradient)
        if not to_inputs:
            return None
        torch.index_select(self._values, 0, self._order, out=self._transposed_values)
        return torch.mm(self._transposed, gradient)

    def lifted(self, trial: int) -> State:
        """Return a trial's weights and biases by plain name."""
        mask = self.layer.weight_mask
        before = int(mask[:trial].count_nonzero())
        weight = torch.zeros(self._out, self._in, dtype=self._values.dtype)
        weight[mask[trial]] = self._values[before : before + int(mask[trial].count_nonzero())]
        bias = self._bias.view(self._trials, -1)[trial]
        lifted = {f"{self.layer.name}.weight": weight}
        return lifted | ({f"{self.layer.name}.bias": bias} if self._has_bias else {})


class _Pattern:
    """The sparsity pattern of a matrix: the rows, in ascending order, and columns of its values."""

    def __init__(self, rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> None:
        starts = torch.zeros(shape[0] + 1, dtype=torch.long)
        starts[1:] = torch.bincount(rows, minlength=shape[0]).cumsum(0)
        self._starts, self._columns, self._shape = starts.int(), columns.int(), shape

    def matrix(self, values: Tensor) -> Tensor:
        """Return a matrix that shares memory with these values."""
        with warnings.catch_warnings():  # torch warns that CSR support is in beta and its checks are off
            warnings.filterwarnings("ignore", message="(?s).*[Ss]parse", category=UserWarning)
            return torch.sparse_csr_tensor(self._starts, self._columns, values, self._shape, check_invariants=False)
