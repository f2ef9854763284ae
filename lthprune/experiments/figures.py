"""The figures of a run, by name, and how they are saved."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lthprune.analysis import Splitting
from lthprune.arguments import check_word
from lthprune.data import Task
from lthprune.errors import LthpruneError, PruningError, RecipeError, StorageError
from lthprune.experiments.structure import LevelStructure, Structure
from lthprune.experiments.summary import smallest_winning, summarise
from lthprune.search import Ticket
from lthprune.training import Histories

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lthprune.plots import Series

ENDINGS = ("png", "svg", "pdf")


class _NotApplicableError(PruningError):
    """A figure that does not exist for a run, as that of splitting for data of a single task."""


@dataclass(frozen=True)
class Subject:
    """What the figures of a run show. Files are read when the first figure needs them, and each once.

    Attributes:
        title: the recipe and the method, for the figures' titles.
        trial: the trial that structure and weights are of.
        level: the level that figures of one level show.
        tasks: how many tasks the data have.
        read_shapes: reads the shape of a sample of each data set that the run's data join.
        read_histories: reads what was measured over all trials.
        read_controls: reads what was measured of each kind of control, over all trials and repetitions.
        read_tasks: reads the tasks of the data.
        open_tickets: returns the trial's tickets, level by level, which read their tensors when these are asked for.
        analyse: reads and analyses the trial's tickets.
        analyse_level: reads and analyses the ticket of one level.
    """

    title: str
    trial: int
    level: int
    tasks: int
    read_shapes: Callable[[], Sequence[tuple[int, ...]]]
    read_histories: Callable[[], Histories]
    read_controls: Callable[[], Mapping[str, Histories]]
    read_tasks: Callable[[], Sequence[Task]]
    open_tickets: Callable[[], Sequence[Ticket]]
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
        found = smallest_winning(summarise(self.histories, weights=0))  # whose numbers of weights no figure shows
        return found.level if found else None

    @property
    def all_trials(self) -> str:
        """The title of figures that show all trials."""
        trials = len(self.histories.curves["val_acc"])
        return f"{self.title}, {trials} trial{'' if trials == 1 else 's'}"

    @cached_property
    def tickets(self) -> Sequence[Ticket]:
        """The trial's tickets, level by level."""
        return self.open_tickets()

    @property
    def at_level(self) -> Structure:
        """The structure of the trial, whose network is that of the level."""
        structure = self.structure
        return structure if structure.levels[-1].level == self.level else self.analyse_level().structure

    @property
    def one_level(self) -> str:
        """The title of figures that show one level of one trial."""
        return f"{self.one_trial}, level {self.level} ({100 * self.tickets[self.level].density:.3g} %)"

    @property
    def one_trial(self) -> str:
        """The title of figures that show one trial."""
        return f"{self.title}, trial {self.trial}"


def plot(subject: Subject, name: str) -> "Figure":
    """Return one figure of a run, by its name in ``FIGURES``.

    Raises:
        PruningError: the name is unknown, the figure does not apply to the run, or the network cannot be traced.
    """
    check_word("figure", name, FIGURES)
    return FIGURES[name](subject)


def save_figures(subject: Subject, folder: Path) -> list[Path]:
    """Draw the figures that apply to a run into a folder, as PNG, SVG and PDF, and return their paths.

    Warns of the figures that show neurons if the network cannot be traced, and leaves them out.

    Raises:
        StorageError: a file of the run is damaged, or the folder cannot be written.
    """
    paths: list[Path] = []
    left_out: dict[str, LthpruneError] = {}
    for name, draw in FIGURES.items():
        try:
            figure = draw(subject)
        except _NotApplicableError:
            continue
        except (PruningError, RecipeError) as error:
            left_out[name] = error
            continue
        paths += write_figure(figure, folder, name)
    if left_out:
        (reason, *_) = map(str, left_out.values())
        warnings.warn(f"no figures of {', '.join(left_out)}: {reason}", stacklevel=3)
    return paths


