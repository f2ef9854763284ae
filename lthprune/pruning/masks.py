"""Masks: which weights remain. Counts are exact, and ties are broken the same way on every machine.

A mask is a boolean tensor, true where a weight remains; the masks of a model are a dict by tensor name.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lthprune.arguments import described
from lthprune.errors import PruningError

Masks = dict[str, Tensor]

_CHUNK = 1 << 15  # scores compared at a time: they stay in the cache, and torch starts no threads for so few
_SAMPLE = 1 << 20  # scores sorted to find the neighbourhood of a threshold; fewer are partitioned as they are
_MARGIN = 5.0  # of this neighbourhood on each side, in standard deviations of the sample's ranks


class LazyScores:
    """The scores of one tensor, computed chunk by chunk when they are read, so that they take no memory.

    Args:
        like: a tensor with the scores' shape.
        compute: returns the scores of some weights, given a slice or a tensor of places, row-major; no score of a
            remaining weight is NaN.
    """

    def __init__(self, like: Tensor, compute: Callable[[slice | Tensor], Tensor]) -> None:
        self.shape, self.compute = like.shape, compute
        self.dtype = compute(slice(0, 0)).dtype


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


def keep_highest(
    scores: Mapping[str, Tensor | LazyScores], masks: Mapping[str, Tensor], left: int, *, minimum: int = 0
) -> Masks:
    """Return masks that keep exactly ``left`` weights: the remaining weights with the highest scores.

    Of equal scores the first ones stay, in the order of the tensors and within a tensor in row-major order, so
    the same inputs give the same masks on every machine. Reads the scores chunk by chunk and selects their threshold in
    ``O(n)``, without a copy of them; ``keep_highest_by_sorting`` is its readable twin.

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
    competition = _Competition(scores, masks)
    threshold = competition.lowest(survivors - left)
    kept = {name: torch.empty(mask.shape, dtype=torch.bool, device=mask.device) for name, mask in masks.items()}
    ties = left
    for name in masks:
        flat = kept[name].view(-1)
        for start, some, held in competition.chunks(name):
            above = torch.from_numpy(np.greater(some.numpy(), threshold) & held.numpy())
            flat[start : start + len(some)] = above
            ties -= int(np.count_nonzero(above.numpy()))
    for name in masks:
        for start, some, held in competition.chunks(name) if ties else ():
            tied = (some == threshold).logical_and_(held).nonzero().flatten()[:ties]
            kept[name].view(-1)[start + tied] = True
            ties -= len(tied)
            if not ties:
                break
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
    return torch.from_numpy(np.unpackbits(packed.numpy(), count=size).view(bool)).view(shape)


def _check(scores: Mapping[str, Tensor | LazyScores], masks: Mapping[str, Tensor], left: int) -> int:
    """Raise a PruningError for scores or counts that are impossible; return the number of remaining weights."""
    for name, mask in masks.items():
        if not isinstance(scores[name], Tensor | LazyScores):
            raise PruningError(f"the score function returned {described(scores[name])} for {name!r}, not a tensor.")
        if scores[name].shape != mask.shape:
            raise PruningError(
                f"the scores of {name!r} have the shape {tuple(scores[name].shape)}, the tensor {tuple(mask.shape)}: "
                "a score function returns one score for every weight."
            )
        scored = scores[name]
        if isinstance(scored, LazyScores) or not scored.is_floating_point() or not mask.numel():
            continue
        if bool(scored.amax().isnan()) and bool(scored[mask].isnan().any()):  # NaN wins amax
            raise PruningError(
                f"the scores of {name!r} contain NaN, so its weights cannot be ranked. The training before this "
                "pruning probably diverged; a lower learning rate usually helps."
            )
    survivors = sum(int(mask.count_nonzero()) for mask in masks.values())
    if not 0 <= left <= survivors:
        raise PruningError(f"cannot keep {left:,} weights of the {survivors:,} that remain in {', '.join(masks)}.")
    return survivors


class _Competition:
    """The scores of all tensors that compete, read chunk by chunk, in one type that holds each of them exactly."""

    def __init__(self, scores: Mapping[str, Tensor | LazyScores], masks: Mapping[str, Tensor]) -> None:
        self._scores, self._masks = scores, masks
        self.dtype = functools.reduce(torch.promote_types, (scores[name].dtype for name in masks))
        if self.dtype.is_floating_point and self.dtype.itemsize < 4:
            self.dtype = torch.float32  # numpy has no bfloat16

    def chunks(self, name: str) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield the first index, the scores and the mask of each chunk of one tensor, on the CPU."""
        compute, held = self._compute(name), self._masks[name].reshape(-1)
        for start in range(0, held.numel(), _CHUNK):
            some = slice(start, start + _CHUNK)
            yield start, compute(some).to("cpu", self.dtype), held[some].cpu()

    def _compute(self, name: str) -> Callable[[slice | Tensor], Tensor]:
        scores = self._scores[name]
        return scores.compute if isinstance(scores, LazyScores) else scores.detach().reshape(-1).__getitem__

    def lowest(self, number: int) -> Any:
        """Return the highest of the ``number`` lowest scores of the survivors; there are at least so many.

        Most scores are only compared with two bounds, which a sorted sample places closely around the result; those
        between them are partitioned. Bounds that miss the result cost a second pass, and change nothing else.
        """
        low, high = self._bounds(number)
        while True:
            below, between = self._split(low, high)
            if number <= below:
                low, high = None, low
            elif number > below + between.size:
                low, high = high, None
            else:
                between.partition(number - below - 1)  # in place: numpy's introselect is faster than torch.kthvalue
                return between[number - below - 1].item()

    def _bounds(self, number: int) -> tuple[Any, Any]:
        """Return two scores that the result very probably lies between; None for no bound."""
        survivors = sum(int(mask.count_nonzero()) for mask in self._masks.values())
        if survivors <= _SAMPLE:
            return None, None
        total = sum(mask.numel() for mask in self._masks.values())
        sample = np.sort(np.concatenate([self._sampled(name, _SAMPLE / total) for name in self._masks]))
        rank, margin = number / survivors * sample.size, _MARGIN * sample.size**0.5 / 2
        first, last = int(rank - margin), int(rank + margin)
        low = sample[first].item() if 0 <= first < sample.size else None
        return low, sample[last].item() if last < sample.size else None

    def _sampled(self, name: str, share: float) -> Any:
        """Return the scores of some survivors of a tensor, drawn from a fixed stream, in numpy's type."""
        held = self._masks[name].reshape(-1)
        size = int(np.ceil(share * held.numel()))
        drawn = torch.from_numpy(np.random.default_rng(0).integers(0, max(1, held.numel()), size))
        places = drawn[held[drawn.to(held.device)].cpu()]
        return self._compute(name)(places).to("cpu", self.dtype).numpy()

    def _split(self, low: Any, high: Any) -> tuple[int, Any]:
        """Return how many survivors score below a bound, and the scores of those from it to the other bound."""
        below, between = 0, [torch.empty(0, dtype=self.dtype).numpy()]
        for name in self._masks:
            for _, some, held in self.chunks(name):
                scores = some.numpy()
                inside = everything = held.numpy()
                if low is not None:
                    inside = np.greater_equal(scores, low) & inside
                    below += int(np.count_nonzero(everything)) - int(np.count_nonzero(inside))
                if high is not None:
                    inside = np.less_equal(scores, high) & inside
                between.append(np.compress(inside, scores))
        return below, np.concatenate(between)


def _keep_highest_above_minimum(
    scores: Mapping[str, Tensor | LazyScores], masks: Mapping[str, Tensor], left: int, minimum: int
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
