"""The figures of a run, by name, and how they are saved."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lthprune.analysis import Splitting
from lthprune.arguments import check_word
from lthprune.errors import LthpruneError, PruningError, RecipeError
from lthprune.experiments.structure import LevelSplitting
from lthprune.experiments.subject import NotApplicableError, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = ("png", "svg", "pdf")


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
        except NotApplicableError:
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
    for path in paths:
        save(figure, path)
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
        raise NotApplicableError("the figure 'controls' needs controls; train some: lthprune control RUN --kind all")
    series = [Series(name, histories, dotted=True) for name, histories in subject.controls.items()]
    return plot_controls([Series("tickets", subject.histories), *series], subject.all_trials)


def _stability(subject: Subject) -> "Figure":
    from lthprune.plots import plot_stability

    return plot_stability(subject.stability, subject.all_trials)


def _interpolation(subject: Subject) -> "Figure":
    from lthprune.plots import plot_interpolation

    return plot_interpolation(subject.stability, subject.all_trials)


def _information(subject: Subject) -> "Figure":
    from lthprune.plots import plot_information

    return plot_information(subject.information, subject.all_trials)


def _states(subject: Subject) -> "Figure":
    from lthprune.plots import plot_states

    return plot_states(subject.structure.levels, subject.one_trial)


def _lifetimes(subject: Subject) -> "Figure":
    from lthprune.plots import plot_lifetimes

    return plot_lifetimes(subject.structure.levels, subject.one_trial)


def _biases(subject: Subject) -> "Figure":
    from lthprune.plots import plot_biases

    if not subject.structure.levels[0].biases:
        raise NotApplicableError("the figure 'biases' needs a network with biases; this one has none.")
    return plot_biases(subject.structure.levels, subject.one_trial)


def _inputs(subject: Subject) -> "Figure":
    """Draw the number of weights at each pixel, for images whose first layer is dense."""
    from lthprune.plots import plot_inputs

    levels, shapes = subject.structure.levels, subject.read_shapes()
    counted = any(counts.any() for counts in levels[0].fan_out.values())
    if not counted or any(len(shape) != 3 for shape in shapes):
        raise NotApplicableError(
            "the figure 'inputs' needs images and a dense first layer, which this run does not have."
        )
    return plot_inputs(levels, shapes, subject.one_trial)


def _coverage(subject: Subject) -> "Figure":
    from lthprune.plots import plot_coverage

    return _splitting(subject, plot_coverage)


def _decidedness(subject: Subject) -> "Figure":
    from lthprune.plots import plot_decidedness

    return _splitting(subject, plot_decidedness)


def _separation(subject: Subject) -> "Figure":
    from lthprune.plots import plot_separation

    accuracies = [level.test_acc for level in _levels_of_tasks(subject)]
    return _splitting(subject, lambda splittings, left, title: plot_separation(splittings, left, accuracies, title))


def _splitting(subject: Subject, draw: Callable[[Sequence[Splitting], Sequence[int], str], "Figure"]) -> "Figure":
    levels = _levels_of_tasks(subject)
    return draw([level.splitting for level in levels], [level.left for level in levels], subject.one_trial)


def _levels_of_tasks(subject: Subject) -> Sequence[LevelSplitting]:
    """Return the splitting at every level, for data of several tasks."""
    if subject.tasks < 2:
        raise NotApplicableError("figures of splitting need data of several tasks; the data of this run are one task.")
    return subject.structure.splittings


def _network(subject: Subject) -> "Figure":
    """Draw the network of one level, if it fits into a figure and its weights are finite."""
    from lthprune.plots import MOST_NEURONS, layers_to_draw, plot_network

    structure = subject.at_level
    neurons = sum(len(own) for _, own in layers_to_draw(structure.network.graph))
    if neurons > MOST_NEURONS:
        raise NotApplicableError(
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

    return plot_steps_needed(subject.histories, subject.all_trials, per_epoch=subject.per_epoch)


def _weights(subject: Subject) -> "Figure":
    from lthprune.plots import plot_weights

    _check_finite("weights", subject)
    ticket = subject.ticket
    return plot_weights(ticket.trained, ticket.masks, subject.one_level)


def _weight_histograms(subject: Subject) -> "Figure":
    from lthprune.plots import plot_weight_histograms

    try:
        return plot_weight_histograms(subject.tickets, subject.one_trial)
    except PruningError as error:
        raise NotApplicableError(f"the figure 'weight-histograms' does not apply: {error}") from error


def _check_finite(name: str, subject: Subject) -> None:
    if not all(tensor.isfinite().all() for tensor in subject.ticket.trained.values()):
        raise NotApplicableError(
            f"the figure {name!r} needs finite weights; the training of level {subject.level} diverged."
        )


FIGURES: dict[str, Callable[[Subject], "Figure"]] = {
    "accuracy-over-steps": _accuracy_over_steps,
    "accuracy-at-early-stop": _accuracy_at_early_stop,
    "early-stop-steps": _early_stop_steps,
    "steps-needed": _steps_needed,
    "controls": _controls,
    "stability": _stability,
    "interpolation": _interpolation,
    "information": _information,
    "pruned-by-layer": _pruned_by_layer,
    "weights": _weights,
    "weight-histograms": _weight_histograms,
    "states": _states,
    "lifetimes": _lifetimes,
    "biases": _biases,
    "inputs": _inputs,
    "coverage": _coverage,
    "decidedness": _decidedness,
    "separation": _separation,
    "network": _network,
}
