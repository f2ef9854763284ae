"""Planted faults in criteria that score whole models."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lthprune.errors import PruningError
from lthprune.pruning import snip
from lthprune.testing import check_score_of_model
from tests.nets import all_bits, batch, net
from tests.testing.caught import message

BATCHES = [batch(net("normalised"))]


def with_gradients_left_behind(model):
    inputs, targets = BATCHES[0]
    F.cross_entropy(model(inputs), targets).backward()
    scores = {name: abs(each * each.grad).detach() for name, each in model.named_parameters()}
    return lambda candidate: scores[candidate.name]


def with_hooks_left_behind(model):
    model[0].register_forward_hook(lambda *_: None)
    return lambda candidate: abs(candidate.final)


def in_evaluation_mode(model):
    model.eval()
    return lambda candidate: abs(candidate.final)


def of_one_layer(model):
    scores = {"0.weight": abs(dict(model.named_parameters())["0.weight"].detach())}
    return lambda candidate: scores[candidate.name]


def on_noise(model):
    return snip(model, [(torch.randn(4, 1, 4, 4), torch.arange(4) % 3)])


def nothing(model):
    return None


FAULTS = {
    with_gradients_left_behind: ("changes the model", "the gradient of '0.weight'", " more"),
    with_hooks_left_behind: ("changes the model", "the hooks of '0'"),
    in_evaluation_mode: ("changes the model", "the mode of the model"),
    on_noise: ("draws from the global random generator of torch",),
    nothing: ("must return a score function", "None"),
    of_one_layer: ("raises KeyError", "'4.weight'"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_told_with_the_simplest_case(fault):
    told = message(check_score_of_model, fault, net("normalised"))
    assert told.startswith(f"{fault.__name__!r} ")
    assert "\nSmallest failing case: the model with its own weights" in told
    for words in FAULTS[fault]:
        assert words in told


def test_data_that_can_be_read_only_once_are_noticed():
    batches = iter(BATCHES)
    told = message(check_score_of_model, lambda model: snip(model, batches), net("normalised"))
    assert "Data that it reads must be a list, not an iterator" in told
    assert "This case does not fail every time" in told


def test_a_criterion_may_draw_if_it_says_so():
    check_score_of_model(on_noise, net("normalised"), random=True)


def test_a_model_that_torchs_form_cannot_prune_is_pruned_in_the_plain_one():
    model = nn.TransformerEncoderLayer(4, 2, 4, dropout=0, batch_first=True)
    data = [(torch.ones(1, 2, 4), torch.zeros(1, 2, 4))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_score_of_model(lambda model: snip(model, data, F.mse_loss), model)


def test_the_model_stays_as_it_is_and_anything_else_is_refused():
    model = net("normalised")
    before = all_bits(model.state_dict())
    check_score_of_model(lambda model: snip(model, BATCHES), model)
    assert all_bits(model.state_dict()) == before
    with pytest.raises(PruningError, match=r"a model is an nn\.Module"):
        check_score_of_model(lambda model: snip(model, BATCHES), net)
