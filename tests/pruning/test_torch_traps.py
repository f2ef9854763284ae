"""The traps of ``torch.nn.utils.prune``, one by one: ways in which our way around each could fail."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from lthprune.errors import PruningError
from lthprune.pruning.forms import convert
from lthprune.pruning.methods import BiasAware, GlobalMagnitude, LayerwiseMagnitude, RandomPruning
from lthprune.pruning.pruner import prune
from lthprune.pruning.schedules import left_after
from lthprune.pruning.state import live_state, masks_of, refresh, snapshot
from lthprune.search.drivers import imp
from lthprune.search.rewinding import Rewinder
from tests.nets import OPTIMIZERS, all_bits, batch, net, outputs, refused, steps, train

TORCHS_OWN = {
    "l1": lambda layer: torch_prune.l1_unstructured(layer, "weight", 3),
    "random": lambda layer: torch_prune.random_unstructured(layer, "weight", 3),
    "ln": lambda layer: torch_prune.ln_structured(layer, "weight", 1, n=2, dim=0),
    "random_structured": lambda layer: torch_prune.random_structured(layer, "weight", 1, dim=1),
    "custom": lambda layer: torch_prune.custom_from_mask(layer, "weight", torch.eye(*layer.weight.shape) == 0),
    "global": lambda layer: torch_prune.global_unstructured([(layer, "weight")], torch_prune.L1Unstructured, amount=3),
}


def held(layer):
    return layer.weight_mask.bool().clone()


def left(*layers):
    return sum(int(layer.weight_mask.sum()) for layer in layers)


@pytest.mark.parametrize("method", [LayerwiseMagnitude, RandomPruning, BiasAware])
def test_the_tenth_round_through_apply_is_as_exact_as_the_first(method):
    layer, expected = nn.Linear(32, 16), 512
    for _ in range(10):
        before = held(layer) if torch_prune.is_pruned(layer) else torch.ones(16, 32, dtype=torch.bool)
        method.apply(layer, "weight", amount=0.3)
        expected = left_after(0.3, expected)
        assert left(layer) == expected
        assert not (held(layer) & ~before).any()
        assert layer(torch.ones(1, 32)).shape == (1, 16)


@pytest.mark.parametrize("method", [GlobalMagnitude, RandomPruning, BiasAware])
@pytest.mark.parametrize("constant", [False, True])
def test_the_tenth_round_through_global_unstructured_is_as_exact_as_the_first(method, constant):
    model, expected = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16)), 512
    if constant:  # ties that torch leaves to chance
        for layer in model:
            nn.init.constant_(layer.weight, 0.5)
    for _ in range(10):
        torch_prune.global_unstructured([(layer, "weight") for layer in model], method, amount=0.2)
        expected = left_after(0.2, expected)
        assert left(*model) == expected


def test_no_round_after_the_first_makes_a_layer_larger():
    layer, sizes = nn.Sequential(nn.Linear(64, 64)), []
    for _ in range(6):
        LayerwiseMagnitude.apply(layer[0], "weight", amount=0.2)
        prune(layer, 0.2)
        sizes.append(len(pickle.dumps(layer)))
    assert len(set(sizes)) == 1
    assert len(layer[0]._forward_pre_hooks) == 1


def test_a_fraction_of_few_weights_is_rounded_half_up_and_never_silently_to_none():
    layer = nn.Linear(5, 1)
    LayerwiseMagnitude.apply(layer, "weight", amount=0.5)
    assert left(layer) == 2  # torch prunes 2 of 5
    with pytest.warns(UserWarning, match="rounds to 0 weights"):
        prune(nn.Linear(3, 3), 0.05)


def test_the_same_weights_of_constant_layers_are_pruned_every_time():
    models = [nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10)) for _ in range(3)]
    for model in models:
        for layer in model:
            nn.init.ones_(layer.weight)
        prune(model, 40)
    assert left(*models[0]) == 160
    assert all_bits(masks_of(models[0])) == all_bits(masks_of(models[1])) == all_bits(masks_of(models[2]))


@pytest.mark.parametrize("bias", ["together", "separate"])
def test_zero_biases_are_not_pruned_first(bias):
    model = nn.Sequential(nn.Linear(10, 10))
    nn.init.zeros_(model[0].bias)
    counts = prune(model, 0.09, bias=bias)
    assert counts["0.bias"].left >= 9
    assert sum(count.left for count in counts.values()) == 100


def test_the_dense_parameter_is_the_original_object_through_pruning_rewinding_and_a_ticket():
    model = net("normalised")
    identities = {name: id(tensor) for name, tensor in live_state(model).items()}
    tickets = imp(model, train, levels=2, rate=0.5)
    tickets[1].apply(model)
    tickets[1].apply(model, form="torch")
    LayerwiseMagnitude.apply(model[0], "weight", amount=1)
    assert {name: id(tensor) for name, tensor in live_state(model).items()} == identities


def test_weight_is_never_stale_after_a_write():
    model = net("dense")
    rewinder = Rewinder()
    rewinder.watch(model)
    ticket = imp(net("dense", seed=1), train, levels=1)[1]
    for write in (
        lambda: prune(model, 0.3),
        lambda: rewinder.rewind(model),
        lambda: ticket.apply(model, form="torch"),
        lambda: LayerwiseMagnitude.apply(model[1], "weight", amount=3),
    ):
        train(model)
        write()
        assert model[1].weight.equal(model[1].weight_orig * model[1].weight_mask)


def test_a_mask_of_another_type_leaves_the_weight_its_type():
    layer = nn.Linear(2, 2, dtype=torch.bfloat16)
    torch_prune.identity(layer, "weight")
    layer.weight_mask = torch.eye(2)
    refresh(layer)
    assert layer.weight.dtype == torch.bfloat16
    assert layer.weight.equal(layer.weight_orig * layer.weight_mask.bool())


def test_a_layer_can_be_copied_after_every_round():
    layer = nn.Linear(4, 4)
    for _ in range(3):
        LayerwiseMagnitude.apply(layer, "weight", amount=2)
        assert copy.deepcopy(layer).weight.equal(layer.weight)
        layer(torch.ones(1, 4))


def test_a_model_can_be_copied_after_every_level_and_trained_on():
    model, copies = net("normalised"), []
    imp(model, train, levels=2, rate=0.5, on_level=lambda ticket: copies.append(copy.deepcopy(model)))
    assert outputs(copies[-1]).equal(outputs(model))
    train(copies[-1])
    assert not outputs(copies[-1]).equal(outputs(model))


def test_pruning_reorders_no_parameters_for_optimisers_load_their_state_by_position():
    model = nn.Sequential(nn.Linear(16, 3))
    prune(model, 0.5)
    assert list(dict(model.named_parameters())) == ["0.weight_orig", "0.bias"]
    assert list(dict(convert(model, "plain").named_parameters())) == ["0.weight", "0.bias"]
    torch_prune.l1_unstructured(other := nn.Linear(16, 3), "weight", 3)
    assert list(dict(other.named_parameters())) == ["bias", "weight_orig"]
    assert list(dict(convert(other, "plain").named_parameters())) == ["weight", "bias"]


def test_an_optimisers_momentum_stays_with_its_own_parameter_when_torch_reorders_them():
    model = nn.Sequential(nn.Linear(16, 3))
    order = [name for name, _ in model.named_parameters()]
    stepper = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    rewinder = Rewinder(at=1, optimizer=stepper)
    rewinder.watch(model)
    model(torch.ones(2, 16)).sum().backward()
    stepper.step()
    rewinder.step()
    torch_prune.l1_unstructured(model[0], "weight", 0.5)
    assert [name.removesuffix("_orig") for name, _ in model.named_parameters()] != order
    rewinder.rewind(model)
    for parameter, state in stepper.state.items():
        assert state["momentum_buffer"].shape == parameter.shape
    assert len(stepper.state) == 2


@pytest.mark.parametrize("rounds_before", [0, 1])
def test_an_amount_larger_than_what_is_left_leaves_the_layer_whole(rounds_before):
    layer = nn.Linear(4, 4)
    for _ in range(rounds_before):
        LayerwiseMagnitude.apply(layer, "weight", amount=10)
    with refused("cannot prune", layer, error=PruningError):
        LayerwiseMagnitude.apply(layer, "weight", amount=17)
    LayerwiseMagnitude.apply(layer, "weight", amount=1)
    assert left(layer) == 15 - 10 * rounds_before


def test_what_torchs_hooks_do_not_reach_is_refused_in_torchs_form_and_pruned_in_the_plain_one():
    model = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    complaint = r"does not reach 'self_attn\.out_proj\.weight' .*form=\"plain\".*exclude=\('self_attn\.out_proj"
    with refused(complaint, model, error=PruningError):
        prune(model, 0.5)
    counts = prune(model, 0.5, form="plain")
    assert "self_attn.out_proj.weight" in counts
    stepper = OPTIMIZERS["sgd"](model.parameters())
    model.train()(torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))).sum().backward()
    stepper.step()
    assert {name: int(mask.sum()) for name, mask in masks_of(model).items()} == {
        name: int((live_state(model)[name] != 0).sum()) for name in counts
    }
    with torch.no_grad():  # torch's fast path reads .weight without calling the layer
        fast = model.eval()(torch.ones(2, 3, 8))
    assert fast.allclose(model(torch.ones(2, 3, 8)), atol=1e-6)


@pytest.mark.parametrize("form", ["plain", "torch"])
def test_a_tied_parameter_has_one_mask_and_counts_once(form):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 3))
    model[3].weight = model[1].weight
    ticket = imp(model, train, levels=1, rate=0.5, form=form)[1]
    assert {name: count.total for name, count in ticket.counts.items()} == {"1.weight": 256, "4.weight": 48}
    fresh = ticket.apply(model, "trained", form=form)
    assert outputs(fresh).equal(outputs(model))
    zeros = [(layer.weight == 0) for layer in (model[1], model[3])]
    assert zeros[0].equal(zeros[1])
    assert zeros[0].equal(~ticket.masks["1.weight"])


def test_weight_decay_moves_pruned_weights_under_the_mask_and_no_snapshot_shows_it():
    model = net("dense")
    prune(model, 0.5)
    before = model[1].weight_orig.detach().clone()
    list(steps(model, OPTIMIZERS["sgd"](model.parameters()), 3))
    gone = ~held(model[1])
    assert not before[gone].equal(model[1].weight_orig[gone])
    assert not snapshot(model)["1.weight"][gone].any()


def test_a_ticket_applied_after_reset_parameters_is_still_the_ticket():
    model = net("dense")
    ticket = imp(model, train, levels=1, rate=0.5)[1]
    expected = outputs(ticket.apply(net("dense", seed=5)))
    for layer in (model[1], model[3], model[5]):
        layer.reset_parameters()  # writes .weight, which the next forward pass overwrites
    assert outputs(ticket.apply(model)).equal(expected)


@pytest.mark.parametrize("name", TORCHS_OWN)
def test_torchs_own_methods_can_come_before_and_after_ours(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8))
    layer, dense, masks = model[0], model[0].weight, []
    for _ in range(2):
        TORCHS_OWN[name](layer)
        masks.append(held(layer))
        prune(model, 5)
        masks.append(held(layer))
        assert int(masks[-1].sum()) == int(masks[-2].sum()) - 5
        LayerwiseMagnitude.apply(layer, "weight", amount=2)
        masks.append(held(layer))
        assert int(masks[-1].sum()) == int(masks[-2].sum()) - 2
    assert not any((after & ~before).any() for before, after in pairwise(masks))
    assert layer.weight_orig is dense
    assert layer.weight.equal(dense * masks[-1])
    expected = model(torch.ones(1, 8))
    torch_prune.remove(layer, "weight")
    assert layer.weight is dense
    assert model(torch.ones(1, 8)).equal(expected)
    assert int((dense != 0).sum()) == int(masks[-1].sum())


def test_a_ticket_goes_onto_a_model_that_torch_has_pruned():
    ticket = imp(net("dense"), train, levels=1, rate=0.5)[1]
    model = net("dense", seed=2)
    torch_prune.l1_unstructured(model[1], "weight", 0.9)
    torch_prune.random_unstructured(model[1], "weight", 0.5)
    torch_prune.l1_unstructured(model[1], "bias", 3)
    ticket.apply(model)
    assert outputs(model).equal(outputs(ticket.apply(net("dense", seed=3))))
    assert batch(model)[0].shape[0] == len(outputs(model))
