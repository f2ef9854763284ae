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


def collapsed(*neurons: Tensor, except_axis: int | None = None) -> list[Tensor]:
    """Return tensors of equal shape without repetition: an axis along which none of them varies gets the length 1.

    Examples:
        >>> [small.tolist() for small in collapsed(torch.tensor([[3, 4], [3, 4]]))]
        [[[3, 4]]]
    """
    found = list(neurons)
    for axis in range(found[0].ndim):
        first = [each.narrow(axis, 0, 1) for each in found] if found[0].shape[axis] > 1 else found
        if axis != except_axis and all(bool((each == one).all()) for each, one in zip(found, first, strict=True)):
            found = first
    return found


def combinations(neurons: Sequence[Tensor]) -> Tensor:
    """Return the number of each element's combination of neurons, in the order of the neurons."""
    _, numbers = torch.unique(neurons[0], return_inverse=True)
    for each in neurons[1:]:
        _, numbers = torch.unique(numbers * (int(each.max()) + 1) + each, return_inverse=True)
    found: Tensor = numbers
    return found


def uniform(values: Tensor, groups: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Return the value (size,) that all elements of each group have, up to rounding; NaN if they have several.

    Args:
        values: of the elements, in double precision.
        groups: the number of each element's group, of the same shape.
        size: the number of groups.
        dtype: the type that the values were computed in.
    """
    index, flat = groups.flatten(), values.flatten()
    least, greatest = (
        torch.full((size,), torch.nan, dtype=torch.double).scatter_reduce(0, index, flat, how, include_self=False)
        for how in ("amin", "amax")
    )
    eps = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    same = greatest - least <= 8 * eps * torch.maximum(least.abs(), greatest.abs())
    return torch.where(same, (least + greatest) / 2, torch.nan)
