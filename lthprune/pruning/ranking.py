"""Ranking: which weights keep their place among those that compete, by their scores.

Counts are exact, and ties are broken the same way on every machine and with any number of threads.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lthprune.arguments import described
from lthprune.errors import PruningError
from lthprune.pruning.masks import Masks, number_left

_CHUNK = 1 << 17  # scores compared at a time: they stay in the cache; with fewer, threads wait for one another
_PART = 1 << 20  # scores that one thread reads before it takes the next part: threads that others disturb take fewer
_SAMPLE = 1 << 18  # more scores are sampled to find the neighbourhood of their threshold; others are partitioned
_MARGIN = 5.0  # of this neighbourhood on each side, in standard deviations of the sample's ranks


class LazyScores:
    """The scores of one tensor, computed chunk by chunk when they are read, so that they take no memory.

    Args:
        like: a tensor with the scores' shape.
        compute: returns the scores of some weights, given a slice or a tensor of places, row-major; no score of a
            remaining weight is NaN.
    """

    def __init__(self, like: Tensor, compute: Callable[[slice | Tensor], Tensor]) -> None:
        self.shape, self.is_cpu, self.compute = like.shape, like.is_cpu, compute
        self.dtype = compute(slice(0, 0)).dtype


def keep_highest(
    scores: Mapping[str, Tensor | LazyScores], masks: Mapping[str, Tensor], left: int, *, minimum: int = 0
) -> Masks:
    """Return masks that keep exactly ``left`` weights: the remaining weights with the highest scores.

    Of equal scores the first ones stay, in the order of the tensors and within a tensor in row-major order, so
    the same inputs give the same masks on every machine and with any number of threads. Reads the scores chunk by
    chunk, in as many threads as torch uses, and selects their threshold in ``O(n)``, without a copy of them;
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
    return _Competition(scores, masks).without_lowest(survivors - left, survivors)


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
    survivors = sum(number_left(mask) for mask in masks.values())
    if not 0 <= left <= survivors:
        raise PruningError(f"cannot keep {left:,} weights of the {survivors:,} that remain in {', '.join(masks)}.")
    return survivors


class _Part(NamedTuple):
    """Scores of one tensor that one thread reads: those from ``start`` to ``stop``, row-major."""

    name: str
    start: int
    stop: int


class _Split(NamedTuple):
    """The survivors of a part that score at least a bound: their number, and those near the threshold.

    Attributes:
        above: how many they are.
        places: of those up to the other bound, row-major in the tensor.
        scores: theirs.
    """

    above: int
    places: Any
    scores: Any


