"""The plain form, torch's form, and the way from each to the other."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.nn.utils import prune as torch_prune

from lthprune.errors import PruningError
from lthprune.pruning.forms import convert, strip, without_pruning
from lthprune.pruning.methods import LayerwiseMagnitude
from lthprune.pruning.plain_form import kept_masks
from lthprune.pruning.pruner import prune
from lthprune.pruning.selection import Selection
from lthprune.pruning.state import live_state, masks_of, refresh, snapshot
from lthprune.search.drivers import imp
from tests import strategies
from tests.nets import OPTIMIZERS, all_bits, batch, net, outputs, refused, steps, train


def anatomy(model):
    """All of a model's tensors by plain name: which object, and to the bit."""
    return {name: id(tensor) for name, tensor in live_state(model).items()}, all_bits(snapshot(model))


@given(strategies.architectures(), strategies.biases)
def test_a_model_that_goes_to_torchs_form_and_back_is_the_same_to_the_bit(architecture, bias):
    model = architecture.build()
    order = [name for name, _ in model.named_parameters()]
    prune(model, 0.5, bias=bias, form="plain")
    plain, masks, computed = anatomy(model), all_bits(masks_of(model)), outputs(model)
    for form in ("torch", "plain", "torch", "torch", "plain"):
        assert convert(model, form) is model
        assert torch_prune.is_pruned(model) == (form == "torch")
        assert anatomy(model) == plain
        assert all_bits(masks_of(model)) == masks
        assert outputs(model).equal(computed)
    assert [name for name, _ in model.named_parameters()] == order
    assert all(type(parameter) is nn.Parameter for parameter in model.parameters())


@pytest.mark.parametrize("form", ["plain", "torch"])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_both_forms_train_to_the_same_surviving_weights(form, optimizer):
    def training(model):
        list(steps(model, OPTIMIZERS[optimizer](model.parameters()), 5))

    tickets = [imp(net("normalised"), training, levels=2, rate=0.5, form=each)[2] for each in ("plain", form)]
    assert all_bits(tickets[0].masks) == all_bits(tickets[1].masks)
    assert all_bits(tickets[0].trained) == all_bits(tickets[1].trained)


def test_a_model_that_torch_has_pruned_is_taken_as_it_is():
    model = net("dense")
    torch_prune.l1_unstructured(model[1], "weight", 0.5)
    torch_prune.random_unstructured(model[1], "weight", 0.5)
    left = int(model[1].weight_mask.sum())
    computed = outputs(model)
    tickets = imp(model, lambda model: None, levels=1, rate=0.5)
    assert tickets[0].counts["1.weight"].left == left
    assert not (tickets[1].masks["1.weight"] & ~tickets[0].masks["1.weight"]).any()
    again = net("dense")
    tickets[0].apply(again)
    assert outputs(again).equal(computed)


@pytest.mark.parametrize("final_form", ["plain", "torch"])
@pytest.mark.parametrize("form", ["plain", "torch"])
def test_the_model_has_the_form_that_was_asked_for_in_training_and_at_the_end(form, final_form):
    seen = []

    def training(model):
        seen.append(torch_prune.is_pruned(model))
        return train(model)

    model = net("dense")
    imp(model, training, levels=2, form=form, final_form=final_form)
    assert seen == [False, form == "torch", form == "torch"]
    assert torch_prune.is_pruned(model) == (final_form == "torch")
    zeros = {name: int((snapshot(model)[name] != 0).sum()) for name in masks_of(model)}
    train(model)
    refresh(model)
    assert {name: int((snapshot(model)[name] != 0).sum()) for name in zeros} == zeros


