"""Splitting: whether a network of several tasks consists of a separate network for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lthprune.analysis.graph import WEIGHTED, Graph, LayerKind
from lthprune.analysis.neurons import NetworkStates, NeuronState
from lthprune.arguments import check_word, described
from lthprune.data import Task
from lthprune.errors import PruningError

Status = Literal["interconnected", "separated", "degraded"]
Outcome = Literal["interconnected", "separated", "separated then degraded", "degraded"]
Coverage = Literal["pairs", "outputs"]


@dataclass(frozen=True, eq=False)
class Decidedness:
    """The fractions of a layer's alive neurons that belong to one task only; NaN if none is alive.

    Attributes:
        layer: its name.
        by_inputs: the fraction with paths from the inputs of only one task.
        by_outputs: the fraction with paths to the outputs of only one task.
    """

    layer: str
    by_inputs: float
    by_outputs: float


@dataclass(frozen=True, eq=False, repr=False)
class Splitting:
    """How far a network has split into separate networks for its tasks.

    Attributes:
        tasks: their names.
        components: (neurons of the graph,), the connected component of each alive neuron, -1 for all others. Component
            0 is the largest.
        sizes: (components,), the number of neurons in each, without inputs and sums.
        coverage: (components, tasks), in [0, 1]: the fraction of the task's inputs in the component times the fraction
            of its outputs. With coverage ``"outputs"`` it is the fraction of the outputs alone, or 0 if the component
            contains no input of the task.
        status: ``interconnected``; ``separated`` (every task is fully covered, and no component belongs to two tasks);
            or ``degraded`` (some task is less than fully covered). A component belongs to the tasks of its inputs and
            outputs; with coverage ``"outputs"`` to those of its outputs.
        metric: the number of splits still needed, 0 once separated; when degraded ``potential - 1``, in [-1, 0).
        potential: in [0, 1], the mean over the tasks of the fraction of pairs of an input and an output that are in
            one component; with coverage ``"outputs"``, of outputs in a component with an input of their task.
        matrix: (tasks, tasks), one row for each task: the coverage of the component that suits it best. Once separated
            it is the identity, unless outputs alone count and the outputs of a task are in several components.
        distance: the Frobenius norm of ``matrix`` minus the identity.
        strays: the number of alive inputs in components without an output of their task.
        decidedness: of the layers with weights, in the order of computation.
    """

    tasks: tuple[str, ...]
    components: np.ndarray
    sizes: np.ndarray
    coverage: np.ndarray
    status: Status
    metric: float
    potential: float
    matrix: np.ndarray
    distance: float
    strays: int
    decidedness: tuple[Decidedness, ...]

    @property
    def task_distances(self) -> np.ndarray:
        """(tasks,), the norm of each task's row of ``matrix`` minus the identity: 0 if one component covers all of the
        task and nothing of the others. Their squares add up to that of ``distance``."""
        distances: np.ndarray = np.linalg.norm(self.matrix - np.eye(len(self.tasks)), axis=1)
        return distances

    def __repr__(self) -> str:
        return f"<Splitting into {', '.join(self.tasks)}: {self.status}, metric {self.metric:.3g}>"


def find_splitting(states: NetworkStates, tasks: Sequence[Task], *, coverage: Coverage = "pairs") -> Splitting:
    """Return how far a network has split into separate networks for its tasks.

    It finds the connected components of the graph of alive neurons, computes how much of each task each component
    covers, and counts the splits still needed.

    Args:
        states: the states of the network's neurons.
        tasks: at least two, which share out the network's inputs and outputs.
        coverage: what a task has to keep so as not to count as degraded. ``"pairs"``: each of its inputs connected to
            each of its outputs. ``"outputs"``: each of its outputs connected to at least one of its inputs (for
            images, which lose their outermost pixels first).

    Raises:
        PruningError: there are fewer than two tasks, or the network has other inputs or outputs than they state.

    Examples:
        >>> from lthprune.analysis import neuron_states
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
        >>> apart = {"0.weight": torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]), "2.weight": torch.eye(2)}
        >>> tasks = [Task("moons", range(0, 2), range(0, 1)), Task("circles", range(2, 4), range(1, 2))]
        >>> find_splitting(neuron_states(model), tasks).status
        'interconnected'
        >>> find_splitting(neuron_states(model, masks=apart), tasks).status
        'separated'
    """
    if not isinstance(states, NetworkStates):
        raise PruningError(f"find_splitting takes the result of neuron_states(model), not {described(states)}.")
    check_word("coverage", coverage, get_args(Coverage))
    graph = states.graph
    inputs, outputs = (_members(graph, kind, tasks) for kind in ("input", "output"))
    alive = states.structural == NeuronState.ALIVE
    components, number = _components(graph, alive)
    of_inputs = _per_component(components, inputs, number)  # (components, tasks), the number of inputs of each task
    of_outputs = _per_component(components, outputs, number)
    kept = (of_inputs if coverage == "pairs" else of_inputs > 0) * of_outputs
    whole = outputs.sum(axis=0) * (inputs.sum(axis=0) if coverage == "pairs" else 1)
    covered = kept / whole
    potential = float((kept.sum(axis=0) / whole).mean())
    parts = ((of_inputs if coverage == "pairs" else 0) + of_outputs > 0).astype(int)
    groups = _groups(parts.T @ parts)
    full = bool((kept.sum(axis=0) == whole).all())
    matrix = _matched(covered, len(tasks))
    return Splitting(
        tasks=tuple(task.name for task in tasks),
        components=components,
        sizes=np.bincount(components[alive & graph.weighted().numpy()], minlength=number),
        coverage=covered,
        status="degraded" if not full else "separated" if groups == len(tasks) else "interconnected",
        metric=float(len(tasks) - groups) if full else potential - 1,
        potential=potential,
        matrix=matrix,
        strays=int(of_inputs[of_outputs == 0].sum()),
        distance=float(np.linalg.norm(matrix - np.eye(len(tasks)))),
        decidedness=_decidedness(graph, alive, torch.from_numpy(inputs), torch.from_numpy(outputs)),
    )


def outcome(statuses: Sequence[Status]) -> Outcome:
    """Summarise the statuses of a network over its levels.

    Examples:
        >>> outcome(["interconnected", "separated", "degraded"])
        'separated then degraded'
        >>> outcome(["interconnected", "degraded"])
        'degraded'
    """
    if statuses[-1] == "degraded" and "separated" in statuses:
        return "separated then degraded"
    return statuses[-1]


def _members(graph: Graph, kind: LayerKind, tasks: Sequence[Task]) -> np.ndarray:
    """Return which neurons (neurons of the graph, tasks) are inputs or outputs of each task."""
    numbers = graph.numbers(kind).numpy()
    ranges = [task.inputs if kind == "input" else task.outputs for task in tasks]
    counted = sorted(number for each in ranges for number in each)
    if len(tasks) < 2 or counted != list(range(len(numbers))):
        listed = ", ".join(f"{task.name}: {_span(own)}" for task, own in zip(tasks, ranges, strict=True))
        raise PruningError(
            f"splitting needs two tasks or more that share out all {kind}s of the network. It has {len(numbers):,} "
            f"{kind}s; the tasks have {listed or 'none'}."
        )
    members = np.zeros((graph.size, len(tasks)), dtype=bool)
    for place, own in enumerate(ranges):
        members[numbers[list(own)], place] = True
    return members


def _span(own: range) -> str:
    return f"{own.start} to {own.stop - 1}" if len(own) else "none"


def _components(graph: Graph, alive: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the component of every neuron, -1 for those not alive, and the number of components, largest first."""
    from scipy.sparse import coo_array  # scipy changes warning filters when it is imported
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate([layer.pairs().numpy() for layer in graph.layers])
    pairs = pairs[alive[pairs].all(axis=1)].astype(np.int32)  # csgraph of scipy 1.11.1 fails for others
    edges = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(graph.size, graph.size))
    _, labels = connected_components(edges, directed=False)
    found, sizes = np.unique(labels[alive], return_counts=True)
    place = np.full(graph.size, -1)
    place[found[np.argsort(-sizes, kind="stable")]] = np.arange(len(found))
    return np.where(alive, place[labels], -1), len(found)