class _Competition:
    """The scores of all tensors that compete, read chunk by chunk, in one type that holds each of them exactly.

    Attributes:
        dtype: this type.
        parts: all scores, in the order of the tensors and of their entries.
    """

    def __init__(self, scores: Mapping[str, Tensor | LazyScores], masks: Mapping[str, Tensor]) -> None:
        self._scores, self._masks = scores, masks
        self.dtype = functools.reduce(torch.promote_types, (scores[name].dtype for name in masks))
        if self.dtype.is_floating_point and self.dtype.itemsize < 4:
            self.dtype = torch.float32  # numpy has no bfloat16
        self.parts = [
            _Part(name, start, min(start + _PART, mask.numel()))
            for name, mask in masks.items()
            for start in range(0, mask.numel(), _PART)
        ]

    def share_out(self, work: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
        """Return the results of ``work`` on all parts, in their order; torch's number of threads shares them out.

        Further arguments of ``work`` come from sequences with one for each part.
        """
        on_cpu = all(self._scores[name].is_cpu and mask.is_cpu for name, mask in self._masks.items())
        threads = min(torch.get_num_threads() if on_cpu else 1, len(self.parts))
        if threads <= 1:
            return list(map(work, self.parts, *arguments))
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, self.parts, *arguments))

    def chunks(self, part: _Part) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield the first index, the scores and the mask of each chunk of a part, on the CPU."""
        compute, held = self._compute(part.name), self._masks[part.name].reshape(-1)
        for start in range(part.start, part.stop, _CHUNK):
            some = slice(start, min(start + _CHUNK, part.stop))
            yield start, compute(some).to("cpu", self.dtype), held[some].cpu()

    def _compute(self, name: str) -> Callable[[slice | Tensor], Tensor]:
        scores = self._scores[name]
        return scores.compute if isinstance(scores, LazyScores) else scores.detach().reshape(-1).__getitem__

    def without_lowest(self, number: int, survivors: int) -> Masks:
        """Return the masks without the ``number`` lowest scores of all survivors; there are at least so many.

        Most scores are only compared with two bounds, which a sorted sample places closely around the threshold; those
        between them are partitioned. Bounds that miss the threshold cost a second pass, and change nothing else.
        """
        sizes = [mask.numel() for mask in self._masks.values()]
        block = np.empty(sum(sizes), bool)  # in one: numpy asks the system for large pages, which are quicker to get
        kept = dict(zip(self._masks, np.split(block, np.cumsum(sizes)[:-1]), strict=True))
        low, high = self._bounds(number, survivors)
        while True:
            splits = self.share_out(functools.partial(self._split, kept, low, high))
            below, between = (
                survivors - sum(split.above for split in splits),
                np.concatenate([s.scores for s in splits]),
            )
            if number <= below:
                low, high = None, low
            elif number > below + between.size:
                low, high = high, None
            else:
                break
        between.partition(number - below - 1)  # in place: numpy's introselect is faster than torch.kthvalue
        threshold = between[number - below - 1].item()
        stay = below + int(np.count_nonzero(between <= threshold)) - number  # of the scores equal to the threshold
        for part, (_, places, scores) in zip(self.parts, splits, strict=True):
            kept[part.name][places[scores < threshold]] = False
            tied = places[scores == threshold]
            kept[part.name][tied[stay:]] = False
            stay = max(0, stay - tied.size)
        return {
            name: torch.from_numpy(kept[name]).view(mask.shape).to(mask.device) for name, mask in self._masks.items()
        }

    def _bounds(self, number: int, survivors: int) -> tuple[Any, Any]:
        """Return two scores that the result very probably lies between; None for no bound."""
        if survivors <= _SAMPLE:
            return None, None
        share = survivors ** (2 / 3) / sum(mask.numel() for mask in self._masks.values())
        sampled = self.share_out(functools.partial(self._sampled, share))
        sample = np.sort(np.concatenate(sampled))
        rank, margin = number / survivors * sample.size, _MARGIN * sample.size**0.5 / 2
        first, last = int(rank - margin), int(rank + margin)
        low = sample[first].item() if 0 <= first < sample.size else None
        return low, sample[last].item() if last < sample.size else None

    def _sampled(self, share: float, part: _Part) -> Any:
        """Return the scores of some survivors of a part, drawn from a fixed stream, in numpy's type."""
        held, size = self._masks[part.name].reshape(-1), part.stop - part.start
        drawn = np.random.default_rng(part.start).integers(part.start, part.stop, int(np.ceil(share * size)))
        places = torch.from_numpy(drawn)
        places = places[held[places.to(held.device)].cpu()]
        return self._compute(part.name)(places).to("cpu", self.dtype).numpy()

    def _split(self, kept: Mapping[str, Any], low: Any, high: Any, part: _Part) -> _Split:
        """Mark the survivors that score at least a bound in ``kept``; return those of them below the other bound."""
        above, places, found = 0, [], []
        for start, some, held in self.chunks(part):
            scores, inside = some.numpy(), kept[part.name][start : start + len(some)]
            if low is None:
                inside[:] = held.numpy()
            else:
                np.greater_equal(scores, low, out=inside)
                np.logical_and(inside, held.numpy(), out=inside)
            above += int(np.count_nonzero(inside))
            between = np.flatnonzero(inside if high is None else np.less_equal(scores, high) & inside)
            places.append(between + start)
            found.append(scores[between])
        return _Split(above, np.concatenate(places), np.concatenate(found))


def _keep_highest_above_minimum(
    scores: Mapping[str, Tensor | LazyScores], masks: Mapping[str, Tensor], left: int, minimum: int
) -> Masks:
    protected = {
        name: keep_highest({name: scores[name]}, {name: mask}, min(minimum, number_left(mask)))[name]
        for name, mask in masks.items()
    }
    reserved = sum(number_left(mask) for mask in protected.values())
    if reserved > left:
        raise PruningError(
            f"cannot keep only {left:,} weights: with min_survivors = {minimum:,}, {', '.join(masks)} keep at least "
            f"{reserved:,} in total. Lower min_survivors, or end at a higher density."
        )
    contested = {name: mask & ~protected[name] for name, mask in masks.items()}
    rest = keep_highest(scores, contested, left - reserved)
    return {name: protected[name] | rest[name] for name in masks}
