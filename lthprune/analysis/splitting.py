"""Splitting: whether a network that learnt several tasks has fallen apart into one for each."""

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
    """How far a layer's neurons belong to one task.

    ``by_inputs`` is the fraction of its alive neurons that hear the inputs of one task only, ``by_outputs`` of those
    that speak to the outputs of one task only; NaN where none is alive.
    """

    layer: str
    by_inputs: float
    by_outputs: float


@dataclass(frozen=True, eq=False, repr=False)
class Splitting:
    """How far a network has split into its tasks.

    Attributes:
        tasks: their names.
        components: (neurons of the graph,), the connected component of the alive graph that a neuron belongs to, -1 for
            what is not alive; the largest is 0.
        sizes: (components,), how many neurons each has, inputs and sums not counted.
        coverage: (components, tasks), in [0, 1]: covered inputs/all times covered outputs/all. Where outputs alone
            count, covered outputs/all of components that hear anything of the task.
        status: ``interconnected``, ``separated`` (every task is fully covered, and no component has a part in two) or
            ``degraded`` (some task is less than fully covered). Where outputs alone count, only they make a part.
        metric: how many splits are still needed, 0 once separated; when degraded ``potential - 1``, in [-1, 0).
        potential: in [0, 1], the mean over the tasks of the pairs of an input and an output that are still in one
            component (or of the outputs that are alive).
        matrix: (tasks, tasks), the coverage of the component that suits each task best. Once separated it is the
            identity, but where outputs alone count and those of one task are in several components.
        distance: the Frobenius norm of ``matrix`` less the identity.
        strays: how many alive inputs are in components without an output of their own task.
        decidedness: of the layers with weights, from the inputs on.
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

    def __repr__(self) -> str:
        return f"<Splitting into {', '.join(self.tasks)}: {self.status}, metric {self.metric:.3g}>"


def find_splitting(states: NetworkStates, tasks: Sequence[Task], *, coverage: Coverage = "pairs") -> Splitting:
    """Find out how far a network has split into its tasks.

    The definitions are those of the experiments with joined data sets that this follows: connected components of the
    graph of alive neurons, a matrix of what each covers of each task, and a number that counts the splits still needed.

    Args:
        states: of the network's neurons.
        tasks: the inputs and outputs of each, two tasks at least.
        coverage: what a task must keep not to count as degraded: all ``pairs`` of an input and an output, or its
            ``outputs`` alone (images, whose outermost pixels are the first to go).

    Raises:
        PruningError: there are fewer than two tasks, or the network has other inputs or outputs than they say.

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
        raise PruningError(f"find_splitting takes what neuron_states(model) returns; this is {described(states)}.")
    check_word("coverage", coverage, get_args(Coverage))
    graph = states.graph
    inputs, outputs = (_members(graph, kind, tasks) for kind in ("input", "output"))
    alive = states.structural == NeuronState.ALIVE
    components, number = _components(graph, alive)
    heard = _per_component(components, inputs, number)  # (components, tasks), how many inputs of each task
    spoken = _per_component(components, outputs, number)
    kept = (heard if coverage == "pairs" else heard > 0) * spoken
    whole = outputs.sum(axis=0) * (inputs.sum(axis=0) if coverage == "pairs" else 1)
    covered = kept / whole
    potential = float((kept.sum(axis=0) / whole).mean())
    parts = ((heard if coverage == "pairs" else 0) + spoken > 0).astype(int)
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
        strays=int(heard[spoken == 0].sum()),
        distance=float(np.linalg.norm(matrix - np.eye(len(tasks)))),
        decidedness=_decidedness(graph, alive, torch.from_numpy(inputs), torch.from_numpy(outputs)),
    )


def outcome(statuses: Sequence[Status]) -> Outcome:
    """Return what became of a network over its levels.

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
    """Return which neurons (neurons of the graph, tasks) are inputs, or outputs, of each task."""
    numbers = graph.numbers(kind).numpy()
    ranges = [task.inputs if kind == "input" else task.outputs for task in tasks]
    counted = sorted(number for each in ranges for number in each)
    if len(tasks) < 2 or counted != list(range(len(numbers))):
        listed = ", ".join(f"{task.name}: {_span(own)}" for task, own in zip(tasks, ranges, strict=True))
        raise PruningError(
            f"splitting is a question about two tasks or more that share out all {kind}s of a network. This one has "
            f"{len(numbers):,} {kind}s; the tasks have {listed or 'none'}."
        )
    members = np.zeros((graph.size, len(tasks)), dtype=bool)
    for place, own in enumerate(ranges):
        members[numbers[list(own)], place] = True
    return members


def _span(own: range) -> str:
    return f"{own.start} to {own.stop - 1}" if len(own) else "none"


def _components(graph: Graph, alive: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the component of every neuron, largest first, and how many there are; -1 for what is not alive."""
    from scipy.sparse import coo_array  # scipy changes warning filters when it is imported
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate([layer.pairs().numpy() for layer in graph.layers])
    pairs = pairs[alive[pairs].all(axis=1)]
    edges = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(graph.size, graph.size))
    _, labels = connected_components(edges, directed=False)
    found, sizes = np.unique(labels[alive], return_counts=True)
    place = np.full(graph.size, -1)
    place[found[np.argsort(-sizes, kind="stable")]] = np.arange(len(found))
    return np.where(alive, place[labels], -1), len(found)


def _per_component(components: np.ndarray, members: np.ndarray, number: int) -> np.ndarray:
    """Return how many neurons of each task (neurons, tasks) every component has, (components, tasks)."""
    counts = np.zeros((number, members.shape[1]), dtype=np.int64)
    neurons, tasks = np.nonzero(members & (components >= 0)[:, None])
    np.add.at(counts, (components[neurons], tasks), 1)
    return counts


def _groups(linked: np.ndarray) -> int:
    """Return into how many groups tasks fall, those being in one that some component links (tasks, tasks)."""
    from scipy.sparse.csgraph import connected_components

    return int(connected_components(linked, directed=False)[0])


def _matched(coverage: np.ndarray, tasks: int) -> np.ndarray:
    """Return the coverage of the components that suit the tasks best, one for each; zeros where there is none."""
    from scipy.optimize import linear_sum_assignment

    matrix = np.zeros((tasks, tasks))
    components, own = linear_sum_assignment(coverage, maximize=True)
    matrix[own] = coverage[components]
    return matrix


def _decidedness(graph: Graph, alive: np.ndarray, inputs: Tensor, outputs: Tensor) -> tuple[Decidedness, ...]:
    by_inputs = (graph.forward(inputs).sum(dim=1) == 1).numpy()
    by_outputs = (graph.backward(outputs).sum(dim=1) == 1).numpy()
    return tuple(
        Decidedness(layer.name, _fraction(by_inputs[own][alive[own]]), _fraction(by_outputs[own][alive[own]]))
        for layer in graph.layers
        for own in [layer.own]
        if layer.kind in WEIGHTED
    )


def _fraction(decided: np.ndarray) -> float:
    return float(decided.mean()) if len(decided) else float("nan")