def _per_component(components: np.ndarray, members: np.ndarray, number: int) -> np.ndarray:
    """Return the number of each task's neurons (neurons, tasks) in each component, (components, tasks)."""
    counts = np.zeros((number, members.shape[1]), dtype=np.int64)
    neurons, tasks = np.nonzero(members & (components >= 0)[:, None])
    np.add.at(counts, (components[neurons], tasks), 1)
    return counts


def _groups(linked: np.ndarray) -> int:
    """Return the number of groups of tasks that components link, directly or through others (tasks, tasks)."""
    from scipy.sparse.csgraph import connected_components

    return int(connected_components(linked, directed=False)[0])


def _matched(coverage: np.ndarray, tasks: int) -> np.ndarray:
    """Return for each task the coverage of the component that suits it best; zeros if there are too few."""
    from scipy.optimize import linear_sum_assignment

    matrix = np.zeros((tasks, tasks))
    components, own = linear_sum_assignment(coverage, maximize=True)
    matrix[own] = coverage[components]
    return matrix


def _decidedness(graph: Graph, alive: np.ndarray, inputs: Tensor, outputs: Tensor) -> tuple[Decidedness, ...]:
    by_inputs = (graph.descendants(inputs).sum(dim=1) == 1).numpy()
    by_outputs = (graph.ancestors(outputs).sum(dim=1) == 1).numpy()
    return tuple(
        Decidedness(layer.name, _fraction(by_inputs[own][alive[own]]), _fraction(by_outputs[own][alive[own]]))
        for layer in graph.layers
        for own in [layer.span]
        if layer.kind in WEIGHTED
    )


def _fraction(decided: np.ndarray) -> float:
    return float(decided.mean()) if len(decided) else float("nan")
