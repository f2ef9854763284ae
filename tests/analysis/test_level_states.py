import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from lthprune import StorageError, Ticket, neuron_states
from lthprune.analysis import NeuronState, pruning_horizon, ticket_states
from tests.drawn import INPUTS, search, searches
from tests.nets import anatomy, net


@settings(max_examples=15, deadline=None)
@given(searches)
def test_the_states_of_a_ticket_are_those_of_its_trained_network(searched: Any) -> None:
    model, tickets = searched
    for functional in (False, True):
        for states, ticket in zip(ticket_states(model, tickets, INPUTS, functional=functional), tickets, strict=True):
            network = neuron_states(ticket.apply(copy.deepcopy(model), "trained"), INPUTS)
            assert (states.level, states.density) == (ticket.level, ticket.density)
            expected = {
                layer.name: layer.functional if functional else layer.structural
                for layer in network.layers
                if layer.kind != "input"
            }
            assert_same(states.neurons, expected)
            assert_same(states.parameters, network.parameters(functional=functional))


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_the_model_is_not_changed_and_tickets_are_read_one_at_a_time() -> None:
    model, tickets = search(levels=3)
    before = anatomy(model)
    asked: list[int] = []

    def one_by_one() -> Iterator[Ticket]:
        for ticket in tickets:
            asked.append(ticket.level)
            yield ticket

    for states in ticket_states(model, one_by_one(), INPUTS):
        assert asked[-1] == states.level
    assert len(asked) == 4
    assert anatomy(model) == before


def test_a_ticket_of_another_model_is_refused() -> None:
    _, tickets = search()
    with pytest.raises(StorageError, match="ticket of level 0"):
        list(ticket_states(net("convolutional"), tickets, INPUTS))


@settings(max_examples=30, deadline=None)
@given(searches)
def test_biases_have_the_states_of_their_neurons_and_show_which_are_attached(searched: Any) -> None:
    model, tickets = searched
    named = dict(model.named_parameters())
    for states, ticket in zip(ticket_states(model, tickets, INPUTS), tickets, strict=True):
        assert set(states.biases) == {name for name in named if name.endswith("bias")}
        for name, bias in states.biases.items():
            np.testing.assert_array_equal(bias.values, ticket.trained[name].double().numpy())
            np.testing.assert_array_equal(bias.unpruned, ticket.masks.get(name, torch.ones(len(bias.unpruned))).bool())
            np.testing.assert_array_equal(states.parameters[name] == NeuronState.PRUNED, ~bias.unpruned)
            layer = name.removesuffix(".bias")
            if layer in states.neurons:
                np.testing.assert_array_equal(bias.neurons, states.neurons[layer])
            assert not bias.attached[bias.neurons == NeuronState.PRUNED].any()
            assert bias.attached[bias.neurons < NeuronState.COMATOSE].all()


def test_a_neuron_with_an_unpruned_weight_in_or_out_is_attached() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    masks = {"0.weight": torch.tensor([[1, 1], [1, 0], [0, 0], [0, 0]]), "2.weight": torch.tensor([[1, 0, 1, 0]])}
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    (states,) = ticket_states(model, [Ticket(1, {name: mask.bool() for name, mask in masks.items()}, state, state)])
    assert states.biases["0.bias"].attached.tolist() == [True, True, True, False]
    assert [NeuronState(each).name for each in states.biases["0.bias"].neurons] == [
        *("ALIVE", "COMATOSE", "ZOMBIE", "COMATOSE")
    ]
    assert states.fan_out == {"input_1": pytest.approx(np.array([2, 1]))}
    assert states.horizon == {}


@pytest.mark.parametrize("form", ["dense", "convolutional"])
def test_fan_out_counts_the_unpruned_weights_that_read_each_input(form: str) -> None:
    model, tickets = search(form)
    for states, ticket in zip(ticket_states(model, tickets, INPUTS), tickets, strict=True):
        (counts,) = states.fan_out.values()
        assert counts.shape == (16,)
        expected = ticket.masks["1.weight"].sum(dim=0) if form == "dense" else torch.zeros(16)
        np.testing.assert_array_equal(counts, expected)


@settings(max_examples=30, deadline=None)
@given(searches)
def test_the_horizon_separates_kept_weights_from_pruned_ones(searched: Any) -> None:
    model, tickets = searched
    layerwise = tickets[0].provenance["scope"] == "layerwise"
    levels = list(ticket_states(model, tickets, INPUTS))
    assert levels[0].horizon == {}
    for states, ticket in zip(levels[1:], tickets[1:], strict=True):
        source = tickets[0 if ticket.provenance["driver"] == "osp" else ticket.level - 1]
        assert states.horizon.keys() == ticket.masks.keys()
        weights = [name for name in ticket.masks if name.endswith("weight")]
        for name in weights:
            magnitudes, mask = source.trained[name].abs(), ticket.masks[name]
            lowest = magnitudes[mask].min() if mask.any() else torch.inf
            highest = magnitudes[source.masks[name] & ~mask].max() if (source.masks[name] & ~mask).any() else -torch.inf
            assert lowest == (torch.inf if np.isnan(states.horizon[name]) else states.horizon[name])
            assert highest <= (lowest if layerwise else np.nan_to_num(states.smallest_kept, nan=torch.inf))
        known = [states.horizon[name] for name in weights if not np.isnan(states.horizon[name])]
        np.testing.assert_equal(states.smallest_kept, min(known, default=np.nan))


def test_the_horizon_is_unknown_without_the_ticket_that_was_pruned() -> None:
    model, tickets = search(levels=4)
    first, second, *_ = ticket_states(model, tickets[2:], INPUTS)
    assert (first.horizon, np.isnan(first.smallest_kept)) == ({}, True)
    assert second.horizon == pruning_horizon(tickets[2], tickets[3])


def test_weights_from_zombies_and_their_audience_are_not_active() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    read_by_one = torch.tensor([[1, 1], [0, 0]])  # the second unit has a bias alone, and a reader of its own
    masks = {"0.weight": read_by_one, "2.weight": torch.eye(2), "4.weight": torch.ones(1, 2)}
    ticket = Ticket(0, {name: mask.bool() for name, mask in masks.items()}, model.state_dict(), model.state_dict())
    (level,) = ticket_states(model, [ticket])
    assert level.neurons["2"].tolist() == [NeuronState.ALIVE, NeuronState.AUDIENCE]
    assert (level.left, level.active) == (6, 4)
