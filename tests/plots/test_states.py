from collections.abc import Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from lthprune.analysis import NeuronState, neuron_lifetimes, parameter_lifetimes, ticket_states
from lthprune.plots.states import plot_states
from lthprune.plots.style import COLOURS, HATCHES, STATE_MARKERS
from tests.drawn import INPUTS, search


def bars(axes: Axes, states: Sequence[NeuronState]) -> np.ndarray:
    """The heights of a panel's bars, (states, levels), each state in its own colour."""
    heights = {
        to_rgba(container[0].get_facecolor()): [bar.get_height() for bar in container] for container in axes.containers
    }
    return np.array([heights[to_rgba(COLOURS[state])] for state in states])


def test_states_are_stacked_in_numbers_and_as_shares_of_what_is_left() -> None:
    levels = list(ticket_states(*search(levels=7, bias="together"), INPUTS))
    figure = plot_states(levels, "a title")
    neurons, parameters = neuron_lifetimes(levels), parameter_lifetimes(levels)
    all_states, *left = (list(NeuronState), list(NeuronState)[:-1], list(parameters.states)[:-1])
    assert (neurons.counts.astype(bool).sum(axis=0) > 0).sum() >= 4
    above, other, below, beside = figure.axes
    np.testing.assert_array_equal(bars(above, all_states), neurons.counts.T)
    np.testing.assert_array_equal(bars(other, left[1]), parameters.counts.T[:-1])
    for axes, own, states in ((below, neurons, left[0]), (beside, parameters, left[1])):
        shares = bars(axes, states)
        kept = own.counts.T[:-1]
        np.testing.assert_allclose(shares, kept / kept.sum(axis=0).clip(min=1))
    assert figure.get_suptitle() == "a title"


def test_a_bar_stands_upon_the_one_before() -> None:
    levels = list(ticket_states(*search(levels=5), INPUTS))
    for axes in plot_states(levels).axes:
        tops = np.zeros(len(levels))
        for container in axes.containers:
            np.testing.assert_allclose([bar.get_y() for bar in container], tops)
            tops += [bar.get_height() for bar in container]


def test_every_state_has_a_colour_of_its_own_in_the_legend() -> None:
    assert COLOURS.keys() == set(NeuronState)
    assert len(set(COLOURS.values())) == len(NeuronState)
    (legend,) = plot_states(list(ticket_states(*search(levels=1), INPUTS))).legends
    assert [text.get_text() for text in legend.get_texts()] == [state.name.lower() for state in NeuronState]
    looks = [(patch.get_hatch() or "", to_rgba(patch.get_facecolor())) for patch in legend.get_patches()]
    assert looks == [(HATCHES[state], to_rgba(COLOURS[state])) for state in NeuronState]


def test_states_can_be_told_apart_in_greyscale() -> None:
    grey = {state: np.dot(to_rgba(colour)[:3], (0.299, 0.587, 0.114)) for state, colour in COLOURS.items()}
    for one, other in combinations(NeuronState, 2):
        assert HATCHES[one] != HATCHES[other] or abs(grey[one] - grey[other]) > 0.2
    assert len(set(STATE_MARKERS.values())) == len(NeuronState)
    for axes in plot_states(list(ticket_states(*search(levels=2), INPUTS))).axes:
        for container in axes.containers:
            assert {bar.get_hatch() or "" for bar in container} == {HATCHES[NeuronState[container.get_label().upper()]]}
