"""The effect of pruning on a network: states, lifetimes, biases, costs, splitting, stability, mutual information."""

from lthprune.analysis.activations import check_layers, layer_activations, weighted_layers
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
from lthprune.analysis.digraph import to_graphml, to_networkx
from lthprune.analysis.graph import WEIGHTED, Graph, Layer, Operation
from lthprune.analysis.information import (
    INPUT,
    LABELS,
    Information,
    LevelInformation,
    check_neighbour_samples,
    default_pairs,
    estimate_information,
)
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
    count_active,
    pruning_horizon,
    states_of_ticket,
    ticket_states,
    with_sources,
)
from lthprune.analysis.lifetimes import PARAMETER_STATES, Lifetimes, neuron_lifetimes, parameter_lifetimes
from lthprune.analysis.mine import PRECISE, Bounds, Mine, mine, standardise
from lthprune.analysis.nearest_neighbours import neighbour_information
from lthprune.analysis.neurons import LayerStates, NetworkStates, NeuronState, neuron_states
from lthprune.analysis.separation import SeparationBounds, separation_bounds
from lthprune.analysis.splitting import Coverage, Decidedness, Outcome, Splitting, Status, find_splitting, outcome
from lthprune.analysis.stability import STABLE, Pair, Stability, earliest_stable
from lthprune.analysis.statistics_networks import donsker_varadhan
from lthprune.analysis.tracing import example_inputs, trace_graph

__all__ = [
    "INPUT",
    "LABELS",
    "PARAMETER_STATES",
    "PRECISE",
    "STABLE",
    "WEIGHTED",
    "BiasStates",
    "BiasStatistics",
    "Bounds",
    "ComatoseBiases",
    "Cost",
    "Coverage",
    "Decidedness",
    "Graph",
    "Information",
    "Layer",
    "LayerStates",
    "LevelInformation",
    "Lifetimes",
    "LinearPath",
    "Measure",
    "Mine",
    "NetworkStates",
    "NeuronState",
    "Operation",
    "Outcome",
    "Pair",
    "SeparationBounds",
    "Splitting",
    "Stability",
    "Status",
    "TicketStates",
    "ZombieLives",
    "angle_between",
    "bias_statistics",
    "check_layers",
    "check_neighbour_samples",
    "comatose_biases",
    "count_active",
    "dead_neurons",
    "default_pairs",
    "distance_between",
    "donsker_varadhan",
    "earliest_stable",
    "error_barrier",
    "estimate_information",
    "example_inputs",
    "find_splitting",
    "follow_path",
    "interpolated",
    "layer_activations",
    "layer_positions",
    "mine",
    "neighbour_information",
    "neuron_lifetimes",
    "neuron_states",
    "outcome",
    "parameter_lifetimes",
    "pruning_horizon",
    "recompute_statistics",
    "separation_bounds",
    "standardise",
    "states_of_ticket",
    "ticket_costs",
    "ticket_states",
    "to_graphml",
    "to_networkx",
    "trace_graph",
    "weighted_layers",
    "with_sources",
    "zombie_lives",
]
