"""The effect of pruning on a network: states of neurons and parameters, their lifetimes, biases, costs, splitting."""

from lthprune.analysis.biases import (
    BiasStatistics,
    ComatoseBiases,
    ZombieLives,
    bias_statistics,
    comatose_biases,
    zombie_lives,
)
from lthprune.analysis.bounds import dead_neurons
from lthprune.analysis.costs import Cost, layer_positions, ticket_costs
from lthprune.analysis.graph import WEIGHTED, Graph, Layer, Operation
from lthprune.analysis.level_states import (
    BiasStates,
    TicketStates,
    pruning_horizon,
    states_of_ticket,
    ticket_states,
    with_sources,
)
from lthprune.analysis.lifetimes import PARAMETER_STATES, Lifetimes, neuron_lifetimes, parameter_lifetimes
from lthprune.analysis.neurons import LayerStates, NetworkStates, NeuronState, neuron_states
from lthprune.analysis.splitting import Coverage, Decidedness, Outcome, Splitting, Status, find_splitting, outcome
from lthprune.analysis.tracing import example_inputs, trace_graph

__all__ = [
    "PARAMETER_STATES",
    "WEIGHTED",
    "BiasStates",
    "BiasStatistics",
    "ComatoseBiases",
    "Cost",
    "Coverage",
    "Decidedness",
    "Graph",
    "Layer",
    "LayerStates",
    "Lifetimes",
    "NetworkStates",
    "NeuronState",
    "Operation",
    "Outcome",
    "Splitting",
    "Status",
    "TicketStates",
    "ZombieLives",
    "bias_statistics",
    "comatose_biases",
    "dead_neurons",
    "example_inputs",
    "find_splitting",
    "layer_positions",
    "neuron_lifetimes",
    "neuron_states",
    "outcome",
    "parameter_lifetimes",
    "pruning_horizon",
    "states_of_ticket",
    "ticket_costs",
    "ticket_states",
    "trace_graph",
    "with_sources",
    "zombie_lives",
]