@pytest.mark.parametrize("form", ["plain", "torch"])
def test_a_stripped_model_is_an_ordinary_one_with_zeros(form):
    model = net("normalised")
    prune(model, 0.5, bias="together", form=form)
    computed, fresh = outputs(model), net("normalised")
    copied = without_pruning(model)
    assert masks_of(model)
    for bare in (copied, strip(model)):
        assert not masks_of(bare)
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in bare.modules())
        assert outputs(bare).equal(computed)
        assert bare.state_dict().keys() == fresh.state_dict().keys()
        zeros = int((bare[0].weight == 0).sum())
        train(bare)
        assert int((bare[0].weight == 0).sum()) < zeros


def test_what_torchs_form_does_not_reach_stays_plain_in_it():
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, dropout=0.0), nn.Linear(8, 2))
    prune(model, 0.5, form="plain")
    computed = model(torch.ones(2, 3, 8))
    convert(model, "torch")
    assert list(kept_masks(model)) == ["0.self_attn.out_proj.weight"]
    assert sorted(masks_of(model)) == sorted(masks_of(convert(copy.deepcopy(model), "plain")))
    assert model(torch.ones(2, 3, 8)).equal(computed)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    for seed in range(3):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(seed))).sum().backward()
        optimizer.step()
    projection = model[0].self_attn.out_proj.weight
    assert int((projection != 0).sum()) == int(masks_of(model)["0.self_attn.out_proj.weight"].sum())


