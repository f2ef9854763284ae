"""What pruning did to a network: the states of its neurons and parameters."""

from lthprune.analysis.graph import Graph, Layer
from lthprune.analysis.neurons import LayerStates, NetworkStates, NeuronState, neuron_states
from lthprune.analysis.tracing import trace_graph

__all__ = ["Graph", "Layer", "LayerStates", "NetworkStates", "NeuronState", "neuron_states", "trace_graph"]
