"""Figures of measurements and structure, with matplotlib; pyplot and its global state are not used."""

from lthprune.plots.biases import plot_biases
from lthprune.plots.controls import plot_controls
from lthprune.plots.curves import Series, plot_accuracy_at_early_stop, plot_accuracy_over_steps, plot_early_stop_steps
from lthprune.plots.information import plot_information
from lthprune.plots.inputs import plot_inputs
from lthprune.plots.lifetimes import plot_lifetimes
from lthprune.plots.network import MOST_NEURONS, layers_to_draw, plot_network
from lthprune.plots.pruned_by_layer import plot_pruned_by_layer
from lthprune.plots.splitting import plot_coverage, plot_decidedness, plot_separation
from lthprune.plots.stability import plot_interpolation, plot_stability
from lthprune.plots.states import plot_states
from lthprune.plots.steps_needed import plot_steps_needed
from lthprune.plots.style import COLOURS, save
from lthprune.plots.sweeps import (
    CellNetworks,
    LevelStatus,
    plot_accuracy_of_cells,
    plot_active_weights,
    plot_outcomes,
    plot_statuses,
)
from lthprune.plots.untrained import plot_untrained
from lthprune.plots.weight_histograms import plot_weight_histograms
from lthprune.plots.weights import plot_weights

__all__ = [
    "COLOURS",
    "MOST_NEURONS",
    "CellNetworks",
    "LevelStatus",
    "Series",
    "layers_to_draw",
    "plot_accuracy_at_early_stop",
    "plot_accuracy_of_cells",
    "plot_accuracy_over_steps",
    "plot_active_weights",
    "plot_biases",
    "plot_controls",
    "plot_coverage",
    "plot_decidedness",
    "plot_early_stop_steps",
    "plot_information",
    "plot_inputs",
    "plot_interpolation",
    "plot_lifetimes",
    "plot_network",
    "plot_outcomes",
    "plot_pruned_by_layer",
    "plot_separation",
    "plot_stability",
    "plot_states",
    "plot_statuses",
    "plot_steps_needed",
    "plot_untrained",
    "plot_weight_histograms",
    "plot_weights",
    "save",
]
