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
    _check_alike("overlap()", first, second)
    both = sum(int((first[name] & second[name]).count_nonzero()) for name in first)
    either = sum(int((first[name] | second[name]).count_nonzero()) for name in first)
    return both / either if either else 1.0


def hamming_distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Return the fraction of all weights in which two sets of masks differ, in [0, 1].

    Args:
        first: masks by tensor name.
        second: masks of the same names and shapes.

    Raises:
        PruningError: these are not masks, or their names or shapes differ.

    Examples:
        >>> hamming_distance({"w": torch.tensor([True, True, False])}, {"w": torch.tensor([False, True, True])})
        0.6666666666666666
    """
    _check_alike("hamming_distance()", first, second)
    differing = sum(int((first[name] ^ second[name]).count_nonzero()) for name in first)
    return differing / max(1, sum(mask.numel() for mask in first.values()))


def _check_alike(function: str, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Raise a PruningError unless both are masks of one architecture."""
    for masks in (first, second):
        if not isinstance(masks, Mapping):
            raise PruningError(
                f"{function} compares masks by name; this is {described(masks)}. Pass the masks of tickets: "
                f"{function[:-1]}one.masks, other.masks)."
            )
    if {name: mask.shape for name, mask in first.items()} != {name: mask.shape for name, mask in second.items()}:
        raise PruningError(f"{function} compares masks of one architecture; these differ in names or shapes.")


def expected_overlap(first: Mapping[str, Count], second: Mapping[str, Count]) -> float:
    """Return the Jaccard index to expect of two independent random masks with these numbers of weights in each layer.

    Let a layer have n weights, of which the masks leave a and b. Their intersection is hypergeometric (draw b of n
    weights, count those among the a): its mean is ab/n, its variance ab(n - a)(n - b) / (n²(n - 1)). Layers are
    independent, so the intersection I of the networks has the sums of these as its mean m and variance v. With
    S = Σ(a + b), the union is S - I, and the Jaccard index I / (S - I). Its Taylor series at m to the second order has
    the mean m / (S - m) + vS / (S - m)³. The rest shrinks with the square of the union's size: for layers of 20 weights
    or more of which a fifth or more remain, the result is within 0.002 of the exact mean.

    Args:
        first: the counts of one network, as of ``Ticket.counts``.
        second: those of another, with the same layers.

    Raises:
        PruningError: their names or numbers of weights differ.

    Examples:
        >>> half = {"w": Count(50_000, 100_000)}  # two random halves share a quarter of the weights, of three quarters
        >>> round(expected_overlap(half, half), 4)
        0.3333
        >>> expected_overlap({"w": Count(2, 4)}, {"w": Count(4, 4)})
        0.5
    """
    if {name: own.total for name, own in first.items()} != {name: own.total for name, own in second.items()}:
        raise PruningError("expected_overlap() compares counts of one architecture; these differ in names or sizes.")
    total = sum(own.left for counts in (first, second) for own in counts.values())
    mean = variance = 0.0
    for (one, size), (other, _) in ((first[name], second[name]) for name in first):
        mean += one * other / size
        variance += one * other * (size - one) * (size - other) / (size**2 * max(1, size - 1))
    return mean / (total - mean) + variance * total / (total - mean) ** 3 if total else 1.0


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
