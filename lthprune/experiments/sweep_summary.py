"""The summary of a sweep, cell by cell."""

from dataclasses import dataclass, field
from typing import get_args

from lthprune.analysis import Outcome, outcome
from lthprune.errors import StorageError
from lthprune.experiments.structure import LevelSplitting
from lthprune.experiments.summary import LevelSummary, smallest_winning
from lthprune.experiments.sweep import Cell, Sweep
from lthprune.search import Failure


@dataclass(frozen=True)
class CellSummary:
    """One cell of a sweep.

    Attributes:
        cell: the cell.
        levels: its finished levels.
        seconds: how long they took; None if that is unknown.
        splittings: for each trial, how far its network has split at each level; empty for data of a single task.
        failures: the trials that diverged, collapsed or are dead at some level.
    """

    cell: Cell
    levels: list[LevelSummary]
    seconds: float | None
    splittings: list[tuple[LevelSplitting, ...]] = field(default_factory=list)
    failures: tuple[Failure, ...] = ()

    @property
    def winner(self) -> LevelSummary | None:
        """The smallest winning ticket, if there is one."""
        return smallest_winning(self.levels)

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """The number of trials by the outcome of their splitting; empty for data of a single task."""
        ends = [outcome([level.splitting.status for level in trial]) for trial in self.splittings if trial]
        return {end: ends.count(end) for end in get_args(Outcome) if ends}

    @property
    def separated(self) -> list[LevelSplitting]:
        """The first separated level of each trial that separated."""
        found = [[level for level in trial if level.splitting.status == "separated"] for trial in self.splittings]
        return [levels[0] for levels in found if levels]


def summarise_sweep(sweep: Sweep) -> list[CellSummary]:
    """Summarise every cell of a sweep, whether it has begun or not."""
    return [_summarise_cell(cell) for cell in sweep.cells()]


def _summarise_cell(cell: Cell) -> CellSummary:
    if not cell.run.tickets.exists:
        return CellSummary(cell, [], None)
    try:
        seconds = sum(cell.run.environment()["seconds_per_level"].values())
    except (StorageError, KeyError):
        seconds = None  # only a record: the summary does without it
    splittings = [cell.run.splittings(trial) for trial in range(cell.recipe.run.trials)]
    return CellSummary(cell, cell.run.summary(), seconds, splittings, cell.run.tickets.failures)