def write_figure(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG, SVG and PDF into a folder, which is made if it is missing; return the paths.

    Raises:
        StorageError: the folder cannot be written.
    """
    from lthprune.plots import save

    paths = [folder / f"{name}.{ending}" for ending in ENDINGS]
    try:
        folder.mkdir(exist_ok=True)
        for path in paths:
            save(figure, path)
    except OSError as error:
        raise StorageError(f"cannot write into {folder}: {error.strerror or error}.") from error
    return paths


def _accuracy_over_steps(subject: Subject) -> "Figure":
    from lthprune.plots import plot_accuracy_over_steps

    return plot_accuracy_over_steps(subject.curves, subject.all_trials, winner=subject.winner)


def _accuracy_at_early_stop(subject: Subject) -> "Figure":
    from lthprune.plots import plot_accuracy_at_early_stop

    return plot_accuracy_at_early_stop(subject.curves, subject.all_trials, winner=subject.winner)


def _early_stop_steps(subject: Subject) -> "Figure":
    from lthprune.plots import plot_early_stop_steps

    return plot_early_stop_steps(subject.curves, subject.all_trials, winner=subject.winner)


def _controls(subject: Subject) -> "Figure":
    """Draw the tickets beside all their controls."""
    from lthprune.plots import Series, plot_controls

    if not subject.controls:
        raise _NotApplicableError("the figure 'controls' needs controls; train some: lthprune control RUN --kind all")
    series = [Series(name, histories, dotted=True) for name, histories in subject.controls.items()]
    return plot_controls([Series("tickets", subject.histories), *series], subject.all_trials)


def _states(subject: Subject) -> "Figure":
    from lthprune.plots import plot_states

    return plot_states(subject.structure.levels, subject.one_trial)


def _lifetimes(subject: Subject) -> "Figure":
    from lthprune.plots import plot_lifetimes

    return plot_lifetimes(subject.structure.levels, subject.one_trial)


def _biases(subject: Subject) -> "Figure":
    from lthprune.plots import plot_biases

    if not subject.structure.levels[0].biases:
        raise _NotApplicableError("the figure 'biases' needs a network with biases; this one has none.")
    return plot_biases(subject.structure.levels, subject.one_trial)


def _inputs(subject: Subject) -> "Figure":
    """Draw the number of weights at each pixel, for images whose first layer is dense."""
    from lthprune.plots import plot_inputs

    levels, shapes = subject.structure.levels, subject.read_shapes()
    counted = any(counts.any() for counts in levels[0].fan_out.values())
    if not counted or any(len(shape) != 3 for shape in shapes):
        raise _NotApplicableError(
            "the figure 'inputs' needs images and a dense first layer, which this run does not have."
        )
    return plot_inputs(levels, shapes, subject.one_trial)


def _coverage(subject: Subject) -> "Figure":
    from lthprune.plots import plot_coverage

    return _splitting(subject, plot_coverage)


def _decidedness(subject: Subject) -> "Figure":
    from lthprune.plots import plot_decidedness

    return _splitting(subject, plot_decidedness)


def _splitting(subject: Subject, draw: Callable[[Sequence[Splitting], Sequence[int], str], "Figure"]) -> "Figure":
    """Draw the splitting at every level, for data of several tasks."""
    if subject.tasks < 2:
        raise _NotApplicableError("figures of splitting need data of several tasks; the data of this run are one task.")
    levels = subject.structure.splittings
    return draw([level.splitting for level in levels], [level.left for level in levels], subject.one_trial)


def _network(subject: Subject) -> "Figure":
    """Draw the network of one level, if it fits into a figure and its weights are finite."""
    from lthprune.plots import MOST_NEURONS, layers_to_draw, plot_network

    structure = subject.at_level
    neurons = sum(len(own) for _, own in layers_to_draw(structure.network.graph))
    if neurons > MOST_NEURONS:
        raise _NotApplicableError(
            f"the figure 'network' shows at most {MOST_NEURONS:,} neurons; this network has {neurons:,} with weights "
            f"at level {subject.level}."
        )
    _check_finite("network", subject)
    tasks = subject.read_tasks() if subject.tasks > 1 else ()
    return plot_network(structure.network, structure.trained, subject.one_level, tasks=tasks)


def _pruned_by_layer(subject: Subject) -> "Figure":
    from lthprune.plots import plot_pruned_by_layer

    return plot_pruned_by_layer([ticket.counts for ticket in subject.tickets], subject.one_trial)


def _steps_needed(subject: Subject) -> "Figure":
    from lthprune.plots import plot_steps_needed

    return plot_steps_needed(subject.histories, subject.all_trials)


def _weights(subject: Subject) -> "Figure":
    from lthprune.plots import plot_weights

    _check_finite("weights", subject)
    ticket = subject.tickets[subject.level]
    return plot_weights(ticket.trained, ticket.masks, subject.one_level)


def _weight_histograms(subject: Subject) -> "Figure":
    from lthprune.plots import plot_weight_histograms

    try:
        return plot_weight_histograms(subject.tickets, subject.one_trial)
    except PruningError as error:
        raise _NotApplicableError(f"the figure 'weight-histograms' does not apply: {error}") from error


def _check_finite(name: str, subject: Subject) -> None:
    if not all(tensor.isfinite().all() for tensor in subject.tickets[subject.level].trained.values()):
        raise _NotApplicableError(
            f"the figure {name!r} needs finite weights; the training of level {subject.level} diverged."
        )


FIGURES: dict[str, Callable[[Subject], "Figure"]] = {
    "accuracy-over-steps": _accuracy_over_steps,
    "accuracy-at-early-stop": _accuracy_at_early_stop,
    "early-stop-steps": _early_stop_steps,
    "steps-needed": _steps_needed,
    "controls": _controls,
    "pruned-by-layer": _pruned_by_layer,
    "weights": _weights,
    "weight-histograms": _weight_histograms,
    "states": _states,
    "lifetimes": _lifetimes,
    "biases": _biases,
    "inputs": _inputs,
    "coverage": _coverage,
    "decidedness": _decidedness,
    "network": _network,
}
