"""Figures of a stored result, each with its 95 % bootstrap interval over the trials."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lthprune.analysis import STABLE
from lthprune.experiments.comparison import Difference, paired_difference

Level = dict[str, Any]
"""A level's ``density``, and ``test_acc``, ``val_acc`` and ``early_stop`` of each trial."""


@dataclass(frozen=True)
class Figure:
    """A figure of ours: its interval over the trials, and what it was read at, such as the density of a level."""

    over_trials: Difference
    at: str


Measure = Callable[["Result"], Figure | None]
"""Reads a figure from a result; None if the result does not have the levels or the control that it needs."""


@dataclass(frozen=True)
class Result:
    """A stored result: what ``record.py`` wrote."""

    stored: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read a file."""
        return cls(json.loads(path.read_text("utf-8")))

    @property
    def levels(self) -> list[Level]:
        """The levels of the run, the dense network first."""
        found: list[Level] = self.stored["levels"]
        return found

    def repetitions(self, control: str) -> list[list[Level]]:
        """Return the levels of each repetition of a control."""
        found: list[list[Level]] = self.stored["controls"].get(control, [])
        return found

    def nearest(self, density: float) -> int | None:
        """Return the number of the level of nearest density, by ratio; None if it differs by more than a tenth."""
        gaps = [abs(np.log(level["density"] / density)) for level in self.levels]
        return int(np.argmin(gaps)) if min(gaps) <= np.log(1.1) else None


def values(level: Level, name: str) -> np.ndarray:
    """Return a measurement of each trial."""
    return np.array(level[name], dtype=float)


def earlier(level: Level, other: Level) -> np.ndarray:
    """Return how much earlier the lowest validation loss comes, as a fraction of the other's step."""
    return 1 - _ratio(values(level, "early_stop"), values(other, "early_stop"))


def times_earlier(level: Level, other: Level) -> np.ndarray:
    """Return how many times earlier the lowest validation loss comes."""
    return _ratio(values(other, "early_stop"), values(level, "early_stop"))


def more_accurate(level: Level, other: Level) -> np.ndarray:
    """Return each trial's gain in test accuracy."""
    return values(level, "test_acc") - values(other, "test_acc")


Beside = Callable[[Level, Level], np.ndarray]


def at(density: float, beside: Beside) -> Measure:
    """Compare the level of nearest density with the dense network."""

    def measure(result: Result) -> Figure | None:
        place = result.nearest(density)
        return None if place is None else _figure(beside(result.levels[place], result.levels[0]), result.levels[place])

    return measure


def throughout(high: float, low: float, beside: Beside, control: str | None = None) -> Measure:
    """Compare the pruned levels between two densities with the dense network; the smallest mean counts.

    Args:
        high: the highest density.
        low: the lowest; the levels must reach down to within a quarter of it, as a rate of 20 % does.
        beside: what to compare.
        control: read the levels of this control's first repetition instead of the run's.
    """

    def measure(result: Result) -> Figure | None:
        levels = result.levels if control is None else next(iter(result.repetitions(control)), [])
        within = [level for level in levels[1:] if low <= level["density"] <= high]
        if not within or within[-1]["density"] > 1.25 * low:
            return None
        figures = [_figure(beside(level, levels[0]), level) for level in within]
        return min(figures, key=lambda figure: figure.over_trials.mean)

    return measure


def beside_control(density: float, control: str, beside: Beside) -> Measure:
    """Compare the level of nearest density with a control there, each trial with the mean of its repetitions."""

    def measure(result: Result) -> Figure | None:
        place, repetitions = result.nearest(density), result.repetitions(control)
        finished = [levels[place] for levels in repetitions if place is not None and len(levels) > place]
        if place is None or not finished:
            return None
        mean = {name: np.mean([values(each, name) for each in finished], axis=0) for name in ("test_acc", "early_stop")}
        return _figure(beside(result.levels[place], mean), result.levels[place])

    return measure


