"""Starting points of controls, and their training."""

import pytest
import torch

from lthprune.errors import PruningError
from lthprune.pruning import Pruning, Selection
from lthprune.pruning.state import snapshot
from lthprune.search import randomly_masked, reinitialised, retrain_levels, with_constant_magnitude, with_signs_kept
from lthprune.search.drivers import imp
from lthprune.search.trainings import Level
from tests.nets import all_bits, net, train


@pytest.fixture(scope="module")
def tickets():
    return imp(net(), train, levels=2, rate=0.5)


def fresh():
    torch.manual_seed(7)
    return net()


def test_training_a_searchs_own_tickets_again_gives_its_trained_weights_to_the_bit(tickets):
    again = list(retrain_levels(fresh(), train, tickets, levels=2))
    for ticket, other in zip(tickets, again, strict=True):
        assert all_bits(other.trained) == all_bits(ticket.trained)
        assert all_bits(other.masks) == all_bits(ticket.masks)
        assert other.metrics["sum"] == ticket.metrics["sum"]


def test_a_population_is_trained_with_a_ticket_for_each_model_and_told_its_level(tickets):
    told = []

    def both(models, level: Level):
        told.append(level)
        return [train(model) for model in models]

    starts = [[ticket, ticket] for ticket in tickets[1:]]
    again = list(retrain_levels([fresh(), fresh()], both, starts, levels=5, start=3))
    assert [(level.number, level.levels, level.start) for level in told] == [(1, 5, 3), (2, 5, 3)]
    assert [level.density for level in told] == [ticket.density for ticket in tickets[1:]]
    for ticket, pair in zip(tickets[1:], again, strict=True):
        assert all(all_bits(each.trained) == all_bits(ticket.trained) for each in pair)
    with pytest.raises(PruningError, match="each level needs one ticket for each of the 2 models; one has 1"):
        list(retrain_levels([fresh(), fresh()], both, [[tickets[1]]], levels=1))


def test_a_training_that_writes_to_pruned_weights_is_refused(tickets):
    def overwrite(model):
        with torch.no_grad():
            model[1].weight.fill_(1.0)

    with pytest.raises(PruningError, match="pruned weights are not zero"):
        list(retrain_levels(fresh(), overwrite, tickets[1:], levels=2))


def test_reinitialised_takes_everything_but_the_masks_from_the_fresh_model(tickets):
    control = reinitialised(tickets[1], model := fresh())
    assert all_bits(control.weights) == all_bits(snapshot(model))
    assert all_bits(control.masks) == all_bits(tickets[1].masks)
    assert (control.level, control.provenance["control"]) == (1, "reinitialised")


def test_kept_signs_are_the_tickets_and_magnitudes_the_fresh_models(tickets):
    control = with_signs_kept(tickets[1], model := fresh())
    drawn, own = snapshot(model), tickets[1].weights
    for name, weight in control.weights.items():
        if name in tickets[1].masks:
            assert weight.abs().equal(drawn[name].abs())
            assert weight.signbit().equal(own[name].signbit())
        else:
            assert weight.equal(drawn[name])


def test_constant_weights_have_the_standard_deviation_of_their_tensor_as_magnitude(tickets):
    control = with_constant_magnitude(tickets[1], tickets[0])
    for name, weight in control.weights.items():
        own = tickets[0].weights[name]
        if name in tickets[1].masks:
            assert weight.abs() == pytest.approx(float((own - own.mean()).square().mean().sqrt()))
            assert weight.signbit().equal(own.signbit())
        else:
            assert weight.equal(own)


def test_random_masks_go_with_the_initial_weights(tickets):
    control = randomly_masked(tickets[1], tickets[0], "layers", torch.Generator().manual_seed(0))
    assert all_bits(control.weights) == all_bits(tickets[0].weights)
    assert control.counts == tickets[1].counts
    assert all_bits(control.masks) != all_bits(tickets[1].masks)


def test_tickets_of_another_pruning_are_refused(tickets):
    narrow = Pruning(selection=Selection(include=("1",)))
    with pytest.raises(PruningError, match="Pass the pruning of the search that found it"):
        list(retrain_levels(fresh(), train, tickets, levels=2, pruning=narrow))
