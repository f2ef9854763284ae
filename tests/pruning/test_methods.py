"""Our classes in torch's own terms."""

import pickle

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.nn.utils import prune as torch_prune

import lthprune
from lthprune.errors import PruningError
from lthprune.pruning.methods import (
    BiasAware,
    GlobalMagnitude,
    LayerwiseMagnitude,
    PerLayerRates,
    PruningMethod,
    RandomPruning,
    write_mask,
)
from lthprune.testing import check_pruning_method
from tests import strategies
from tests.nets import bits, refused

METHODS = [LayerwiseMagnitude, GlobalMagnitude, RandomPruning, BiasAware]


def layer(dtype=torch.float32):
    return nn.Conv2d(3, 4, 2, dtype=dtype)


def at_a_rate(module, name, amount):
    PerLayerRates.apply(module, name, {"dense": min(amount, 0.99)})


def test_every_public_method_is_among_those_that_are_checked():
    public = [getattr(lthprune.pruning, name) for name in lthprune.pruning.__all__]
    methods = {each for each in public if isinstance(each, type) and issubclass(each, PruningMethod)}
    assert methods - {PruningMethod} == {*METHODS, PerLayerRates}


@pytest.mark.parametrize("method", [PruningMethod, *METHODS])
def test_a_method_has_the_properties_of_pruning_methods(method):
    check_pruning_method(method, random=method is RandomPruning)


def test_rates_per_layer_have_the_properties_of_pruning_methods():
    check_pruning_method(at_a_rate, exact=False)


@pytest.mark.parametrize("method", [LayerwiseMagnitude, GlobalMagnitude, BiasAware])
def test_the_smallest_magnitudes_are_pruned(method):
    linear = nn.Linear(4, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, -1.0, 2.0, -4.0]]))
    method.apply(linear, "weight", amount=1)
    method.apply(linear, "weight", amount=1)
    assert linear.weight.tolist() == [[3.0, 0.0, 0.0, -4.0]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("amount", [-1, 49, 1.5, -0.1, float("nan")])
@pytest.mark.parametrize("rounds_before", [0, 1, 2])
def test_a_wrong_amount_is_refused_and_the_layer_stays_whole(method, amount, rounds_before):
    conv = layer()
    for _ in range(rounds_before):
        method.apply(conv, "weight", amount=5)
    with refused("prune|fraction", conv, error=PruningError):
        method.apply(conv, "weight", amount=amount)
    assert conv(torch.ones(1, 3, 2, 2)).shape == (1, 4, 1, 1)


def test_a_subclass_with_a_score_is_a_pruning_method():
    class LargestGo(PruningMethod):
        score = staticmethod(lambda candidate: -candidate.final.abs())

    linear = nn.Linear(3, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, -1.0, -4.0]]))
    for _ in range(2):
        LargestGo.apply(linear, "weight", amount=1)
    assert linear.weight_mask.tolist() == [[False, True, False]]


def test_importance_scores_decide_in_every_round():
    linear = nn.Linear(4, 1)
    for round_ in range(1, 4):
        LayerwiseMagnitude.apply(linear, "weight", amount=1, importance_scores=torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
        assert linear.weight_mask.tolist() == [[False] * round_ + [True] * (4 - round_)]


@pytest.mark.parametrize("rounds_before", [0, 1])
def test_importance_scores_of_another_shape_are_refused(rounds_before):
    linear = nn.Linear(4, 1)
    for _ in range(rounds_before):
        LayerwiseMagnitude.apply(linear, "weight", amount=1)
    with refused("shape", linear, error=PruningError):
        LayerwiseMagnitude.apply(linear, "weight", amount=1, importance_scores=torch.ones(4))


@given(strategies.seeds)
def test_random_pruning_draws_from_torchs_generator(seed):
    masks = []
    for _ in range(2):
        linear = nn.Linear(20, 20)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            RandomPruning.apply(linear, "weight", amount=0.5)
        masks.append(linear.weight_mask)
    assert masks[0].equal(masks[1])


def test_rates_go_by_the_layers_kind_or_name():
    rates = {"conv": 0.5, "dense": 0.25, "stem": 0.75}
    for words, left in (({"kind": "conv"}, 24), ({"kind": "dense"}, 36), ({"layer": "stem", "kind": "conv"}, 12)):
        conv = layer()
        PerLayerRates.apply(conv, "weight", rates, **words)
        assert int(conv.weight_mask.sum()) == left
    with refused("no rate for", conv := layer(), error=PruningError):
        PerLayerRates.apply(conv, "weight", rates, kind="output")


@pytest.mark.parametrize("rounds", [1, 3])
def test_weights_and_biases_compete_by_scaled_scores(rounds):
    linear = nn.Linear(10, 10)
    nn.init.constant_(linear.bias, 1e-6)
    tensors = [(linear, "weight"), (linear, "bias")]
    for _ in range(rounds):
        scores = BiasAware.importance_scores(tensors)
        torch_prune.global_unstructured(tensors, BiasAware, importance_scores=scores, amount=10)
    assert int(linear.bias_mask.sum()) == 10
    assert int(linear.weight_mask.sum()) == 100 - 10 * rounds


@given(strategies.masks((4, 3, 2, 2)), strategies.masks((4, 3, 2, 2)), strategies.floats)
def test_writing_a_mask_makes_it_the_mask_and_keeps_the_buffer(first, second, dtype):
    conv = layer(dtype)
    dense = conv.weight
    write_mask(conv, "weight", first)
    buffer = conv.weight_mask
    write_mask(conv, "weight", second)
    assert conv.weight_mask is buffer
    assert conv.weight_orig is dense
    assert bits(conv.weight_mask) == bits(second)
    assert conv.weight.dtype == dtype
    assert conv.weight.equal(dense.detach() * second)


def test_pruning_again_adds_no_hook_and_nothing_to_a_pickle():
    linear = nn.Linear(64, 64)
    LayerwiseMagnitude.apply(linear, "weight", amount=0.1)
    size = len(pickle.dumps(linear))
    for method in (*METHODS, LayerwiseMagnitude):
        method.apply(linear, "weight", amount=0.1)
    assert len(linear._forward_pre_hooks) == 1
    assert len(pickle.dumps(linear)) == size