def least_ahead(densities: Sequence[float], control: str, other: str | None = None) -> Measure:
    """Compare accuracies with a control's at several densities; the smallest mean counts.

    Args:
        densities: in the result, a level near each of them.
        control: the control to compare with.
        other: the control that is compared, by default the run.
    """

    def ahead(result: Result, place: int) -> Figure | None:
        """Return by how much the run, or the other control, is more accurate at a level."""
        sides = [result.repetitions(name)[:1] if name is not None else [result.levels] for name in (other, control)]
        if any(not side or len(side[0]) <= place for side in sides):
            return None
        return _figure(more_accurate(*(side[0][place] for side in sides)), result.levels[place])

    def measure(result: Result) -> Figure | None:
        places = [result.nearest(density) for density in densities]
        figures = [None if place is None else ahead(result, place) for place in places]
        known = [figure for figure in figures if figure is not None]
        return min(known, key=lambda figure: figure.over_trials.mean) if len(known) == len(densities) else None

    return measure


def untrained_accuracy(masks: str, weights: str) -> Measure:
    """Return the test accuracy of masked networks before training, at the level where its mean is highest."""

    def measure(result: Result) -> Figure | None:
        if "untrained" not in result.levels[0]:
            return None
        found = [_figure(level["untrained"][f"{masks} {weights}"], level) for level in result.levels]
        return max(found, key=lambda figure: figure.over_trials.mean)

    return measure


def below_barrier(step: int, *, above: bool = False) -> Measure:
    """Return how far the error barrier between copies of the dense network is below 2 points, or ``above`` them.

    Args:
        step: at which the copies were made.
        above: whether to return how far it is above.
    """

    def measure(result: Result) -> Figure | None:
        barriers = result.levels[0].get("barriers", {}).get(str(step))
        if barriers is None:
            return None
        return _figure((np.array(barriers) - STABLE) * (1 if above else -1), result.levels[0])

    return measure


def information_gained(pair: str, estimate: str = "mine") -> Measure:
    """Return how many nats of mutual information a pair has more at the last level estimated than in the dense network.

    Args:
        pair: both names, as in ``"dense1:labels"``.
        estimate: ``"mine"`` or ``"neighbours"``.
    """

    def measure(result: Result) -> Figure | None:
        estimated = [level for level in result.levels if pair in level.get("information", {})]
        if len(estimated) < 2 or estimated[0]["density"] < 1:
            return None
        first, last = (values(level["information"][pair], estimate) for level in (estimated[0], estimated[-1]))
        return _figure(last - first, estimated[-1])

    return measure


def least_of_gaussians(estimate: str, of: str, features: Sequence[int]) -> Measure:
    """Return the ratio of an estimate to the truth, or to another estimate, for the Gaussians where it is smallest.

    Args:
        estimate: ``"mine"`` or ``"neighbours"``.
        of: ``"truth"`` or an estimate.
        features: the numbers of features of the Gaussians that count.
    """

    def measure(result: Result) -> Figure | None:
        cells = [cell for cell in result.stored.get("cells", []) if cell["features"] in features]
        figures = [
            Figure(
                paired_difference(values(cell, estimate) / values(cell, of)),
                f"{cell['features']} features, correlation {cell['correlation']}",
            )
            for cell in cells
        ]
        return min(figures, key=lambda figure: figure.over_trials.mean, default=None)

    return measure


def dense_accuracy(result: Result) -> Figure:
    """Return the dense network's test accuracy."""
    return _figure(values(result.levels[0], "test_acc"), result.levels[0])


def separated(result: Result) -> Figure:
    """Return the share of the trials whose network was separated at some level."""
    found = np.array([level["split"] for level in result.levels]) == "separated"
    return _figure(found.any(axis=0).astype(float), result.levels[-1])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return values whose mean is the ratio of the means, and whose spread is that of the ratio (delta method)."""
    ratio = above.mean() / below.mean()
    linearised: np.ndarray = ratio + (above - ratio * below) / below.mean()
    return linearised


def _figure(over_trials: Sequence[float] | np.ndarray, level: Level) -> Figure:
    return Figure(paired_difference(over_trials), f"{100 * level['density']:.2f} %")
