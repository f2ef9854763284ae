"""Accuracies of masked networks before any training, at the densities of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from lthprune.experiments.experiment import Experiment, Place, prepare_run
from lthprune.experiments.figures import write_figure
from lthprune.experiments.run import Run
from lthprune.experiments.threads import torch_threads
from lthprune.pruning import Masks, State, choose_masks, random_masks, restore
from lthprune.reading import expanded
from lthprune.search import Ticket, constant_magnitudes
from lthprune.training import evaluate

UNTRAINED_MASKS: dict[str, str] = {
    "tickets": "the masks of the run's tickets",
    "large_final": "one-shot from the trained dense network, by magnitude",
    "large_final_same_sign": "by magnitude, of the weights that kept their sign",
    "magnitude_increase": "by the increase of the magnitude",
    "random": "the masks of the tickets, shuffled in each layer",
}
"""The masks that untrained networks are tested with."""

UNTRAINED_WEIGHTS: dict[str, str] = {
    "initial": "the initial weights",
    "constant": "the sign of each initial weight times the standard deviation of its tensor",
}
"""The weights that untrained networks are tested with."""


@dataclass(frozen=True)
class Untrained:
    """Test accuracies of masked networks that were not trained.

    Attributes:
        density: of each finished level, (levels,).
        accuracies: fractions in [0, 1] by mask and weights, each (trials, levels); NaN for levels that a trial does not
            have. The names are the keys of ``UNTRAINED_MASKS`` and ``UNTRAINED_WEIGHTS``.
    """

    density: np.ndarray
    accuracies: Mapping[tuple[str, str], np.ndarray]


def untrained_accuracies(
    run: Run, *, data_dir: str | Path | None = None, device: str | None = None, threads: int | None = None
) -> Untrained:
    """Test a run's masked networks before any training (Zhou et al. 2019, section 5).

    Every level's masks keep as many weights as its tickets in each group of weights that compete. All masks but the
    tickets' own and the random ones are chosen in one shot by a score, from the initial weights and the dense network's
    trained ones. Biases and buffers are initial, so batch norms have not seen any data.

    Args:
        run: with its finished levels.
        data_dir: the data root; by default that of the run.
        device: ``cpu`` or ``cuda``; by default that of the run.
        threads: the number of threads to compute with; by default that of the run.

    Raises:
        StorageError: the folder is no run but a control or a transfer, no level is finished, a file is damaged,
            or the data are not those of the run.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=200", "prune.levels=1", "run.trials=2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     untrained = untrained_accuracies(run_recipe(recipe, "short", out=folder))
        >>> same_sign = untrained.accuracies["large_final_same_sign", "constant"]  # (trials, levels)
        >>> same_sign.shape, bool(same_sign[:, 1].mean() > same_sign[:, 0].mean())
        ((2, 2), True)
    """
    run.check_searched("Test the untrained networks")  # the initial weights of a control may be those of its run
    run.check_whole("Test the untrained networks")
    run.check_started()
    place = Place.of(run, data_dir, device, threads)
    with torch_threads(place.threads):
        experiment = prepare_run(run, place)
        initial, dense = run.tickets.initial(), {ticket.trial: ticket for ticket in run.tickets.level(0)}
        levels, density = range(run.tickets.finished), run.histories().density
        shape = len(initial), len(levels)
        found = {(masks, weights): np.full(shape, np.nan) for masks in UNTRAINED_MASKS for weights in UNTRAINED_WEIGHTS}
        for level in levels:
            for ticket in run.tickets.open(level):
                trial = ticket.trial
                start, row = initial[trial], [*initial].index(trial)
                constant = start | constant_magnitudes({name: start[name] for name in ticket.masks})
                for name in UNTRAINED_MASKS:
                    masks = _masks(name, experiment, trial, ticket, start, dense[trial].trained)
                    for weights, state in (("initial", start), ("constant", constant)):
                        masked = state | {each: state[each] * mask for each, mask in masks.items()}
                        found[name, weights][row, level] = _accuracy(experiment, experiment.models[row], masked)
    return Untrained(density[: len(levels)].copy(), found)


def save_untrained(run: Run, untrained: Untrained, out: str | Path | None = None) -> list[Path]:
    """Write a figure of the accuracies as PNG, SVG and PDF, and return the paths.

    Args:
        run: the run.
        untrained: its accuracies.
        out: the folder; ``figures`` in the run directory by default.

    Raises:
        StorageError: the folder cannot be written.
    """
    from lthprune.plots import plot_untrained

    folder = run.folder / "figures" if out is None else expanded(out)
    figure = plot_untrained(untrained.density, untrained.accuracies, f"{run.recipe_name}: before training")
    return write_figure(figure, folder, "untrained")


def _masks(
    name: str, experiment: Experiment, trial: int, ticket: Ticket, initial: State, trained: Mapping[str, Tensor]
) -> Masks:
    if name == "tickets":
        return ticket.masks
    if name == "random":
        return random_masks(ticket.masks, "layers", experiment.recipe.run.control_generator(trial, 0))
    pruning = replace(experiment.search.pruning, score=name)
    pools = pruning.pools(experiment.models[trial])
    return choose_masks(
        pruning,
        pools,
        [sum(ticket.counts[each].left for each in pool.names) for pool in pools],
        masks={each: mask.new_ones(mask.shape) for each, mask in ticket.masks.items()},
        final=trained,
        initial=initial,
    )


def _accuracy(experiment: Experiment, model: nn.Module, state: Mapping[str, Tensor]) -> float:
    data = experiment.data
    restore(model, state)
    return evaluate(model, data.x_test, data.y_test, data.tasks).acc
