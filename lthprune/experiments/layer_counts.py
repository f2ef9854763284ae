"""The states of all trials' neurons, layer by layer, over the levels of a run."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lthprune.analysis import NeuronState
from lthprune.experiments.run import Run
from lthprune.experiments.structure import Structure
from lthprune.experiments.summary import Spread, spread
from lthprune.search import Failure


@dataclass(frozen=True, eq=False)
class LayerCounts:
    """The number of neurons in each state, by trial, level and layer.

    Attributes:
        run: the run's name.
        functional: whether the states are functional; otherwise they are structural.
        layers: the names of the layers.
        left: (levels,), the number of remaining prunable weights.
        active: (trials, levels), how many of these are active; NaN for levels that a trial does not have.
        neurons: (trials, levels, layers, 6), the number of neurons in each state, in the order of ``NeuronState``; NaN
            likewise. A trial without any level is left out.
        failures: of all trials, at all levels.
    """

    run: str
    functional: bool
    layers: tuple[str, ...]
    left: np.ndarray
    active: np.ndarray
    neurons: np.ndarray
    failures: tuple[Failure, ...] = ()

    def spread(self, layer: str, level: int, state: NeuronState) -> Spread:
        """Return mean, minimum and maximum over the trials of a layer's neurons in a state at a level."""
        return spread(self.neurons[:, level, self.layers.index(layer), state])

    def active_spread(self, level: int) -> Spread:
        """Return mean, minimum and maximum over the trials of the active weights at a level."""
        return spread(self.active[:, level])

    def describe(self) -> dict[str, Any]:
        """Return means, minima and maxima over the trials as nested plain values, ready for JSON."""
        return {
            "run": self.run,
            "trials": len(self.active),
            "states": "functional" if self.functional else "structural",
            "failures": [failure.model_dump(exclude_none=True) for failure in self.failures],
            "levels": [
                {
                    "level": level,
                    "left": int(left),
                    "active": self.active_spread(level)._asdict(),
                    "neurons": {
                        layer: {state.name.lower(): self.spread(layer, level, state)._asdict() for state in NeuronState}
                        for layer in self.layers
                    },
                }
                for level, left in enumerate(self.left)
            ],
        }


def count_by_layer(run: Run, *, functional: bool = False) -> LayerCounts:
    """Count the neurons of each layer in each state, at every finished level of all trials of a run.

    Args:
        run: the run.
        functional: read biases and activations as trained; otherwise states follow from the masks alone.

    Raises:
        StorageError: the folder is no run, no level is finished, or a file is damaged.
        PruningError: the network cannot be traced.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     counts = count_by_layer(run_recipe(recipe, "short", out=folder))
        >>> counts.neurons.shape, counts.spread("dense1", 0, NeuronState.ALIVE)
        ((2, 2, 3, 6), Spread(mean=300.0, low=300.0, high=300.0))
    """
    run.check_started()
    structures = (run.structure(trial, functional=functional) for trial in run.tickets.trials(0))
    return replace(_counted(run.name, functional, run.tickets.finished, structures), failures=run.tickets.failures)


def _counted(run: str, functional: bool, finished: int, structures: Iterable[Structure]) -> LayerCounts:
    """Count structures one at a time, so that no more than one is in memory."""
    active, neurons, left = [], [], np.zeros(finished, int)
    for structure in structures:
        levels = structure.levels
        layers = tuple(levels[0].neurons)
        active.append(np.full(finished, np.nan))
        neurons.append(np.full((finished, len(layers), len(NeuronState)), np.nan))
        for place, level in enumerate(levels):
            left[place], active[-1][place] = level.left, level.active
            neurons[-1][place] = [np.bincount(own, minlength=len(NeuronState)) for own in level.neurons.values()]
    return LayerCounts(run, functional, layers, left, np.array(active), np.array(neurons))
