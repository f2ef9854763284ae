"""What pruning did to a network: the states of its neurons and parameters, and its splitting."""

from lthprune.analysis.graph import Graph, Layer
from lthprune.analysis.neurons import LayerStates, NetworkStates, NeuronState, neuron_states
from lthprune.analysis.splitting import Coverage, Decidedness, Outcome, Splitting, Status, find_splitting, outcome
from lthprune.analysis.tracing import trace_graph

__all__ = [
    "Coverage",
    "Decidedness",
    "Graph",
    "Layer",
    "LayerStates",
    "NetworkStates",
    "NeuronState",
    "Outcome",
    "Splitting",
    "Status",
    "find_splitting",
    "neuron_states",
    "outcome",
    "trace_graph",
]
