"""Bounds of a separation: with how many weights a perceptron can consist of a separate network for each task."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lthprune.arguments import whole_number
from lthprune.data import Task
from lthprune.errors import PruningError


@dataclass(frozen=True)
class SeparationBounds:
    """With how many active weights a perceptron of k tasks can be separated, and with how many interconnected.

    A network of each task needs all of the task's inputs and outputs, and at least one unit of every hidden layer.
    Active weights are on a path from an input to an output; inactive ones may remain besides them.

    Attributes:
        weights: those of the dense network.
        most: the most active weights of a separated network. Its tasks have hidden units of their own, and all weights
            among these. Weights are most if one task has all units of a layer but one for each other task.
        equal: the same if all tasks have equally many hidden units, up to whole units: the dense network's
            weights / k, if k divides all layers, inputs and outputs included.
        fewest: the fewest weights of a separated network: inputs + outputs + k (hidden layers - 1).
        fewest_interconnected: the fewest weights of a network in which all tasks are covered by one component: inputs +
            outputs + hidden layers - 1. With fewer weights every network is degraded.
    """

    weights: int
    most: int
    equal: int
    fewest: int
    fewest_interconnected: int


def separation_bounds(sizes: Sequence[int], tasks: Sequence[Task]) -> SeparationBounds:
    """Return with how many weights a perceptron can consist of a separate network for each task.

    Tasks need all pairs of their inputs and outputs, as with ``coverage="pairs"``. The most weights are a maximum over
    the number of units that each task has in each hidden layer. Given the other layers, the number of weights is linear
    in the units of one layer, so that in some maximum a single task has all units of a layer but one for each other
    task; the task of each layer is found layer by layer.

    Args:
        sizes: of the inputs, the hidden layers and the outputs, as in (4, 8, 8, 2).
        tasks: at least two, which share out the inputs and the outputs.

    Raises:
        PruningError: there are fewer than two tasks, no hidden layer, fewer hidden units than tasks, or the tasks have
            other numbers of inputs or outputs.

    Examples:
        >>> tasks = [Task("moons", range(0, 2), range(0, 1)), Task("circles", range(2, 4), range(1, 2))]
        >>> separation_bounds((4, 8, 8, 2), tasks)
        SeparationBounds(weights=112, most=74, equal=56, fewest=8, fewest_interconnected=7)
    """
    sizes = [whole_number("a layer's size", size) for size in sizes]
    of_inputs = np.array([len(task.inputs) for task in tasks])
    of_outputs = np.array([len(task.outputs) for task in tasks])
    hidden, number = sizes[1:-1], len(tasks)
    if number < 2 or not hidden or min(hidden) < number or [of_inputs.sum(), of_outputs.sum()] != [sizes[0], sizes[-1]]:
        raise PruningError(
            f"sizes = {tuple(sizes)} and {number} tasks with {of_inputs.sum()} inputs and {of_outputs.sum()} outputs: "
            "bounds of a separation need two tasks or more, which share out the first and the last of these sizes, and "
            "a unit for each of them in one hidden layer or more."
        )
    best = [(0, of_inputs)]  # for each choice of the last layer's largest task, the most weights and the layer's units
    for size in hidden:
        layers = [1 + (size - number) * own for own in np.eye(number, dtype=int)]
        best = [(max(most + int(before @ units) for most, before in best), units) for units in layers]
    shares = [of_inputs, *(_equal_shares(size, number) for size in hidden), of_outputs]
    return SeparationBounds(
        weights=sum(before * after for before, after in pairwise(sizes)),
        most=max(most + int(units @ of_outputs) for most, units in best),
        equal=sum(int(before @ after) for before, after in pairwise(shares)),
        fewest=sizes[0] + sizes[-1] + number * (len(hidden) - 1),
        fewest_interconnected=sizes[0] + sizes[-1] + len(hidden) - 1,
    )


def _equal_shares(size: int, number: int) -> np.ndarray:
    """Share out units as evenly as possible; the first tasks have one more where they do not divide."""
    return size // number + (np.arange(number) < size % number)
