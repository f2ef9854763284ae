"""What the figures of a run show, read when the first figure needs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lthprune.analysis import LevelInformation, Stability
from lthprune.data import Task
from lthprune.errors import PruningError
from lthprune.experiments.structure import LevelStructure, Structure
from lthprune.experiments.summary import smallest_winning, summarise
from lthprune.search import Ticket
from lthprune.training import Histories

if TYPE_CHECKING:
    from lthprune.plots import Series


class NotApplicableError(PruningError):
    """A figure that does not exist for a run, as that of splitting for data of a single task."""


@dataclass(frozen=True)
class Subject:
    """What the figures of a run show. Files are read when the first figure needs them, and each once.

    Attributes:
        title: the recipe and the method, for the figures' titles.
        trial: the trial that structure and weights are of.
        level: the level that figures of one level show.
        levels: how many finished levels the trial has.
        tasks: how many tasks the data have.
        per_epoch: how many steps an epoch has; None for runs that do not say.
        read_shapes: reads the shape of a sample of each data set that the run's data join.
        read_histories: reads what was measured over all trials.
        read_controls: reads what was measured of each kind of control, over all trials and repetitions.
        read_stability: reads the stability of networks, of all trials.
        read_information: reads the mutual information of variables, of all trials.
        read_tasks: reads the tasks of the data.
        read_ticket: returns the trial's ticket of a level, which it reads once.
        analyse: analyses the trial's tickets.
        analyse_level: analyses the ticket of one level.
    """

    title: str
    trial: int
    level: int
    levels: int
    tasks: int
    per_epoch: int | None
    read_shapes: Callable[[], Sequence[tuple[int, ...]]]
    read_histories: Callable[[], Histories]
    read_controls: Callable[[], Mapping[str, Histories]]
    read_stability: Callable[[], Sequence[Stability]]
    read_information: Callable[[], Sequence[LevelInformation]]
    read_tasks: Callable[[], Sequence[Task]]
    read_ticket: Callable[[int], Ticket]
    analyse: Callable[[], Structure]
    analyse_level: Callable[[], LevelStructure]

    @cached_property
    def histories(self) -> Histories:
        """What was measured over all trials."""
        return self.read_histories()

    @cached_property
    def controls(self) -> Mapping[str, Histories]:
        """What was measured of each kind of control."""
        return self.read_controls()

    @cached_property
    def stability(self) -> Sequence[Stability]:
        """The stability of networks, level by level.

        Raises:
            NotApplicableError: it was not measured.
        """
        measured = self.read_stability()
        if not measured:
            raise NotApplicableError(
                "figures of stability need measurements of it: lthprune stability RUN --at 0,100,500"
            )
        return measured

    @property
    def information(self) -> Sequence[LevelInformation]:
        """The mutual information of variables, level by level.

        Raises:
            NotApplicableError: it was not estimated.
        """
        estimated = self.read_information()
        if not estimated:
            raise NotApplicableError("the figure 'information' needs estimates of it: lthprune information RUN")
        return estimated

    @property
    def curves(self) -> "list[Series]":
        """The run, and the control to show beside it in curves: random reinitialisation, or else the first."""
        from lthprune.plots import Series

        shown = [name for name in ("reinitialised", *self.controls) if name in self.controls][:1]
        return [Series("tickets", self.histories), *(Series(name, self.controls[name], dotted=True) for name in shown)]

    @property
    def structure(self) -> Structure:
        """The structure of the trial.

        Raises:
            PruningError: the network cannot be traced.
        """
        if isinstance(self._analysed, PruningError):
            raise self._analysed
        return self._analysed

    @cached_property
    def _analysed(self) -> Structure | PruningError:
        try:
            return self.analyse()
        except PruningError as error:  # kept, so that the next figure does not trace the network again
            return error

    @cached_property
    def winner(self) -> int | None:
        """The level of the smallest winning ticket; None if no pruned level wins."""
        unshown = [0] * self.histories.finished  # no figure shows the numbers of weights
        found = smallest_winning(summarise(self.histories, unshown))
        return found.level if found else None

    @property
    def all_trials(self) -> str:
        """The title of figures that show all trials."""
        measured = self.histories.measured
        trials, gone = len(measured), int((~measured[:, self.histories.finished - 1]).sum())
        diverged = f", {gone} diverged" if gone else ""
        return f"{self.title}, {trials} trial{'' if trials == 1 else 's'}{diverged}"

    @property
    def tickets(self) -> Sequence[Ticket]:
        """The trial's tickets, level by level."""
        return [self.read_ticket(level) for level in range(self.levels)]

    @property
    def ticket(self) -> Ticket:
        """The trial's ticket of the level."""
        return self.read_ticket(self.level)

    @property
    def at_level(self) -> Structure:
        """The structure of the trial, whose network is that of the level."""
        structure = self.structure
        return structure if structure.levels[-1].level == self.level else self.analyse_level().structure

    @property
    def one_level(self) -> str:
        """The title of figures that show one level of one trial."""
        return f"{self.one_trial}, level {self.level} ({100 * self.ticket.density:.3g} %)"

    @property
    def one_trial(self) -> str:
        """The title of figures that show one trial."""
        return f"{self.title}, trial {self.trial}"
