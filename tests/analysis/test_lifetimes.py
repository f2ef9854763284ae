from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from lthprune import PruningError
from lthprune.analysis import Lifetimes, NeuronState, neuron_lifetimes, parameter_lifetimes, ticket_states
from lthprune.analysis.level_states import TicketStates
from lthprune.analysis.lifetimes import PARAMETER_STATES
from tests.drawn import INPUTS, search, searches


def followed(levels: list[TicketStates]) -> list[tuple[Lifetimes, list[dict[str, np.ndarray]]]]:
    return [
        (parameter_lifetimes(levels), [level.parameters for level in levels]),
        (neuron_lifetimes(levels), [level.neurons for level in levels]),
    ]


@settings(max_examples=30, deadline=None)
@given(searches)
def test_the_levels_spent_in_each_state_sum_up_to_all_levels(searched: Any) -> None:
    levels = list(ticket_states(*searched, INPUTS, functional=True))
    for lifetimes, arrays in followed(levels):
        for name, spent in lifetimes.spent.items():
            assert spent.shape == (len(lifetimes.states), *arrays[0][name].shape)
            np.testing.assert_array_equal(spent.sum(axis=0), len(levels))
            for place, state in enumerate(lifetimes.states):
                np.testing.assert_array_equal(spent[place], sum(level[name] == state for level in arrays))


@settings(max_examples=30, deadline=None)
@given(searches)
def test_flows_sum_up_to_the_counts_of_both_levels(searched: Any) -> None:
    levels = list(ticket_states(*searched, INPUTS, functional=True))
    for lifetimes, arrays in followed(levels):
        assert lifetimes.counts.shape == (len(levels), len(lifetimes.states))
        for counts, level in zip(lifetimes.counts, arrays, strict=True):
            assert counts.sum() == sum(own.size for own in level.values())
            assert list(counts) == [sum((own == state).sum() for own in level.values()) for state in lifetimes.states]
        np.testing.assert_array_equal(lifetimes.flows.sum(axis=2), lifetimes.counts[:-1])
        np.testing.assert_array_equal(lifetimes.flows.sum(axis=1), lifetimes.counts[1:])


@settings(max_examples=60, deadline=None)
@given(searches)
def test_structural_states_only_move_down_the_list_as_masks_shrink(searched: Any) -> None:
    for lifetimes, _ in followed(list(ticket_states(*searched, INPUTS))):
        for flow in lifetimes.flows:
            np.testing.assert_array_equal(np.tril(flow, -1), 0)


def test_parameters_are_of_five_states_and_neurons_of_six() -> None:
    levels = list(ticket_states(*search(), INPUTS))
    assert [state.name for state in parameter_lifetimes(levels).states] == [
        *("ALIVE", "AUDIENCE", "ZOMBIE", "UNPRODUCTIVE", "PRUNED")
    ]
    assert neuron_lifetimes(levels).states == tuple(NeuronState)
    assert parameter_lifetimes(levels).states == PARAMETER_STATES


def test_a_lifetime_by_hand() -> None:
    alive, zombie, pruned = NeuronState.ALIVE, NeuronState.ZOMBIE, NeuronState.PRUNED
    (first, *_) = ticket_states(*search(levels=1), INPUTS)
    states = [[alive, alive], [alive, zombie], [pruned, zombie]]
    levels = [replace(first, parameters={"w": np.array([[one, two]], dtype=np.int8)}) for one, two in states]
    lifetimes = parameter_lifetimes(levels)
    assert lifetimes.spent["w"][:, 0, 0].tolist() == [2, 0, 0, 0, 1]
    assert lifetimes.spent["w"][:, 0, 1].tolist() == [1, 0, 2, 0, 0]
    assert lifetimes.counts.tolist() == [[2, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 1, 0, 1]]
    assert [np.argwhere(flow).tolist() for flow in lifetimes.flows] == [[[0, 0], [0, 2]], [[0, 4], [2, 2]]]


def test_one_level_has_lifetimes_and_no_flows() -> None:
    (level, *_) = ticket_states(*search(levels=1), INPUTS)
    assert parameter_lifetimes([level]).flows.shape == (0, 5, 5)
    assert neuron_lifetimes([level]).flows.shape == (0, 6, 6)


def test_no_levels_or_levels_of_several_networks_are_refused() -> None:
    (dense, *_), (convolutional, *_) = (ticket_states(*search(form, levels=1), INPUTS) for form in ("dense", "mixed"))
    for follow in (parameter_lifetimes, neuron_lifetimes):
        with pytest.raises(PruningError, match="no level is given"):
            follow([])
        with pytest.raises(PruningError, match="states of several"):
            follow([dense, convolutional])
