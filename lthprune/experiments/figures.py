"""The figures of a run, by name, and how they are saved."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lthprune.analysis import Splitting
from lthprune.data import shapes_of_parts
from lthprune.errors import PruningError, RecipeError, StorageError
from lthprune.experiments.run import Run
from lthprune.experiments.structure import Structure, analyse, network_at
from lthprune.training import Histories

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Subject:
    """A run as its figures need it: what it measured over all trials, and the structure of its first one."""

    run: Run

    @cached_property
    def histories(self) -> Histories:
        """What was measured."""
        return self.run.histories()

    @cached_property
    def structure(self) -> Structure:
        """What became of the neurons and parameters of trial 0, over the finished levels."""
        return analyse(self.run)

    @property
    def trials(self) -> str:
        """A title for what is drawn of all trials."""
        return f"{self._name}, {len(self.histories.curves['val_acc'])} trials"

    @property
    def trial(self) -> str:
        """A title for what is drawn of one trial."""
        return f"{self._name}, trial {self.structure.trial}"

    @property
    def _name(self) -> str:
        return f"{self.run.recipe_name}: {self.run.recipe().prune.method.upper()}"


def _network(of: Subject) -> "Figure | None":
    """Draw the network of the last level, if a figure has room for it and its weights are numbers."""
    from lthprune.plots import MOST_NEURONS, plot_network, shown_layers

    last = of.structure.levels[-1]
    network = network_at(of.run, last.level, of.structure.trial)
    if sum(len(layer.neurons) for layer in shown_layers(network.graph)) > MOST_NEURONS:
        return None
    trained = of.run.tickets.ticket(last.level, of.structure.trial).trained
    if not all(tensor.isfinite().all() for tensor in trained.values()):  # the training diverged
        return None
    return plot_network(network, trained, f"{of.trial}, level {last.level}, density {last.density:.2%}")


def _inputs(of: Subject) -> "Figure | None":
    """Draw the weights that leave every pixel, if the inputs are images and the first layer is dense."""
    from lthprune.plots import plot_inputs

    shapes = shapes_of_parts(of.run.recipe().data, trust_code=of.run.trust_code)
    heard = any(counts.any() for counts in of.structure.levels[0].fan_out.values())
    images = all(len(shape) == 3 for shape in shapes)
    return plot_inputs(of.structure.levels, shapes, of.trial) if heard and images else None


def _split(of: Subject, plot: Callable[[Sequence[Splitting], Sequence[int], str], "Figure"]) -> "Figure | None":
    """Draw how the network splits, if there are several tasks."""
    if len(of.run.recipe().data.parts) < 2:
        return None
    levels = of.structure.splittings
    return plot([level.splitting for level in levels], [level.left for level in levels], of.trial)


def figures_of(of: Subject) -> dict[str, Callable[[], "Figure | None"]]:
    """Return what can be drawn of a run, by name; a figure that does not apply to the run comes out as None."""
    import lthprune.plots as plots

    return {
        "accuracy-over-steps": lambda: plots.plot_accuracy_over_steps(of.histories, of.trials),
        "accuracy-at-early-stop": lambda: plots.plot_accuracy_at_early_stop(of.histories, of.trials),
        "early-stop-steps": lambda: plots.plot_early_stop_steps(of.histories, of.trials),
        "states": lambda: plots.plot_states(of.structure.levels, of.trial),
        "lifetimes": lambda: plots.plot_lifetimes(of.structure.levels, of.trial),
        "biases": lambda: plots.plot_biases(of.structure.levels, of.trial) if of.structure.levels[0].biases else None,
        "inputs": lambda: _inputs(of),
        "coverage": lambda: _split(of, plots.plot_coverage),
        "decidedness": lambda: _split(of, plots.plot_decidedness),
        "network": lambda: _network(of),
    }


def save_figures(run: Run) -> list[Path]:
    """Draw the figures that apply to a run into its ``figures`` folder, as PNG and SVG, and return their paths.

    Warns of figures that show neurons if lthprune cannot follow the network's code, and leaves them out.

    Raises:
        StorageError: no level is finished, a file is damaged, or the folder cannot be written.
    """
    if not run.tickets.manifest()["finished"]:
        raise StorageError(f"{run.folder} has no finished level to plot yet; go on with: lthprune resume {run.folder}")
    subject = Subject(run)
    folder = run.folder / "figures"
    paths, left_out = [], {}
    for name, plot in figures_of(subject).items():
        try:
            figure = plot()
        except (PruningError, RecipeError) as error:
            left_out[name] = error
            continue
        if figure is None:
            continue
        try:
            folder.mkdir(exist_ok=True)
            for ending in ("png", "svg"):
                paths.append(folder / f"{name}.{ending}")
                figure.savefig(paths[-1])
        except OSError as error:
            raise StorageError(f"cannot write into {folder}: {error.strerror or error}.") from error
    if left_out:
        (reason, *_) = map(str, left_out.values())
        warnings.warn(f"no figures of {', '.join(left_out)}: {reason}", stacklevel=2)
    return paths