class Reader(nn.Module):
    """Reads a weight without calling its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(nn.functional.linear(x.flatten(1), self.body.weight).tanh())


def test_a_weight_that_is_read_without_a_call_of_its_layer_trains_in_the_plain_form_and_stays_plain():
    model = Reader()
    tickets = imp(model, train, levels=2, rate=0.5)
    assert not any(ticket.trained["body.weight"].equal(tickets[0].weights["body.weight"]) for ticket in tickets)
    assert list(kept_masks(model)) == ["body.weight"]
    assert torch_prune.is_pruned(model.head)


def test_a_weight_that_is_read_without_a_call_of_its_layer_is_refused_in_torchs_form():
    with pytest.raises(PruningError, match=r"a gradient reached 'body\.weight'.*form=\"plain\""):
        imp(Reader(), train, levels=1, rate=0.5, form="torch")


def test_an_optimiser_over_products_is_refused_in_torchs_form():
    def training(model):
        optimizer = torch.optim.SGD([model[1].weight, model[3].weight, model[5].weight], 0.5)
        list(steps(model, optimizer, 2))

    tickets = imp(net("dense"), training, levels=1)
    assert not tickets[1].trained["1.weight"].equal(tickets[1].weights["1.weight"] * tickets[1].masks["1.weight"])
    with pytest.raises(PruningError, match=r"the optimizer holds '1\.weight'.*'1\.weight_orig'"):
        imp(net("dense"), training, levels=1, form="torch")


def test_writes_to_products_are_refused_in_torchs_form_and_count_in_the_plain_one():
    def training(model):
        for layer in (model[1], model[3], model[5]):
            nn.init.ones_(layer.weight)
        model(batch(model)[0]).sum().backward()

    tickets = imp(net("dense"), training, levels=1, scope="layerwise")
    assert tickets[1].trained["1.weight"].equal(tickets[1].masks["1.weight"].float())
    with pytest.raises(PruningError, match=r"'weight' of a Linear in torch's pruned form was written to"):
        imp(net("dense"), training, levels=1, scope="layerwise", form="torch")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_pruned_entries_are_zero_right_after_every_step_of_an_optimiser_that_lives_on(optimizer):
    model = net("dense")
    stepper, seen = OPTIMIZERS[optimizer](model.parameters()), []

    def training(model):
        for outputs_of_step in steps(model, stepper, 4):  # which yields after the step, before the next forward pass
            assert outputs_of_step.isfinite().all()
            masks = masks_of(model)
            assert not any(live_state(model)[name][~mask].any() for name, mask in masks.items())
            momentum = stepper.state[model[1].weight]["momentum_buffer" if optimizer == "sgd" else "exp_avg"]
            seen.append(bool(momentum[~masks["1.weight"]].any()))

    imp(model, training, levels=2, rate=0.5)
    assert any(seen)  # so that the step alone would have brought weights back


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("part", [lambda model: model, lambda model: model[5]])
def test_copies_of_a_plain_model_are_trained_with_masks_of_their_own(duplicate, part):
    model = net("mixed")
    prune(model, 0.6, form="plain")
    original = all_bits(snapshot(model))
    copied = duplicate(part(model))
    masks = masks_of(copied)
    assert masks
    optimizer = torch.optim.AdamW(copied.parameters(), 0.1, weight_decay=0.5)
    for seed in range(3):
        optimizer.zero_grad()
        inputs = batch(model, seed)[0] if copied[0] is not model[5][0] and len(copied) > 3 else torch.randn(6, 14)
        copied(inputs).square().sum().backward()
        optimizer.step()
    for name, mask in masks.items():
        assert not live_state(copied)[name][~mask].any()
        assert live_state(copied)[name].grad[~mask].count_nonzero() == 0
    assert all_bits(snapshot(model)) == original


def test_torchs_methods_are_refused_on_a_plain_model_and_work_after_conversion():
    model = net("dense")
    prune(model, 0.5, form="plain")
    with refused(r"pruned in the plain form.*convert\(model, \"torch\"\)", model, error=PruningError):
        LayerwiseMagnitude.apply(model[1], "weight", amount=0.5)
    LayerwiseMagnitude.apply(convert(model, "torch")[1], "weight", amount=0.5)
    torch_prune.l1_unstructured(convert(model, "plain")[3], "weight", 2)  # torch does not know better
    with pytest.raises(PruningError, match=r"masked parameter 'weight' of a Linear is gone.*convert"):
        outputs(model)


def test_a_tied_parameter_pruned_in_one_place_only_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    torch_prune.l1_unstructured(model[0], "weight", 0.5)
    model[1].weight = model[0].weight_orig
    with refused(r"'0\.weight' and '1\.weight' are one tied parameter, but are pruned differently", model):
        convert(model, "plain")
    with pytest.raises(PruningError, match="pruned differently"):
        imp(model, lambda model: None, levels=1)


@pytest.mark.parametrize("form", ["tensor", None, 3])
def test_an_unknown_form_is_refused(form):
    for call in (
        lambda: convert(net("dense"), form),
        lambda: prune(net("dense"), 0.5, form=form),
        lambda: imp(net("dense"), train, levels=1, form=form),
        lambda: imp(net("dense"), train, levels=1, final_form=form),
    ):
        with pytest.raises(PruningError, match=r"unknown (final_)?form"):
            call()


def test_any_kind_of_parameter_can_be_pruned_and_kinds_have_rates_of_their_own():
    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 8)
            self.lstm = nn.LSTM(8, 8, batch_first=True)
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
            self.experts = nn.Parameter(torch.randn(3, 8, 8))
            self.norm = nn.LayerNorm(8)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            x = self.lstm(self.embed((x.flatten(1) > 0).long()))[0]
            x = self.attend(x, x, x)[0] @ self.experts.sum(0)
            return self.head(self.norm(x.mean(1)))

    rates = {"recurrent": 0.5, "attention": 0.25, "embedding": 0.1, "matrix": 0.75, "vector": 0, "output": 0}
    selection = Selection(kinds=("recurrent", "attention", "embedding", "matrix", "vector", "output"))
    tickets = imp(Everything(), train, levels=1, rate=rates, scope="layerwise", selection=selection)
    left = {name: count.left / count.total for name, count in tickets[1].counts.items()}
    lstm = (left.pop("lstm.weight_ih_l0") + left.pop("lstm.weight_hh_l0")) / 2  # of one layer: they compete
    assert lstm == 0.5
    assert left == {
        "experts": 0.25,
        "embed.weight": 0.9,
        "attend.in_proj_weight": 0.75,
        "attend.out_proj.weight": 0.75,
        "norm.weight": 1,
        "head.weight": 1,
    }
