"""Differences between a run and others, level by level: intervals and tests, paired by trial or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from lthprune.errors import PruningError
from lthprune.training import Histories

CONFIDENCE = 0.95
_RESAMPLES = 9_999
Measure = Literal["val_acc", "test_acc", "early_stop"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


class Difference(NamedTuple):
    """The difference between the means of two runs over their trials.

    Attributes:
        mean: of one minus the other: a fraction for accuracies, in steps for early stopping.
        low: the lower end of its 95 % interval; NaN for a single trial. From ``paired_difference`` it is a bootstrap
            interval over the trials (percentile method, 9,999 resamples, Efron 1979), from ``unpaired_difference`` that
            of Welch (1947).
        high: the upper end.
        p_value: of a two-sided t-test, paired or Welch's; NaN for a single trial or without any spread.
    """

    mean: float
    low: float
    high: float
    p_value: float

    @property
    def positive(self) -> bool:
        """Whether it is above zero by both the interval and the test, at 5 %."""
        return self.low > 0 and self.p_value < 1 - CONFIDENCE

    @property
    def negative(self) -> bool:
        """Whether it is below zero by both the interval and the test, at 5 %."""
        return self.high < 0 and self.p_value < 1 - CONFIDENCE


def paired_difference(values: Sequence[float] | np.ndarray) -> Difference:
    """Return the mean of paired differences, with its interval and test; the same values give the same result.

    Values that are NaN, of pairs that lack one of the two, are left out; without any other, all results are NaN.

    Examples:
        >>> difference = paired_difference([0.2, 0.3, 0.1, 0.25, 0.15])
        >>> round(difference.mean, 2), round(difference.low, 2), round(difference.high, 2), difference.positive
        (0.2, 0.14, 0.26, True)
    """
    from scipy import stats  # it takes a second to import

    values = _there(values)
    mean = float(values.mean()) if len(values) else np.nan
    if len(values) < 2:
        return Difference(mean, np.nan, np.nan, np.nan)
    if np.ptp(values) <= 1e-9 * np.abs(values).max():  # they differ by rounding at most
        return Difference(mean, mean, mean, np.nan)
    interval = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=_RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Difference(mean, float(interval.low), float(interval.high), float(stats.ttest_1samp(values, 0.0).pvalue))


def unpaired_difference(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> Difference:
    """Return the mean of one sample minus that of another, with the interval and test of Welch (1947).

    The samples may differ in size and spread. A sample of one value has no spread to estimate, so there is no interval.
    Values that are NaN are left out.

    Examples:
        >>> difference = unpaired_difference([0.97, 0.98, 0.96], [0.91, 0.94, 0.92, 0.93])
        >>> round(difference.mean, 3), round(difference.low, 3), round(difference.high, 3), difference.positive
        (0.045, 0.023, 0.067, True)
    """
    from scipy import stats

    samples = [_there(values) for values in (one, other)]
    mean = float(samples[0].mean() - samples[1].mean()) if all(map(len, samples)) else np.nan
    if min(map(len, samples)) < 2:
        return Difference(mean, np.nan, np.nan, np.nan)
    squared = [float(values.var(ddof=1)) / len(values) for values in samples]  # standard errors of the means, squared
    error = float(np.sqrt(sum(squared)))
    if error <= 1e-9 * max(float(np.abs(values).max()) for values in samples):  # they differ by rounding at most
        return Difference(mean, mean, mean, np.nan)
    parts = [each**2 / (len(values) - 1) for each, values in zip(squared, samples, strict=True)]
    freedom = sum(squared) ** 2 / sum(parts)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Difference(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, freedom)))


def _there(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the values that are not NaN."""
    every = np.asarray(values, dtype=float)
    return np.asarray(every[~np.isnan(every)])


