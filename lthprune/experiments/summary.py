"""The summary of a run: accuracies and early stopping at each level, over the trials."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from lthprune.arguments import check_word
from lthprune.search import Failure
from lthprune.training import Histories, over_trials


class Spread(NamedTuple):
    """A quantity over the trials: mean, minimum and maximum."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LevelSummary:
    """One level of a run over its trials. Accuracies are fractions in [0, 1], at the early-stopping step.

    Attributes:
        level: the pruning round; 0 is the dense network.
        density: the fraction of prunable weights that remain, in [0, 1].
        left: the number of remaining prunable weights.
        val_acc: validation accuracy.
        test_acc: test accuracy.
        early_stop: the early-stopping step, which is that of the lowest validation loss.
        task_test_acc: each task's test accuracy, by the task's name; empty for data of a single task.
        cut_off: the number of trials whose validation loss was lowest at the last step of the plan, so that a longer
            training might have reached a lower one later.
        trials: the number of trials that have finished this level, over which means and ranges are taken.
        failures: the trials that diverged, collapsed or are dead at this level.
    """

    level: int
    density: float
    left: int
    val_acc: Spread
    test_acc: Spread
    early_stop: Spread
    task_test_acc: dict[str, Spread] = field(default_factory=dict)
    cut_off: int = 0
    trials: int = 1
    failures: tuple[Failure, ...] = ()


def summarise(
    histories: Histories, left: Sequence[int], tasks: Sequence[str] = (), failures: Sequence[Failure] = ()
) -> list[LevelSummary]:
    """Summarise the finished levels of some histories.

    Args:
        histories: of a run.
        left: the number of weights that remain at each finished level.
        tasks: the names of the tasks, for data of several.
        failures: what failed at some levels.
    """
    val_acc, test_acc = histories.at_early_stop("val_acc"), histories.at_early_stop("test_acc")
    steps = histories.early_stop_steps()
    of_tasks = histories.at_early_stop("task_test_acc") if tasks else None  # (trials, levels + 1, tasks)
    return [
        LevelSummary(
            level=level,
            density=float(histories.density[level]),
            left=left[level],
            val_acc=spread(val_acc[:, level]),
            test_acc=spread(test_acc[:, level]),
            early_stop=spread(steps[:, level]),
            task_test_acc={name: spread(of_tasks[:, level, place]) for place, name in enumerate(tasks)}
            if of_tasks is not None
            else {},
            cut_off=int((steps[:, level] == histories.steps[-1]).sum()),
            trials=int(histories.measured[:, level].sum()),
            failures=tuple(failure for failure in failures if failure.level == level),
        )
        for level in range(histories.finished)
    ]


def smallest_winning(
    levels: Sequence[LevelSummary], condition: Literal["both", "accuracy"] = "both"
) -> LevelSummary | None:
    """Return the sparsest level that is a winning ticket; None if no pruned level is.

    Frankle & Carbin (2019), section 1, ask for an accuracy of at least the dense network's and for an early-stopping
    step no later than its. Both are means over the trials; accuracy is that on validation data, since test accuracy
    must not choose. A level counts only if it has all trials of the dense level and none of them has failed there: its
    means would be over other trials, or over outputs that do not depend on the input.

    Args:
        levels: what ``Run.summary`` returned.
        condition: ``"both"``, or ``"accuracy"`` alone.

    Examples:
        >>> def level(number, accuracy, step):
        ...     spreads = [Spread(value, value, value) for value in (accuracy, accuracy, step)]
        ...     return LevelSummary(number, 0.8**number, round(100 * 0.8**number), *spreads)
        >>> levels = [level(0, 0.97, 500), level(1, 0.98, 400), level(2, 0.97, 600), level(3, 0.95, 300)]
        >>> smallest_winning(levels).level, smallest_winning(levels, "accuracy").level
        (1, 2)
    """
    check_word("condition", condition, ("both", "accuracy"))
    winning = [
        level
        for level in levels[1:]
        if level.trials == levels[0].trials
        and not level.failures
        and level.val_acc.mean >= levels[0].val_acc.mean
        and (condition == "accuracy" or level.early_stop.mean <= levels[0].early_stop.mean)
    ]
    return min(winning, key=lambda level: level.density, default=None)


def spread(values: np.ndarray) -> Spread:
    """Return mean, minimum and maximum of the values of some trials, without those that are NaN."""
    return Spread(*map(float, over_trials(values)))
