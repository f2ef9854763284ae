"""The effect of pruning on a network: neuron states, lifetimes, biases, costs, splitting, stability."""

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
from lthprune.analysis.interpolation import (
    LinearPath,
    Measure,
    angle_between,
    distance_between,
    error_barrier,
    follow_path,
    interpolated,
    recompute_statistics,
)
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
from lthprune.analysis.stability import STABLE, Pair, Stability, earliest_stable
from lthprune.analysis.tracing import example_inputs, trace_graph

__all__ = [
    "PARAMETER_STATES",
    "STABLE",
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
    "LinearPath",
    "Measure",
    "NetworkStates",
    "NeuronState",
    "Operation",
    "Outcome",
    "Pair",
    "Splitting",
    "Stability",
    "Status",
    "TicketStates",
    "ZombieLives",
    "angle_between",
    "bias_statistics",
    "comatose_biases",
    "dead_neurons",
    "distance_between",
    "earliest_stable",
    "error_barrier",
    "example_inputs",
    "find_splitting",
    "follow_path",
    "interpolated",
    "layer_positions",
    "neuron_lifetimes",
    "neuron_states",
    "outcome",
    "parameter_lifetimes",
    "pruning_horizon",
    "recompute_statistics",
    "states_of_ticket",
    "ticket_costs",
    "ticket_states",
    "trace_graph",
    "with_sources",
    "zombie_lives",
]
