"""Multilayer perceptrons as plain tensors: read from the modules before a training, written back after it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune.pruning import has_other_hooks, live_state, masks_of, refresh

_aten = torch.ops.aten


class Activation(NamedTuple):
    """An activation function by its name, and its derivative.

    ``forward`` may overwrite its inputs. ``backward`` takes the gradient of the outputs, which it overwrites, and the
    inputs and outputs as ``forward`` left them.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]


_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(
        "relu",
        torch.relu_,
        lambda gradient, _, y: _aten.threshold_backward.grad_input(gradient, y, 0, grad_input=gradient),
    ),
    nn.Tanh: Activation(
        "tanh", torch.tanh_, lambda gradient, _, y: _aten.tanh_backward.grad_input(gradient, y, grad_input=gradient)
    ),
    nn.Sigmoid: Activation(
        "sigmoid",
        torch.sigmoid_,
        lambda gradient, _, y: _aten.sigmoid_backward.grad_input(gradient, y, grad_input=gradient),
    ),
    nn.ELU: Activation(
        "elu",
        partial(F.elu, inplace=True),
        lambda gradient, _, y: _aten.elu_backward.grad_input(gradient, 1.0, 1.0, 1.0, True, y, grad_input=gradient),
    ),
    nn.GELU: Activation(
        "gelu", F.gelu, lambda gradient, x, _: _aten.gelu_backward.grad_input(gradient, x, grad_input=gradient)
    ),
    nn.LeakyReLU: Activation(
        "leaky_relu",
        partial(F.leaky_relu, inplace=True),
        lambda gradient, _, y: _aten.leaky_relu_backward.grad_input(gradient, y, 0.01, True, grad_input=gradient),
    ),
}


@dataclass(frozen=True)
class DenseLayer:
    """A dense layer of all trials: its masks, and the activation after it (None after the last layer)."""

    name: str
    weight_mask: Tensor  # bool, (trials, out, in)
    bias_mask: Tensor  # bool, (trials, out), or (trials, 0) without biases
    activation: Activation | None

    @property
    def density(self) -> float:
        """The fraction of weights that remain, over all trials, in [0, 1]."""
        return int(self.weight_mask.count_nonzero()) / self.weight_mask.numel()

    def keep(self, trials: Sequence[int]) -> "DenseLayer":
        """Return the layer of some of the trials."""
        return replace(self, weight_mask=self.weight_mask[list(trials)], bias_mask=self.bias_mask[list(trials)])


class Lowered(NamedTuple):
    """A layer and its values: weights (trials, out, in) and biases (trials, out or 0), zero where pruned."""

    layer: DenseLayer
    weight: Tensor
    bias: Tensor


def is_perceptron(model: nn.Module) -> bool:
    """Return whether a model is a multilayer perceptron that can be lowered.

    It is an ``nn.Sequential`` of ``nn.Linear`` layers with a supported activation between any two, perhaps after an
    ``nn.Flatten``. All parameters are trained, none is tied, and there are no forward hooks but those of pruning.

    Examples:
        >>> is_perceptron(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        True
        >>> is_perceptron(nn.Sequential(nn.Linear(4, 2), nn.Dropout()))
        False
    """
    if type(model) is not nn.Sequential or not len(model):
        return False
    modules = list(model)
    first = modules[0]
    flattens = type(first) is nn.Flatten and (first.start_dim, first.end_dim) == (1, -1)
    body = modules[1:] if flattens else modules
    alternate = len(body) % 2 == 1 and all(
        type(module) is nn.Linear if place % 2 == 0 else _activation(module) is not None
        for place, module in enumerate(body)
    )
    tensors = [parameter for module in body for parameter in module.parameters()]
    own = len({id(tensor) for tensor in tensors}) == len(tensors)
    return alternate and own and all(tensor.requires_grad for tensor in tensors) and not has_other_hooks(model)


def lower(models: Sequence[nn.Module]) -> list[Lowered]:
    """Return copies of the dense layers of perceptrons of one architecture."""
    states, masks = [live_state(model) for model in models], [masks_of(model) for model in models]
    named = list(models[0]._modules.items())  # named_children() leaves out an activation that is used twice
    lowered = []
    for place, (name, module) in enumerate(named):
        if not isinstance(module, nn.Linear):
            continue
        weight, weight_mask = _stacked(states, masks, f"{name}.weight")
        none = torch.empty(len(models), 0, dtype=weight.dtype, device=weight.device)
        bias, bias_mask = _stacked(states, masks, f"{name}.bias") if module.bias is not None else (none, none.bool())
        after = named[place + 1][1] if place + 1 < len(named) else None
        activation = _activation(after) if after is not None else None
        lowered.append(Lowered(DenseLayer(name, weight_mask, bias_mask, activation), weight, bias))
    return lowered


def lift(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write trained tensors into a model; the values of pruned entries in ``weight_orig`` stay as they are."""
    live, masks = live_state(model), masks_of(model)
    with torch.no_grad():
        for name, values in state.items():
            kept = torch.where(masks[name].bool(), values, live[name]) if name in masks else values
            live[name].copy_(kept)
    refresh(model)


def _activation(module: nn.Module) -> Activation | None:
    known = _ACTIVATIONS.get(type(module))
    usual = getattr(module, "alpha", 1.0) == 1.0 and getattr(module, "negative_slope", 0.01) == 0.01
    return known if usual and getattr(module, "approximate", "none") == "none" else None


def _stacked(
    states: Sequence[dict[str, Tensor]], masks: Sequence[dict[str, Tensor]], name: str
) -> tuple[Tensor, Tensor]:
    """Return a tensor of all trials, with zeros for pruned entries, and its masks (all true if not pruned)."""
    values = torch.stack([state[name].detach() for state in states])
    mask = torch.stack(
        [
            held[name].bool() if name in held else torch.ones_like(state[name], dtype=torch.bool)
            for state, held in zip(states, masks, strict=True)
        ]
    )
    return values * mask, mask
