"""Pruning a model once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from lthprune.errors import LayerCollapseWarning, NothingPrunedWarning, PruningError
from lthprune.pruning.masks import count
from lthprune.pruning.prunable import select
from lthprune.pruning.pruner import Pruning, current_masks, prune
from lthprune.pruning.schedules import Geometric, left_after
from lthprune.pruning.selection import Selection
from lthprune.pruning.state import live_state, masks_of, snapshot
from tests import strategies
from tests.nets import OPTIMIZERS, all_bits, anatomy, net, outputs, refused, steps, train

pytestmark = pytest.mark.filterwarnings(
    "ignore::lthprune.errors.NothingPrunedWarning", "ignore::lthprune.errors.LayerCollapseWarning"
)
fractions = st.floats(0, 0.9).map(lambda amount: round(amount, 2))


@settings(max_examples=60)
@given(
    strategies.architectures(),
    strategies.scopes,
    strategies.biases,
    st.sampled_from(["magnitude", "random", "movement"]),
    st.lists(fractions, min_size=1, max_size=4),
    st.booleans(),
)
def test_every_scope_keeps_exactly_its_count_and_masks_only_shrink(architecture, scope, bias, score, rounds, constant):
    model = architecture.build()
    initial = snapshot(model)
    if constant:
        for tensor in model.parameters():
            nn.init.constant_(tensor, 0.5)
    pruning = Pruning(scope, score, bias)
    for amount in rounds:
        before, masks = pruning.pools(model), current_masks(pruning.tensors(model))
        left = prune(model, amount, scope=scope, score=score, bias=bias, initial=initial)
        after = pruning.pools(model)
        assert [pool.left for pool in after] == [left_after(amount, pool.left) for pool in before]
        assert left == count(masks_of(model))
        assert not any((mask.bool() & ~masks[name]).any() for name, mask in masks_of(model).items())


@given(strategies.architectures(), strategies.scopes, strategies.biases, strategies.seeds)
def test_the_same_model_and_seed_give_the_same_masks(architecture, scope, bias, seed):
    first, again, other = (architecture.build(3) for _ in range(3))
    for model, root in ((first, seed), (again, seed), (other, seed + 1)):
        prune(model, 0.5, scope=scope, bias=bias, score="random", seed=root)
    assert all_bits(masks_of(first)) == all_bits(masks_of(again)) != all_bits(masks_of(other))


@given(strategies.architectures(), strategies.biases)
def test_torchs_is_pruned_and_remove_work_on_a_pruned_model(architecture, bias):
    model = architecture.build()
    before = {name: id(tensor) for name, tensor in live_state(model).items()}
    assert not torch_prune.is_pruned(model)
    prune(model, 0.5, bias=bias)
    assert torch_prune.is_pruned(model)
    assert {name: id(tensor) for name, tensor in live_state(model).items()} == before
    expected = outputs(model)
    for tensor in select(model, bias=bool(bias)):
        torch_prune.remove(tensor.module, tensor.attribute)
    assert not torch_prune.is_pruned(model)
    assert outputs(model).equal(expected)
    assert {name: id(parameter) for name, parameter in live_state(model).items()} == before


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(
    architecture=strategies.architectures(("dense", "convolutional", "normalised", "mixed")),
    scope=strategies.scopes,
    bias=strategies.biases,
    before=st.booleans(),
)
@settings(max_examples=12)
def test_no_optimiser_brings_a_pruned_weight_back_into_a_forward_pass(optimizer, architecture, scope, bias, before):
    model = architecture.build()
    stepper = OPTIMIZERS[optimizer](model.parameters())
    if before:  # momentum that was gathered densely is carried on
        list(steps(model, stepper, 3))
    prune(model, 0.5, scope=scope, bias=bias)
    masks = {name: mask.clone() for name, mask in masks_of(model).items()}
    for _ in steps(model, stepper, 4):
        for tensor in select(model, bias=bool(bias)):
            used = getattr(tensor.module, tensor.attribute)
            assert not used[~masks[tensor.name]].any()
            assert not tensor.parameter.grad[~masks[tensor.name]].any()
    assert all_bits(masks_of(model)) == all_bits(masks)
    assert not any(snapshot(model)[name][~mask].any() for name, mask in masks.items())


def test_global_pruning_prunes_the_smallest_weights_of_all_and_layerwise_pruning_those_of_each_layer():
    model = nn.Sequential(nn.Linear(3, 1), nn.Linear(3, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1, -0.2, 0.3]]))
        model[1].weight.copy_(torch.tensor([[1.0, -2.0, 3.0]]))
    prune(model, 1, scope="layerwise")
    assert [layer.weight_mask.tolist() for layer in model] == [[[False, True, True]]] * 2
    prune(model, 0.25)
    assert model[0].weight_mask.tolist() == [[False, False, True]]
    assert model[1].weight_mask.tolist() == [[False, True, True]]


def test_separate_biases_are_pruned_at_the_same_rate_and_together_they_compete_by_relative_size():
    sizes = {}
    for bias in (False, "separate", "together"):
        model = net("dense")
        for layer in (model[1], model[3], model[5]):
            nn.init.zeros_(layer.bias)
        left = prune(model, 0.2, bias=bias)
        sizes[bias] = {
            kind: sum(c.left for name, c in left.items() if name.endswith(kind)) for kind in ("weight", "bias")
        }
    assert sizes == {
        False: {"weight": 127, "bias": 0},
        "separate": {"weight": 127, "bias": 13},
        "together": {"weight": 124, "bias": 16},
    }


def test_rates_go_by_kind_and_by_name():
    model = net("mixed")
    left = prune(model, {"conv": 0.5, "dense": 0.25, "output": 0, "3": 0.2}, scope="layerwise")
    assert {name: tensor.left for name, tensor in left.items()} == {
        "0.0.weight": 27,
        "1.weight": 6,
        "3.weight": 5,  # of 6
        "5.0.weight": 63,
        "5.2.weight": 18,
    }


@pytest.mark.parametrize("score", ["movement", "magnitude_increase"])
def test_a_score_that_needs_initial_weights_takes_them_from_prune(score):
    model = net("dense")
    initial = snapshot(model)
    train(model)
    final = {name: tensor for name, tensor in snapshot(model).items() if name.endswith("weight")}
    prune(model, 0.5, score=score, initial=initial)
    moved = {n: (w - initial[n]).abs() if score == "movement" else w.abs() - initial[n].abs() for n, w in final.items()}
    masks = masks_of(model)
    kept, gone = (torch.cat([moved[n][m == held] for n, m in masks.items()]) for held in (True, False))
    assert kept.min() >= gone.max()


@pytest.mark.parametrize(("scope", "amount"), [("global", 0.6), ("layerwise", 0.6), ("layerwise", 0.99)])
@given(architecture=strategies.architectures(), minimum=st.integers(1, 3))
def test_a_minimum_survives_in_every_tensor(architecture, scope, minimum, amount):
    model = architecture.build()
    left = prune(model, amount, scope=scope, min_survivors=minimum)
    assert all(tensor.left >= min(minimum, tensor.total) for tensor in left.values())


def test_a_function_is_a_score_and_sees_the_dense_weights_by_name():
    seen = []

    def first_go(candidate):
        seen.append(candidate.name)
        return torch.arange(candidate.final.numel()).view_as(candidate.final)

    model = nn.Sequential(nn.Linear(4, 1))
    for left in ([0, 1, 1, 1], [0, 0, 1, 1]):
        prune(model, 1, score=first_go)
        assert model[0].weight_mask.int().tolist() == [left]
    assert seen == ["0.weight", "0.weight"]


@pytest.mark.filterwarnings("default")
def test_layer_collapse_raises_a_warning_and_a_minimum_prevents_it():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.init.constant_(model[0].weight, 1e-9)
    with pytest.warns(LayerCollapseWarning, match=r"^layer collapse: .* '0\.weight'.*min_survivors=1") as caught:
        prune(model, 5)
    assert [each.filename for each in caught] == [__file__]
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.init.constant_(other[0].weight, 1e-9)
    assert [tensor.left for tensor in prune(other, 5, min_survivors=1).values()] == [1, 2]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_layers_that_collapse_together_are_named_in_one_warning(scope):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    nn.init.ones_(model[2].weight)
    amount = 8 if scope == "global" else {"0": 0.9, "1": 0.9, "2": 0.0}
    with pytest.warns(LayerCollapseWarning, match=r"the last weight of '0\.weight', '1\.weight',") as caught:
        prune(model, amount, scope=scope)
    assert len(caught) == 1


@pytest.mark.filterwarnings("default")
def test_a_fraction_that_rounds_to_no_weight_raises_a_warning():
    model = nn.Linear(3, 3)
    with pytest.warns(
        NothingPrunedWarning, match=r"a fraction of 0\.05 of its 9 remaining weights rounds to 0"
    ) as caught:
        prune(model, 0.05)
    assert [each.filename for each in caught] == [__file__]


@pytest.mark.parametrize("pruned_before", [False, True])
@pytest.mark.parametrize(
    ("amount", "words", "complaint"),
    [
        (1.5, {}, "a fraction to prune is a float in"),
        (True, {}, "amount = True: a fraction"),
        ("0.2", {}, "amount = '0.2': a fraction"),
        ({"dense": True, "output": 0.1}, {"scope": "layerwise"}, "dense = True"),
        (-3, {}, "cannot prune -3"),
        (10_000, {}, "cannot prune 10,000 weights"),
        (float("nan"), {}, "nan"),
        (30, {"scope": "layerwise"}, "21 remain"),
        ({"dense": 0.2}, {"scope": "layerwise"}, "no rate for 5.weight"),
        ({"dense": 0.2, "output": 0.1}, {}, "scope='layerwise'"),
        ({"dense": 0.2, "output": 0.1, "outptu": 0.1}, {"scope": "layerwise"}, "'outptu'.*did you mean 'output'"),
        (0.2, {"scope": "globl"}, "unknown scope 'globl'; did you mean 'global'"),
        (0.2, {"score": "magnitud"}, "did you mean 'magnitude'"),
        (0.2, {"bias": "apart"}, "unknown bias 'apart'.*separate, together"),
        (0.2, {"min_survivors": -1}, "min_survivors = -1"),
        (0.9, {"min_survivors": 20}, "Lower min_survivors"),
        (0.2, {"selection": Selection(include=("9",))}, "'9' matches no"),
        (0.2, {"score": "movement"}, "initial="),
        (0.2, {"score": "movement", "initial": {"other": torch.ones(1)}}, r"1\.weight"),
        (0.2, {"score": lambda candidate: candidate.final[:1]}, "one score for every weight"),
        (0.2, {"score": lambda candidate: candidate.final * torch.nan}, "contain NaN"),
        (0.2, {"score": "random", "seed": -1}, "-1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_changed(amount, words, complaint, pruned_before):
    model = net("dense")
    if pruned_before:
        prune(model, 0.5, scope="layerwise")
    with refused(complaint, model, error=PruningError):
        prune(model, amount, **words)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ([1], r"a model is an nn\.Module; this is a list\.$"),
        (net, "this is the function net. If it makes the model, call it"),
        (nn.Linear, "this is the class Linear. If it makes the model, call it"),
    ],
)
def test_what_is_no_module_is_not_pruned(model, complaint):
    with pytest.raises(PruningError, match=complaint):
        prune(model, 0.2)


def test_counting_prunes_nothing():
    model = net("dense")
    before = anatomy(model)
    assert Pruning().counts(model, Geometric(0.5), 2) == [(159,), (79,), (40,)]
    assert anatomy(model) == before
