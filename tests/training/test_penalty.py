"""The L1 penalty: which weights are under it, and what it does to their gradients and to pruned ones."""

import copy

import pytest
import torch
from torch import nn

from lthprune import prune
from lthprune.pruning.forms import FORMS
from lthprune.pruning.methods import write_mask
from lthprune.pruning.state import live_state, masks_of, snapshot
from lthprune.training.compiled import Compiled
from lthprune.training.loop import train
from lthprune.training.lowering import lower
from lthprune.training.penalty import add_penalty, penalised_weights
from lthprune.training.sparse_linear import use_sparse_layers
from lthprune.training.stacked import Stacked
from tests.nets import Architecture
from tests.training.test_population import DATA, orders, plan


def penalty_alone(model: nn.Module, l1: float) -> dict[str, torch.Tensor]:
    """The gradients that a penalty of no loss gives, by plain name."""
    add_penalty(torch.zeros(()), penalised_weights(model), l1).backward()
    return {name: tensor.grad for name, tensor in live_state(model).items() if tensor.grad is not None}


def test_the_gradient_is_the_sign_of_a_weight_times_the_factor_and_zero_at_zero() -> None:
    linear = nn.Linear(3, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[2.0, 0.0, -0.1]]))
    assert penalty_alone(linear, 0.5)["weight"].tolist() == [[0.5, 0.0, -0.5]]


@pytest.mark.parametrize(
    ("model", "penalised"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3)), {"0.weight", "2.weight"}),
        (nn.LSTM(2, 3), {"weight_ih_l0", "weight_hh_l0"}),
        (nn.MultiheadAttention(4, 2), {"in_proj_weight", "out_proj.weight"}),
        (nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Bilinear(4, 4, 2)), {"2.weight"}),
    ],
    ids=["convolutional", "recurrent", "attention", "embedding"],
)
def test_weights_are_penalised_but_neither_biases_nor_norms_nor_embeddings(
    model: nn.Module, penalised: set[str]
) -> None:
    assert set(penalty_alone(model, 1.0)) == penalised


def test_a_tied_weight_is_penalised_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert (penalty_alone(model, 1.0)["0.weight"].abs() == 1).all()


@pytest.mark.parametrize("form", FORMS)
def test_pruned_weights_are_not_penalised(form: str) -> None:
    model = Architecture().build()
    prune(model, 0.6, form=form)  # type: ignore[arg-type]
    left = sum(float(snapshot(model)[name].abs().sum()) for name in masks_of(model))
    assert float(add_penalty(torch.zeros(()), penalised_weights(model), 2.0).detach()) == pytest.approx(2 * left)
    for name, gradient in penalty_alone(model, 2.0).items():
        assert torch.equal(gradient.abs() == 2, masks_of(model)[name])
        assert not gradient[~masks_of(model)[name]].any()


def test_no_penalty_leaves_the_loss_as_it_is() -> None:
    loss = torch.ones(())
    assert add_penalty(loss, penalised_weights(nn.Linear(2, 1)), 0.0) is loss


@pytest.mark.parametrize(
    "optimizer", [{"optimizer": "sgd", "lr": 0.1, "momentum": 0.9}, {"optimizer": "adam", "lr": 0.1}]
)
def test_momenta_of_pruned_weights_stay_zero(optimizer: dict[str, object]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 3)).double()
    mask = torch.rand(20, 16, generator=torch.Generator().manual_seed(0)) < 0.5  # dense enough to be stored with zeros
    write_mask(model[1], "weight", mask)
    batches = torch.arange(40).view(5, 1, 8)
    chosen = plan(l1=0.1, **optimizer)
    compiled, stacked = (make([model], lower([model]), DATA, chosen) for make in (Compiled, Stacked))
    for engine in (compiled, stacked):
        engine.train(batches, [0.1] * 5)
    pruned = ~mask.flatten()
    state, moments = compiled._trials[0].state, stacked._optimizer._moments
    for vector in (state.values, state.first, state.second, stacked._values, *moments):
        first_layer = torch.as_tensor(vector)[: pruned.numel()]
        assert not first_layer[pruned].any()
    assert state.first[: pruned.numel()][~pruned].all()


def test_sparse_layers_train_under_a_penalty_as_dense_ones_do() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4000), nn.ReLU(), nn.Linear(4000, 3)).double()
    prune(model, 0.95, scope="layerwise", form="plain")
    twin = copy.deepcopy(model)
    assert use_sparse_layers(model) == ["1"]
    for each in (model, twin):
        train(each, DATA, plan(l1=0.01), *orders(1))
    for name, tensor in snapshot(twin).items():
        torch.testing.assert_close(snapshot(model)[name], tensor, rtol=1e-6, atol=1e-8)
