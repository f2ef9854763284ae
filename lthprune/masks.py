"""Masks: which weights are left. Exact counts, ties broken the same way on every machine.

A mask is a boolean tensor, true where a weight is left; several are a dict by tensor name.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lthprune.errors import PruningError

Masks = dict[str, Tensor]


class Count(NamedTuple):
    """How many weights are left, and of how many."""

    left: int
    total: int

    @property
    def density(self) -> float:
        """The fraction left, in [0, 1]."""
        return self.left / self.total


def count(masks: Mapping[str, Tensor]) -> dict[str, Count]:
    """Count the weights left in every tensor.

    >>> count({"w": torch.tensor([True, False, True])})
    {'w': Count(left=2, total=3)}
    """
    return {name: Count(int(mask.sum()), mask.numel()) for name, mask in masks.items()}


def keep_highest(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int, *, minimum: int = 0) -> Masks:
    """Keep exactly ``left`` weights: those of the highest scores among the ones that the masks still hold.

    Of equal scores the first ones stay, in the order of the tensors and within a tensor in row-major order, so
    the same inputs give the same masks everywhere. Takes one partition of the surviving scores, in
    :math:`O(n)`; :func:`keep_highest_by_sorting` is its readable twin.

    Args:
        scores: a score for every weight; tensors of any shapes, all in one competition.
        masks: what was left before, of the same names and shapes; nothing outside it is ever kept.
        left: how many to keep over all tensors.
        minimum: how many to keep at least in each tensor (all of them, where a tensor holds fewer).

    Raises:
        PruningError: ``left`` is more than the masks hold or too few for the minimum, or a score is NaN.

    >>> scores = {"a": torch.tensor([0.1, 0.9]), "b": torch.tensor([0.5, 0.5])}
    >>> everything = {name: torch.ones(2, dtype=torch.bool) for name in scores}
    >>> keep_highest(scores, everything, 2)
    {'a': tensor([False,  True]), 'b': tensor([ True, False])}
    """
    _check(scores, masks, left)
    if minimum:
        return _keep_highest_above_minimum(scores, masks, left, minimum)
    threshold, ties = _threshold(scores, masks, left)
    kept: Masks = {}
    for name, mask in masks.items():
        kept[name] = (scores[name] > threshold) & mask
        if ties:
            tied = ((scores[name] == threshold) & mask).flatten().nonzero().flatten()[:ties]
            kept[name].view(-1)[tied] = True
            ties -= len(tied)
    return kept


def keep_highest_by_sorting(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int) -> Masks:
    """Do what :func:`keep_highest` does, by one stable sort: slower, and plain to see that it is right."""
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

    >>> overlap({"w": torch.tensor([True, True, False])}, {"w": torch.tensor([False, True, True])})
    0.3333333333333333
    """
    both = sum(int((first[name] & second[name]).sum()) for name in first)
    either = sum(int((first[name] | second[name]).sum()) for name in first)
    return both / either if either else 1.0


def pack(mask: Tensor) -> Tensor:
    """Pack a mask into bytes, eight weights each (row-major, first weight in the highest bit).

    >>> pack(torch.tensor([True, False, True]))
    tensor([160], dtype=torch.uint8)
    """
    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy()))


def unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo :func:`pack`, given the mask's shape.

    >>> unpack(torch.tensor([160], dtype=torch.uint8), (3,))
    tensor([ True, False,  True])
    """
    size = int(np.prod(shape))
    return torch.from_numpy(np.unpackbits(packed.numpy(), count=size).astype(bool)).view(shape)


def _check(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int) -> None:
    for name, mask in masks.items():
        if scores[name].shape != mask.shape:
            raise PruningError(
                f"the scores of {name!r} have the shape {tuple(scores[name].shape)}, the tensor {tuple(mask.shape)}: "
                "a score function gives every weight one score."
            )
        if scores[name].is_floating_point() and bool(scores[name].isnan().any()):
            raise PruningError(
                f"the scores of {name!r} contain NaN, so its weights cannot be ranked. The training before this "
                "pruning probably diverged; a lower learning rate usually mends it."
            )
    survivors = sum(int(mask.sum()) for mask in masks.values())
    if not 0 <= left <= survivors:
        raise PruningError(f"cannot keep {left:,} weights of the {survivors:,} that are left in {', '.join(masks)}.")


def _threshold(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int) -> tuple[float, int]:
    """Return the highest score that is not kept whole, and how many of the weights at that score stay."""
    survivors = [scores[name].flatten() if bool(mask.all()) else scores[name][mask] for name, mask in masks.items()]
    if any(piece.is_floating_point() and piece.dtype.itemsize < 4 for piece in survivors):
        survivors = [piece.float() for piece in survivors]  # exact, and numpy has no bfloat16
    flat = torch.cat([piece.detach().cpu() for piece in survivors]).numpy()
    del survivors
    pruned = flat.size - left
    if pruned == 0:
        return -np.inf, int((flat == -np.inf).sum())
    flat.partition(pruned - 1)  # in place: numpy's introselect is several times faster than a sort or torch.kthvalue
    threshold = flat[pruned - 1]
    return threshold.item(), left - int((flat[pruned:] > threshold).sum())


def _keep_highest_above_minimum(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], left: int, minimum: int
) -> Masks:
    protected = {
        name: keep_highest({name: scores[name]}, {name: mask}, min(minimum, int(mask.sum())))[name]
        for name, mask in masks.items()
    }
    spoken_for = sum(int(mask.sum()) for mask in protected.values())
    if spoken_for > left:
        raise PruningError(
            f"cannot keep only {left:,} weights with at least {minimum:,} in each of {len(masks)} tensors, which takes "
            f"{spoken_for:,}. Lower min_survivors or stop at a higher density."
        )
    contested = {name: mask & ~protected[name] for name, mask in masks.items()}
    rest = keep_highest(scores, contested, left - spoken_for)
    return {name: protected[name] | rest[name] for name in masks}
