"""Several runs at matched densities: accuracies, early stopping and differences to the first run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lthprune.errors import PruningError
from lthprune.experiments.comparison import (
    CONFIDENCE,
    MEASURES,
    Difference,
    Measure,
    measured,
    paired_difference,
    unpaired_difference,
)
from lthprune.experiments.figures import write_figure
from lthprune.experiments.run import Run
from lthprune.reading import expanded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST_NAME = 200  # of a file; systems allow 255 bytes
MOST_APART = 1.1  # the largest ratio of two densities that count as about the same


class Estimate(NamedTuple):
    """A mean over the trials that have finished a level, with its 95 % interval.

    Attributes:
        mean: a fraction for accuracies, a number of steps for early stopping.
        half: half the width of Student's t interval; NaN for a single trial.
    """

    mean: float
    half: float


@dataclass(frozen=True)
class MatchedLevel:
    """A level of a run, matched with a level of the first run.

    Attributes:
        level: its number.
        density: the fraction of weights that remain, in [0, 1].
        estimates: the measures at early stopping.
        differences: run minus first run.
    """

    level: int
    density: float
    estimates: dict[Measure, Estimate]
    differences: dict[Measure, Difference]


@dataclass(frozen=True)
class MatchedRun:
    """A run at the densities of the first run.

    Attributes:
        run: the run.
        trials: the number of its trials.
        unlike: what keeps its trials from being paired with those of the first run, such as ``"seeds"``; None if they
            are paired.
        levels: for each finished level of the first run, the level of nearest density; None if none is within 10 %.
    """

    run: Run
    trials: int
    unlike: str | None
    levels: tuple[MatchedLevel | None, ...]


def compare_runs(runs: Sequence[Run]) -> tuple[MatchedRun, ...]:
    """Compare runs with the first of them, at the densities of its levels.

    The nearest level is that of the smallest ratio of densities, at most 1.1. Trials are paired, as in
    [`compare`][lthprune.experiments.compare], if both runs have the same seeds, number of trials and data: then a trial
    of one and the same trial of the other share their data order and, for one architecture, their initial weights.
    Otherwise the difference is that of two independent samples
    ([`unpaired_difference`][lthprune.experiments.unpaired_difference]).

    Args:
        runs: two or more; controls are runs, too.

    Returns:
        The runs in their order; the first is compared with itself.

    Raises:
        PruningError: there are fewer than two, or one is there twice.
        StorageError: a folder is no run, no level of one is finished, or a file is damaged.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> settings = ["train.steps=5", "prune.levels=1", "run.trials=2"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     runs = [
        ...         run_recipe(load_recipe("lenet-digits", [*settings, f"train.lr={rate}"]), "short", out=folder)
        ...         for rate in (0.01, 0.001)
        ...     ]
        ...     first, second = compare_runs(runs)
        >>> [level.level for level in second.levels], second.unlike, second.levels[1].differences["test_acc"].mean < 0
        ([0, 1], None, True)
    """
    check_runs(runs)
    histories = [run.histories() for run in runs]
    first, *_ = histories
    found = []
    for run, own in zip(runs, histories, strict=True):
        unlike = unlike_trials(runs[0], run)
        values = {measure: (measured(own, measure), measured(first, measure)) for measure in MEASURES}
        levels: list[MatchedLevel | None] = []
        for level, other in enumerate(match_densities(first.density[: first.finished], own.density[: own.finished])):
            if other is None:
                levels.append(None)
                continue
            pairs = {measure: (mine[:, other], firsts[:, level]) for measure, (mine, firsts) in values.items()}
            levels.append(
                MatchedLevel(
                    level=other,
                    density=float(own.density[other]),
                    estimates={measure: _estimate(mine) for measure, (mine, _) in pairs.items()},
                    differences={
                        measure: unpaired_difference(mine, firsts) if unlike else paired_difference(mine - firsts)
                        for measure, (mine, firsts) in pairs.items()
                    },
                )
            )
        found.append(MatchedRun(run, len(own.curves["val_loss"]), unlike, tuple(levels)))
    return tuple(found)


def plot_runs(runs: Sequence[Run], title: str = "") -> "Figure":
    """Return a figure of several runs: test accuracy and early-stopping step over the density, a line for each.

    The arguments and errors are those of ``compare_runs``.
    """
    from lthprune.plots import Series, plot_controls

    check_runs(runs)
    return plot_controls([Series(f"{place} {run.name}", run.histories()) for place, run in enumerate(runs, 1)], title)


def save_runs(runs: Sequence[Run], out: str | Path = "comparisons") -> list[Path]:
    """Write the figure of ``plot_runs`` as PNG, SVG and PDF, and return the paths.

    Args:
        runs: as of ``compare_runs``.
        out: the folder. The files are named after the runs.

    Raises:
        PruningError: as of ``compare_runs``.
        StorageError: as of ``compare_runs``, or the folder cannot be written.
    """
    name = "+".join(map(_full_name, runs))[:_LONGEST_NAME]
    return write_figure(plot_runs(runs), expanded(out), name)


def _full_name(run: Run) -> str:
    """Return the name of a run, after that of the run around it."""
    if run.control is None and run.transfer is None:
        return run.name
    return f"{run.folder.resolve().parents[1].name}-{run.name}"


def check_runs(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot be compared.

    Raises:
        PruningError: there are fewer than two, or one is there twice.
        StorageError: a folder is no run, or no level of one is finished.
    """
    if len(runs) < 2:
        raise PruningError(
            "a comparison takes two runs or more. Name the others, too: lthprune compare RUN RUN. To compare a run "
            "with its controls, see `lthprune control`."
        )
    for place, run in enumerate(runs):
        run.recipe()
        run.check_whole("Compare the tickets")
        run.check_started()
        if run.folder.resolve() in [other.folder.resolve() for other in runs[:place]]:
            raise PruningError(f"{run.folder} is named twice. Name each run once.")


def match_densities(first: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> list[int | None]:
    """Return for each density of the first run the level of the other whose density is nearest by their ratio.

    None stands for a density that no level of the other is within 10 % of.

    Examples:
        >>> match_densities([1.0, 0.5, 0.25], [1.0, 0.8, 0.53])
        [0, 2, None]
    """
    one, two = np.asarray(first)[:, None], np.asarray(other)[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(one == two, 0.0, np.abs(np.log(one / two)))  # (levels, other levels)
    nearest = ratios.argmin(axis=1)
    return [int(level) if ratios[place, level] <= np.log(MOST_APART) else None for place, level in enumerate(nearest)]


def unlike_trials(first: Run, other: Run) -> str | None:
    """Return what keeps trials of two runs from being paired, in words; None if they can be."""
    one, two = first.recipe(), other.recipe()
    differ = {
        "seeds": one.run.seed != two.run.seed,
        "number of trials": one.run.trials != two.run.trials,
        "data": first.fingerprint != other.fingerprint or one.data != two.data,
    }
    return " and ".join(word for word, differs in differ.items() if differs) or None


def _estimate(values: np.ndarray) -> Estimate:
    from scipy import stats

    values = values[~np.isnan(values)]
    mean = float(values.mean()) if len(values) else np.nan
    if len(values) < 2:
        return Estimate(mean, np.nan)
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    return Estimate(mean, float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error))
