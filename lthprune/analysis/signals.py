"""Tensors with the neuron that each of their elements comes from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx


@dataclass(frozen=True, eq=False)
class Signal:
    """A tensor of one sample, and the number of the neuron that each of its elements comes from."""

    value: Tensor
    neurons: Tensor

    @property
    def channels(self) -> Tensor | None:
        """The neurons of the channels, if every channel is one neuron at all its positions; otherwise None."""
        channels = self.neurons.reshape(1, self.neurons.shape[1], -1)
        return channels[0, :, 0] if bool((channels == channels[:, :, :1]).all()) else None


def signals_in(arguments: Any) -> list[Signal]:
    """Return the signals among nested arguments, in order."""
    found: list[Signal] = []
    fx.node.map_aggregate(arguments, lambda each: found.append(each) if isinstance(each, Signal) else None)
    return found


def constants_in(arguments: Sequence[Any], keywords: dict[str, Any]) -> tuple[Any, ...]:
    """Return the names of keyword arguments and all nested arguments in order, with None in place of signals."""
    found: list[Any] = list(keywords)
    fx.node.map_aggregate(
        (tuple(arguments), keywords), lambda each: found.append(None if isinstance(each, Signal) else each)
    )
    return tuple(found)


def paired(value: Any, neurons: Any) -> Any:
    """Return the signals of moved tensors and of their equally moved neurons, nested like them."""
    if isinstance(value, Tensor):
        return Signal(value, neurons)
    return tuple(paired(*pair) for pair in zip(value, neurons, strict=True))


def over_positions(channels: Tensor, value: Tensor) -> Tensor | None:
    """Return the neurons of all elements of a tensor (1, channels, ...); None if it has other channels."""
    fits = value.shape[1] == len(channels)
    return channels.view(1, -1, *[1] * (value.ndim - 2)).expand(value.shape) if fits else None


def uniform(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the value that a channel has at all positions (channels, positions), up to rounding; NaN if several."""
    least, greatest = values.aminmax(dim=1)
    same = greatest - least <= 8 * torch.finfo(dtype).eps * values.abs().amax(dim=1)
    return torch.where(same, (least + greatest) / 2, torch.nan)
