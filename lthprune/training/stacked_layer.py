"""A dense layer of all trials as one batched matrix product."""

import torch
from torch import Tensor

from lthprune.pruning import State
from lthprune.training.lowering import DenseLayer


class StackedLayer:
    """A dense layer of all trials; its values are weights (trials, out, in), then biases (trials, out).

    Pruned values are zero.
    """

    def __init__(self, layer: DenseLayer) -> None:
        self.layer = layer
        self._shape = layer.weight_mask.shape
        self._split = [layer.weight_mask.numel(), layer.bias_mask.numel()]
        self._has_bias = layer.bias_mask.numel() > 0

    def pack(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return weights (trials, out, in) and biases (trials, out), or their masks, as one vector of values."""
        return torch.cat([weight.flatten(), bias.flatten()])

    def owners(self) -> Tensor:
        """Return the trial of every value, as a vector."""
        trials = torch.arange(self._shape[0], device=self.layer.weight_mask.device)
        return torch.cat([trials.repeat_interleave(size // len(trials)) for size in self._split])

    def bind(self, values: Tensor, gradients: Tensor) -> None:
        """Read values from one vector from now on, and write their gradients to another."""
        bias_shape = (*self.layer.bias_mask.shape, 1)
        weight, bias = torch.split(values, self._split)
        self._weight, self._bias = weight.view(self._shape), bias.view(bias_shape)
        weight, bias = torch.split(gradients, self._split)
        self._weight_gradient, self._bias_gradient = weight.view(self._shape), bias.view(bias_shape)

    def forward(self, x: Tensor, *, shared: bool = False) -> Tensor:
        """Return outputs (trials x out, n) for inputs (trials x in, n), or for inputs (in, n) that all trials share."""
        trials, out, features = self._shape
        if shared:
            y = torch.mm(self._weight.view(trials * out, features), x).view(trials, out, -1)
        else:
            y = torch.bmm(self._weight, x.view(trials, features, -1))
        return (y.add_(self._bias) if self._has_bias else y).view(trials * out, -1)

    def backward(self, x: Tensor, gradient: Tensor, *, to_inputs: bool) -> Tensor | None:
        """Write the gradients of the values; return the gradient of the inputs if ``to_inputs``."""
        trials, out, features = self._shape
        x, gradient = x.view(trials, features, -1), gradient.view(trials, out, -1)
        torch.bmm(gradient, x.transpose(1, 2), out=self._weight_gradient)
        if self._has_bias:
            torch.sum(gradient, dim=2, keepdim=True, out=self._bias_gradient)
        return torch.bmm(self._weight.transpose(1, 2), gradient).view(trials * features, -1) if to_inputs else None

    def penalise(self, l1: float) -> None:
        """Add the gradient of the L1 penalty to the gradients of the weights."""
        self._weight_gradient.add_(self._weight.sign(), alpha=l1)

    def lifted(self, trial: int) -> State:
        """Return a trial's weights and biases by plain name."""
        lifted = {f"{self.layer.name}.weight": self._weight[trial]}
        return lifted | ({f"{self.layer.name}.bias": self._bias[trial, :, 0]} if self._has_bias else {})
