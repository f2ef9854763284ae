"""Masks: which weights remain; counting, comparing and packing them.

A mask is a boolean tensor, true where a weight remains; the masks of a model are a dict by tensor name.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lthprune.arguments import described
from lthprune.errors import PruningError

Masks = dict[str, Tensor]


class Count(NamedTuple):
    """How many weights remain, and of how many."""

    left: int
    total: int

    @property
    def density(self) -> float:
        """The fraction of weights that remain, in [0, 1]."""
        return self.left / self.total


def count(masks: Mapping[str, Tensor]) -> dict[str, Count]:
    """Count the remaining weights of every tensor.

    Examples:
        >>> count({"w": torch.tensor([True, False, True])})
        {'w': Count(left=2, total=3)}
    """
    return {name: Count(number_left(mask), mask.numel()) for name, mask in masks.items()}


def number_left(mask: Tensor) -> int:
    """Return how many weights a mask leaves. On the CPU numpy counts, several times faster than torch.

    Examples:
        >>> number_left(torch.tensor([True, False, True]))
        2
    """
    return int(np.count_nonzero(mask.numpy()) if mask.is_cpu else mask.count_nonzero())


def overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Return the Jaccard index of two sets of masks: weights in both over weights in either, in [0, 1].

    Args:
        first: masks by tensor name.
        second: masks of the same names and shapes.

    Raises:
        PruningError: these are not masks, or their names or shapes differ.

    Examples:
        >>> overlap({"w": torch.tensor([True, True, False])}, {"w": torch.tensor([False, True, True])})
        0.3333333333333333
    """
    for masks in (first, second):
        if not isinstance(masks, Mapping):
            raise PruningError(
                f"overlap() compares masks by name; this is {described(masks)}. Pass the masks of tickets: "
                "overlap(one.masks, other.masks)."
            )
    if {name: mask.shape for name, mask in first.items()} != {name: mask.shape for name, mask in second.items()}:
        raise PruningError("overlap() compares masks of one architecture; these differ in names or shapes.")
    both = sum(int((first[name] & second[name]).count_nonzero()) for name in first)
    either = sum(int((first[name] | second[name]).count_nonzero()) for name in first)
    return both / either if either else 1.0


def pack(mask: Tensor) -> Tensor:
    """Pack a mask into bytes, eight weights each (row-major, first weight in the highest bit).

    Examples:
        >>> pack(torch.tensor([True, False, True]))
        tensor([160], dtype=torch.uint8)
    """
    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy()))


def unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo ``pack``, given the mask's shape.

    Examples:
        >>> unpack(torch.tensor([160], dtype=torch.uint8), (3,))
        tensor([ True, False,  True])
    """
    size = int(np.prod(shape))
    return torch.from_numpy(np.unpackbits(packed.numpy(), count=size).view(bool)).view(shape)
