"""Masks: which weights remain. Counts are exact, and ties are broken the same way on every machine.

A mask is a boolean tensor, true where a weight remains; the masks of a model are a dict by tensor name.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lthprune.arguments import described
from lthprune.errors import PruningError

Masks = dict[str, Tensor]

_CHUNK = 1 << 20  # scores gathered at a time: few enough to stay in the processor's cache


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
    return {name: Count(int(mask.count_nonzero()), mask.numel()) for name, mask in masks.items()}


def keep_highest(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int, *, minimum: int = 0) -> Masks:
    """Return masks that keep exactly ``left`` weights: the remaining weights with the highest scores.

    Of equal scores the first ones stay, in the order of the tensors and within a tensor in row-major order, so
    the same inputs give the same masks on every machine. Partitions the scores once, in ``O(n)``;
    ``keep_highest_by_sorting`` is its readable twin.

    Args:
        scores: a score for every weight; tensors of any shapes, which all compete with one another.
        masks: the masks before, with the same names and shapes; a pruned weight stays pruned.
        left: how many weights to keep in all tensors together.
        minimum: how many weights to keep at least in each tensor, or all of them if a tensor has fewer.

    Raises:
        PruningError: ``left`` exceeds the remaining weights or is too small for the minimum, or a score is NaN.

    Examples:
        >>> scores = {"a": torch.tensor([0.1, 0.9]), "b": torch.tensor([0.5, 0.5])}
        >>> everything = {name: torch.ones(2, dtype=torch.bool) for name in scores}
        >>> keep_highest(scores, everything, 2)
        {'a': tensor([False,  True]), 'b': tensor([ True, False])}
    """
    survivors = _check(scores, masks, left)
    if minimum:
        return _keep_highest_above_minimum(scores, masks, left, minimum)
    if left == survivors:
        return {name: mask.clone() for name, mask in masks.items()}
    dtype = functools.reduce(torch.promote_types, (scores[name].dtype for name in masks))
    scores = {name: scores[name].detach().to(dtype) for name in masks}  # the same tensors, unless their dtypes differ
    threshold = _highest_pruned(scores, masks, survivors, survivors - left)
    kept = {name: ((scores[name] > threshold) & mask).contiguous() for name, mask in masks.items()}
    ties = left - sum(int(mask.count_nonzero()) for mask in kept.values())
    for name, mask in masks.items():
        if not ties:
            break
        tied = ((scores[name] == threshold) & mask).flatten().nonzero().flatten()[:ties]
        kept[name].view(-1)[tied] = True
        ties -= len(tied)
    return kept


def keep_highest_by_sorting(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int) -> Masks:
    """Return the masks of ``keep_highest``, by one stable sort: slower, but easy to verify."""
    _check(scores, masks, left)
    survives = torch.cat([mask.flatten() for mask in masks.values()])
    flat = torch.cat([scores[name].flatten() for name in masks])
    survivors = survives.nonzero().flatten()
    ranking = torch.sort(flat[survivors], descending=True, stable=True).indices
    kept = torch.zeros_like(survives)
    kept[survivors[ranking[:left]]] = True
    pieces = torch.split(kept, [mask.numel() for mask in masks.values()])
    return {name: piece.view(mask.shape) for (name, mask), piece in zip(masks.items(), pieces, strict=True)}


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
    return torch.from_numpy(np.unpackbits(packed.numpy(), count=size).astype(bool)).view(shape)


def _check(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int) -> int:
    """Raise a PruningError for scores or counts that are impossible; return the number of remaining weights."""
    for name, mask in masks.items():
        if not isinstance(scores[name], Tensor):
            raise PruningError(f"the score function returned {described(scores[name])} for {name!r}, not a tensor.")
        if scores[name].shape != mask.shape:
            raise PruningError(
                f"the scores of {name!r} have the shape {tuple(scores[name].shape)}, the tensor {tuple(mask.shape)}: "
                "a score function returns one score for every weight."
            )
        unranked = (
            mask.numel() and scores[name].is_floating_point() and bool(scores[name].amax().isnan())
        )  # NaN wins amax
        if unranked and bool(scores[name][mask].isnan().any()):
            raise PruningError(
                f"the scores of {name!r} contain NaN, so its weights cannot be ranked. The training before this "
                "pruning probably diverged; a lower learning rate usually helps."
            )
    survivors = sum(int(mask.count_nonzero()) for mask in masks.values())
    if not 0 <= left <= survivors:
        raise PruningError(f"cannot keep {left:,} weights of the {survivors:,} that remain in {', '.join(masks)}.")
    return survivors


def _highest_pruned(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], survivors: int, pruned: int) -> float:
    """Return the highest score among the ``pruned`` lowest of the survivors."""
    dtype = next(iter(scores.values())).dtype
    if dtype.is_floating_point and dtype.itemsize < 4:
        dtype = torch.float32  # exact, and numpy has no bfloat16
    flat = np.empty(survivors, dtype=torch.empty(0, dtype=dtype).numpy().dtype)
    filled = 0
    for name, mask in masks.items():
        chunks = torch.split(scores[name].flatten(), _CHUNK), torch.split(mask.flatten(), _CHUNK)
        for some, held in zip(*chunks, strict=True):
            surviving = np.compress(held.cpu().numpy(), some.to("cpu", dtype).numpy())
            flat[filled : filled + surviving.size] = surviving
            filled += surviving.size
    flat.partition(pruned - 1)  # in place: numpy's introselect is several times faster than a sort or torch.kthvalue
    highest: float = flat[pruned - 1].item()
    return highest


def _keep_highest_above_minimum(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int, minimum: int
) -> Masks:
    protected = {
        name: keep_highest({name: scores[name]}, {name: mask}, min(minimum, int(mask.count_nonzero())))[name]
        for name, mask in masks.items()
    }
    reserved = sum(int(mask.count_nonzero()) for mask in protected.values())
    if reserved > left:
        raise PruningError(
            f"cannot keep only {left:,} weights: with min_survivors = {minimum:,}, {', '.join(masks)} keep at least "
            f"{reserved:,} in total. Lower min_survivors, or end at a higher density."
        )
    contested = {name: mask & ~protected[name] for name, mask in masks.items()}
    rest = keep_highest(scores, contested, left - reserved)
    return {name: protected[name] | rest[name] for name in masks}
