"""The overlap of masks between trials, levels and runs, beside what chance gives."""

from collections.abc import Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from lthprune.errors import PruningError
from lthprune.experiments.matching import match_densities, unlike_trials
from lthprune.experiments.run import Run
from lthprune.pruning import expected_overlap, overlap
from lthprune.search import Ticket


class Overlap(NamedTuple):
    """The Jaccard index of masks: weights in both over weights in either, in [0, 1].

    Attributes:
        mean: over the pairs of masks.
        low: the lowest of a pair.
        high: the highest.
        chance: the mean to expect of random masks with the same numbers of weights in each layer; see
            [`expected_overlap`][lthprune.pruning.expected_overlap].
        pairs: the number of pairs.
    """

    mean: float
    low: float
    high: float
    chance: float
    pairs: int


def mask_overlaps(run: Run, other: Run | None = None) -> tuple[Overlap | None, ...]:
    """Return the overlap of masks between the trials of a run, or between two runs, at each level.

    Between runs, levels are matched by density, as in [`compare_runs`][lthprune.experiments.compare_runs]. If both have
    the same seeds and data, each trial is compared with that of the same number, which starts from the same weights;
    otherwise with every trial of the other run.

    Args:
        run: the run whose finished levels are compared.
        other: another run of the same architecture; by default the trials of ``run`` are compared with one another.

    Returns:
        An overlap for each finished level of ``run``; None if there is no pair: in a run of a single trial, or without
        a level of about the same density.

    Raises:
        PruningError: the runs have masks of other names or shapes.
        StorageError: a folder is no run, no level of one is finished, or a file is damaged.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dense, pruned = mask_overlaps(run_recipe(recipe, "short", out=folder))
        >>> dense.mean, round(pruned.chance, 2), pruned.pairs
        (1.0, 0.67, 1)
    """
    run.check_started()
    if other is None:
        return tuple(_overlap(list(combinations(run.tickets.open(level), 2))) for level in range(run.tickets.finished))
    other.check_started()
    for each in (run, other):
        each.check_whole("Compare the masks")
    _check_architecture(run, other)
    paired = unlike_trials(run, other) in (None, "number of trials")
    found: list[Overlap | None] = []
    for level, matched in enumerate(match_densities(_densities(run), _densities(other))):
        if matched is None:
            found.append(None)
            continue
        one, two = run.tickets.open(level), other.tickets.open(matched)
        found.append(_overlap(_of_same_trial(one, two) if paired else list(product(one, two))))
    return tuple(found)


def level_overlaps(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return the overlap of masks between the levels of a run, as means over the trials, and what chance gives.

    Two levels are compared in the trials that have both.

    If the masks of a level are subsets of those of the level before, as in iterative pruning, their overlap is the
    ratio of their densities. One-shot pruning chooses each level's masks from the dense network.

    Returns:
        Two arrays of shape (levels + 1, levels + 1), of the finished levels: overlap and chance.

    Raises:
        StorageError: the folder is no run, no level is finished, or a file is damaged.
    """
    run.check_started()
    levels = [run.tickets.open(level) for level in range(run.tickets.finished)]
    found = np.ones((2, len(levels), len(levels)))
    for one, two in combinations(range(len(levels)), 2):
        pair = _overlap(_of_same_trial(levels[one], levels[two]))
        assert pair is not None
        found[:, one, two] = found[:, two, one] = pair.mean, pair.chance
    return found[0], found[1]


def _of_same_trial(one: Sequence[Ticket], other: Sequence[Ticket]) -> list[tuple[Ticket, Ticket]]:
    """Return the tickets of the trials that both have, in pairs."""
    others = {ticket.trial: ticket for ticket in other}
    return [(ticket, others[ticket.trial]) for ticket in one if ticket.trial in others]


def _overlap(pairs: Sequence[tuple[Ticket, Ticket]]) -> Overlap | None:
    if not pairs:
        return None
    masks = {id(ticket): ticket.masks for pair in pairs for ticket in pair}  # each is read once
    shared = [overlap(masks[id(one)], masks[id(two)]) for one, two in pairs]
    chance = float(np.mean([expected_overlap(one.counts, two.counts) for one, two in pairs]))
    return Overlap(float(np.mean(shared)), min(shared), max(shared), chance, len(pairs))


def _densities(run: Run) -> list[float]:
    histories = run.histories()
    return [float(density) for density in histories.density[: histories.finished]]


def _check_architecture(run: Run, other: Run) -> None:
    shapes = [{name: mask.shape for name, mask in each.tickets.open(0)[0].masks.items()} for each in (run, other)]
    if shapes[0] != shapes[1]:
        raise PruningError(
            f"the masks of {run.folder} and {other.folder} differ in names or shapes, so they cannot overlap. Compare "
            "masks of runs that prune the same layers of one architecture."
        )
