"""What came out of a run, level by level, and of a sweep, cell by cell."""

from dataclasses import dataclass, field
from typing import NamedTuple, get_args

import numpy as np

from lthprune.analysis import Outcome, outcome
from lthprune.errors import StorageError
from lthprune.experiments.run import Run
from lthprune.experiments.structure import LevelSplitting, split_levels
from lthprune.experiments.sweep import Cell, Sweep


class Spread(NamedTuple):
    """A quantity over the trials: mean, minimum and maximum."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LevelSummary:
    """One level of a run over its trials. Accuracies are fractions in [0, 1], read at the early-stopping step.

    ``task_test_acc`` has each task's, by name; nothing where there is a single task.
    """

    level: int
    density: float
    left: int
    val_acc: Spread
    test_acc: Spread
    early_stop: Spread
    task_test_acc: dict[str, Spread] = field(default_factory=dict)


def summarise(run: Run) -> list[LevelSummary]:
    """Summarise the finished levels of a run."""
    if not run.tickets.manifest()["finished"]:
        return []
    histories, dense = run.histories(), run.tickets.level(0)[0]
    total = sum(mask.numel() for mask in dense.masks.values())
    tasks = {  # each (trials, levels + 1)
        name: histories.at_early_stop("task_test_acc")[..., place]
        for place, name in enumerate(dense.metrics.get("tasks", {}))
    }
    return [
        LevelSummary(
            level=level,
            density=float(histories.density[level]),
            left=round(float(histories.density[level]) * total),
            val_acc=_spread(histories.at_early_stop("val_acc")[:, level]),
            test_acc=_spread(histories.at_early_stop("test_acc")[:, level]),
            early_stop=_spread(histories.early_stop_steps()[:, level]),
            task_test_acc={name: _spread(values[:, level]) for name, values in tasks.items()},
        )
        for level in range(run.tickets.finished)
    ]


def smallest_winning(levels: list[LevelSummary]) -> LevelSummary | None:
    """Return the smallest winning ticket: mean validation accuracy at least that of the dense network.

    Chosen on validation accuracy alone; None where no pruned level reaches the dense network.
    """
    winning = [level for level in levels[1:] if level.val_acc.mean >= levels[0].val_acc.mean]
    return min(winning, key=lambda level: level.density, default=None)


@dataclass(frozen=True)
class CellSummary:
    """One cell of a sweep: its finished levels, and how long they took, in seconds; None where that is not known.

    ``splittings`` say of every trial how far its network has split at each level; none where there is one task alone.
    """

    cell: Cell
    levels: list[LevelSummary]
    seconds: float | None
    splittings: list[tuple[LevelSplitting, ...]] = field(default_factory=list)

    @property
    def winner(self) -> LevelSummary | None:
        """The smallest winning ticket, if there is one."""
        return smallest_winning(self.levels)

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many trials came to which end; nothing where there is one task alone."""
        ends = [outcome([level.splitting.status for level in trial]) for trial in self.splittings if trial]
        return {end: ends.count(end) for end in get_args(Outcome) if ends}

    @property
    def separated(self) -> list[LevelSplitting]:
        """Of every trial that separated, the first level at which it was separated."""
        found = [[level for level in trial if level.splitting.status == "separated"] for trial in self.splittings]
        return [levels[0] for levels in found if levels]


def summarise_sweep(sweep: Sweep) -> list[CellSummary]:
    """Summarise the cells of a sweep, begun or not."""
    return [_summarise_cell(cell) for cell in sweep.cells()]


def _summarise_cell(cell: Cell) -> CellSummary:
    if not cell.run.tickets.exists:
        return CellSummary(cell, [], None)
    try:
        seconds = sum(cell.run.environment()["seconds_per_level"].values())
    except (StorageError, KeyError):
        seconds = None  # it is an account, and nothing that a summary depends on
    levels = range(cell.run.tickets.finished)
    splittings = [split_levels(cell.run, levels, trial) for trial in range(cell.recipe.run.trials)]
    return CellSummary(cell, summarise(cell.run), seconds, splittings)


def _spread(values: np.ndarray) -> Spread:
    return Spread(float(values.mean()), float(values.min()), float(values.max()))