@dataclass(frozen=True)
class Comparison:
    """A run beside one kind of control, or another run with the same trials.

    Attributes:
        name: of the other, such as ``"reinitialised"``.
        repeats: how many repetitions of the control each trial is compared with; their mean is taken.
        levels: the numbers of the levels that both have finished.
        density: of the run at these levels.
        differences: by measure, one difference for each level: run minus other.
    """

    name: str
    repeats: int
    levels: tuple[int, ...]
    density: tuple[float, ...]
    differences: dict[Measure, tuple[Difference, ...]]

    def better(self, measure: Measure) -> tuple[int, ...]:
        """Return the levels at which the run is better: more accurate, or earlier at its lowest validation loss."""
        return self._where(measure, "negative" if measure == "early_stop" else "positive")

    def worse(self, measure: Measure) -> tuple[int, ...]:
        """Return the levels at which the run is worse."""
        return self._where(measure, "positive" if measure == "early_stop" else "negative")

    def _where(self, measure: Measure, side: str) -> tuple[int, ...]:
        return tuple(
            level
            for level, difference in zip(self.levels, self.differences[measure], strict=True)
            if getattr(difference, side)
        )

    def sentence(self) -> str:
        """Say at which levels the tickets beat the other, by test accuracy and by early stopping.

        A level counts if its 95 % interval and a paired test at 5 % agree. The levels are tested one by one.
        """
        if all(np.isnan(each.low) for each in self.differences["test_acc"]):
            return f"{self.name}: a single trial gives no intervals. Run several trials to compare."
        parts = [
            f"{word} at {level_ranges(found)}"
            for word, found in (
                ("more accurate", self.better("test_acc")),
                ("less accurate", self.worse("test_acc")),
                ("earlier at their lowest validation loss", self.better("early_stop")),
                ("later at their lowest validation loss", self.worse("early_stop")),
            )
            if found
        ]
        if not parts:
            return f"{self.name}: no level shows a difference."
        return f"{self.name}: the tickets are {'; '.join(parts)}."


def compare(name: str, run: Histories, others: Sequence[Histories]) -> Comparison:
    """Compare a run with the repetitions of a control, trial by trial.

    A level compares the trials that have finished it in the run and in each repetition.

    Args:
        name: of the control.
        run: the histories of the run.
        others: those of each repetition; the means over repetitions are compared.

    Raises:
        PruningError: there is none, or they have other trials.
    """
    trials = run.curves["val_loss"].shape[0]
    if not others or any(each.curves["val_loss"].shape[0] != trials for each in others):
        raise PruningError(f"{name} cannot be compared trial by trial: it needs the {trials} trials of the run.")
    finished = min(each.finished for each in (run, *others))
    differences: dict[Measure, tuple[Difference, ...]] = {}
    for measure in MEASURES:
        rest = np.mean([measured(each, measure)[:, :finished] for each in others], axis=0)
        gaps = measured(run, measure)[:, :finished] - rest
        differences[measure] = tuple(paired_difference(gaps[:, level]) for level in range(finished))
    density = tuple(float(each) for each in run.density[:finished])
    return Comparison(name, len(others), tuple(range(finished)), density, differences)


def against_dense(run: Histories) -> Comparison:
    """Compare each level of a run with its dense network, trial by trial."""
    dense = Histories(
        {name: np.repeat(curve[:, :1], curve.shape[1], axis=1) for name, curve in run.curves.items()},
        run.density,
        run.steps,
    )
    return compare("the dense network", run, [dense])


def measured(histories: Histories, measure: Measure) -> np.ndarray:
    """Return a measure at early stopping, of shape (trials, levels + 1)."""
    return histories.early_stop_steps() if measure == "early_stop" else histories.at_early_stop(measure)


def level_ranges(levels: Sequence[int]) -> str:
    """Return the numbers of levels in words.

    Examples:
        >>> level_ranges([3]), level_ranges([1, 2, 3, 7])
        ('level 3', 'levels 1-3 and 7')
    """
    ranges: list[list[int]] = []
    for level in levels:
        if ranges and level == ranges[-1][1] + 1:
            ranges[-1][1] = level
        else:
            ranges.append([level, level])
    named = [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges]
    text = f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
    return f"level{'' if len(levels) == 1 else 's'} {text}"
