"""The readable twin of the neuron states: a graph of single weights, searched from every neuron with networkx."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx
from torch import Tensor

from lthprune.analysis import NeuronState

Node = tuple[str, int]


@dataclass
class Wiring:
    """A network as single neurons and single connections, put together by hand."""

    graph: nx.DiGraph = field(default_factory=nx.DiGraph)
    inputs: set[Node] = field(default_factory=set)
    outputs: set[Node] = field(default_factory=set)
    biased: set[Node] = field(default_factory=set)

    def neurons(self, layer: str, size: int) -> list[Node]:
        nodes = [(layer, neuron) for neuron in range(size)]
        self.graph.add_nodes_from(nodes)
        return nodes

    def read(self, layer: str, size: int) -> list[Node]:
        nodes = self.neurons(layer, size)
        self.inputs |= set(nodes)
        return nodes

    def connect(self, layer: str, sources: Sequence[Node], mask: Tensor, bias: Tensor | None = None) -> list[Node]:
        """Add a layer with weights (out, in, ...), pruned where the mask is false, and perhaps biases (out,)."""
        nodes = self.neurons(layer, len(mask))
        left = mask.reshape(len(mask), mask.shape[1], -1).any(dim=2).tolist()
        for to, row in zip(nodes, left, strict=True):
            for of, unpruned in zip(sources, row, strict=True):
                if unpruned:
                    self.graph.add_edge(of, to)
        if bias is not None:
            self.biased |= {node for node, unpruned in zip(nodes, bias.tolist(), strict=True) if unpruned}
        return nodes

    def add(self, layer: str, *parts: Sequence[Node]) -> list[Node]:
        """Add a layer of sums."""
        nodes = self.neurons(layer, len(parts[0]))
        for to, *terms in zip(nodes, *parts, strict=True):
            self.graph.add_edges_from((of, to) for of in terms)
        return nodes

    def end(self, *outputs: Iterable[Node]) -> None:
        self.outputs = {node for nodes in outputs for node in nodes}

    def states(self) -> dict[Node, NeuronState]:
        """Every neuron's structural state, from the definitions: its ancestors and its descendants."""
        return {node: self.state(node) for node in self.graph}

    def state(self, node: Node) -> NeuronState:
        ancestors = nx.ancestors(self.graph, node) | {node}
        descendants = nx.descendants(self.graph, node) | {node}
        if not descendants & self.outputs:
            bare = self.graph.degree(node) == 0 and node not in self.biased | self.inputs
            return NeuronState.PRUNED if bare else NeuronState.COMATOSE
        if ancestors & self.inputs:
            return NeuronState.ALIVE
        if (ancestors - {node}) & self.biased:
            return NeuronState.AUDIENCE
        return NeuronState.ZOMBIE if node in self.biased else NeuronState.UNPRODUCTIVE


def parameter_states(wiring: Wiring, layers: Sequence[str], masks: Sequence[Tensor]) -> list[list[list[NeuronState]]]:
    """The states of a perceptron's weights (out, in), one by one; the first of the layers is the input."""
    state_of = wiring.states().__getitem__
    return [
        [
            [weight_state(state_of, (of, i), (to, o), bool(mask[o, i])) for i in range(mask.shape[1])]
            for o in range(len(mask))
        ]
        for (of, to), mask in zip(pairwise(layers), masks, strict=True)
    ]


def weight_state(state_of: Callable[[Node], NeuronState], of: Node, to: Node, unpruned: bool) -> NeuronState:
    if not unpruned:
        return NeuronState.PRUNED
    source, target = state_of(of), state_of(to)
    return NeuronState.UNPRODUCTIVE if max(source, target) >= NeuronState.UNPRODUCTIVE else source
