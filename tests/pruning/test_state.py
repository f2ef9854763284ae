"""A model's tensors under their plain names."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthprune.errors import StorageError
from lthprune.pruning.keeping import set_zeros
from lthprune.pruning.pruner import prune
from lthprune.pruning.state import live_state, masks_of, refresh, restore, snapshot
from tests import strategies
from tests.nets import all_bits, bits, net, outputs, refused, train


@given(strategies.architectures())
def test_a_model_has_the_same_tensors_by_the_same_names_pruned_or_not(architecture):
    model = architecture.build()
    dense = live_state(model)
    assert dense.keys() == model.state_dict().keys()
    prune(model, 0.5, bias="separate")
    pruned = live_state(model)
    assert pruned.keys() == dense.keys()
    assert all(pruned[name] is dense[name] for name in dense)
    assert masks_of(model).keys() <= pruned.keys()


@given(strategies.architectures())
def test_a_snapshot_shares_no_memory_with_the_model(architecture):
    model = architecture.build()
    prune(model, 0.3)
    state = snapshot(model)
    before = all_bits(state)
    with torch.no_grad():
        for tensor in live_state(model).values():
            tensor.add_(1)
    assert all_bits(state) == before


@given(strategies.architectures(), strategies.seeds)
def test_a_snapshot_holds_zeros_where_weights_are_pruned_and_the_rest_to_the_bit(architecture, seed):
    model = architecture.build(seed)
    live = live_state(model)
    prune(model, 0.4, score="random", seed=seed)
    masks = masks_of(model)
    for name, tensor in snapshot(model).items():
        held = masks.get(name, torch.ones_like(tensor)).bool()
        assert not tensor[~held].any()
        assert torch.equal(tensor[held], live[name][held])
        assert not tensor.requires_grad


@given(strategies.architectures(), strategies.seeds)
def test_restoring_gives_back_every_bit_into_the_very_same_tensors(architecture, seed):
    model = architecture.build(seed)
    state = snapshot(model)
    identities = {name: id(tensor) for name, tensor in live_state(model).items()}
    prune(model, 0.5)
    train(model)
    restore(model, state)
    live = live_state(model)
    assert all_bits(live) == all_bits(state)
    assert {name: id(tensor) for name, tensor in live.items()} == identities
    for name, mask in masks_of(model).items():
        layer, _, attribute = name.rpartition(".")
        assert torch.equal(getattr(model.get_submodule(layer), attribute), state[name] * mask)


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.pop("1.bias"), r"'1\.bias' of the model is missing from the old state"),
        (
            lambda state: state.update({"1.weights": torch.ones(1)}),
            r"The old state has '1\.weights', which the model lacks; did you mean '1\.weight'",
        ),
        (lambda state: state.update({"3.weight": torch.ones(2, 2)}), r"'3\.weight' has the shape \(2, 2\)"),
        (
            lambda state: state.update({"5.bias": torch.ones(1)}),
            r"'5\.bias' has the shape \(1,\) in the old state and \(3,\)",
        ),
        (dict.clear, r"\(and 1 more\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_the_model_stays_whole(change, complaint, pruned):
    model = net("dense")
    if pruned:
        prune(model, 0.5)
    state = {name: tensor + 1 for name, tensor in snapshot(model).items()}
    change(state)
    with refused(complaint, model, error=StorageError):
        restore(model, state, what="the old state")


def test_refreshing_brings_weight_up_to_date_and_lets_the_model_be_copied():
    model = net("dense")
    prune(model, 0.5)
    train(model)
    with torch.no_grad():
        model[1].weight_orig.fill_(3)
    refresh(model)
    assert model[1].weight.equal(3 * model[1].weight_mask)
    assert outputs(copy.deepcopy(model)).equal(outputs(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_snapshot_of_a_large_tensor_has_its_bits_and_memory_of_its_own(dtype):
    model = nn.Module()
    model.register_buffer("large", torch.arange(1 << 22).to(dtype))
    model.register_buffer("turned", torch.arange(1 << 20, dtype=torch.float64).view(2, -1).t())
    copies = snapshot(model)
    assert all_bits(copies) == all_bits(live_state(model))
    assert copies["turned"].stride() == model.turned.stride()
    model.large.zero_()
    assert copies["large"][1] == 1


def test_names_that_only_look_like_pruning_are_left_as_they_are():
    model = nn.Linear(2, 1)
    model.register_parameter("scale_orig", nn.Parameter(torch.ones(1)))
    model.register_buffer("attention_mask", torch.ones(1))
    assert live_state(model).keys() == {"weight", "bias", "scale_orig", "attention_mask"}
    assert not masks_of(model)


@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.5, -2.0, math.nan, math.inf]), min_size=1, max_size=9),
    st.data(),
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    st.sampled_from([torch.bool, torch.float32, torch.float16]),
)
def test_pruned_entries_become_zero_without_a_sign_and_others_keep_their_bits(values, data, dtype, type_of_mask):
    tensor = torch.tensor(values, dtype=dtype)
    drawn = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=len(values), max_size=len(values)))
    mask = torch.tensor(drawn).to(type_of_mask)
    expected = tensor.masked_fill(mask == 0, 0)  # the readable twin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lthprune.pruning.keeping._CHUNK", 2)
        set_zeros(tensor, mask)
    assert bits(tensor) == bits(expected)
