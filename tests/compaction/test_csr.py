"""Sparse inference: the same outputs from only the remaining weights."""

import pickle

import pytest
import torch
from hypothesis import given
from torch import nn

from lthprune import compact, prune
from lthprune.compaction import to_csr
from lthprune.pruning import without_pruning
from lthprune.training import SparseLinear, use_dense_layers, use_sparse_layers
from tests.nets import anatomy, refused
from tests.wired import recipes


@given(recipes(forms=("dense", "branches")))
def test_a_sparse_network_computes_the_same_with_and_without_compaction(recipe):
    wired = recipe.build()
    before = anatomy(wired.model)
    for model in (to_csr(wired.model), to_csr(compact(wired.model, wired.examples).model)):
        for samples in (1, 5):
            inputs = wired.inputs(recipe.seed % 1000, samples)
            computed = model(*inputs)
            computed = computed if isinstance(computed, torch.Tensor) else torch.cat(computed, dim=1)
            torch.testing.assert_close(computed, wired.outputs(inputs), rtol=1e-9, atol=1e-9)
    assert anatomy(wired.model) == before


def test_only_remaining_weights_are_stored():
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4, bias=False))
    prune(model, 0.75, scope="global")
    sparse = to_csr(model)
    layers = [layer for layer in sparse if isinstance(layer, SparseLinear)]
    assert sum(layer.weight.values().numel() for layer in layers) == 180
    assert "left=" in repr(sparse)


def test_a_sparse_network_can_be_pickled_converted_and_loaded_and_reads_inputs_of_any_shape():
    model = nn.Sequential(nn.Linear(20, 30, bias=False), nn.ReLU(), nn.Linear(30, 4))
    prune(model, 0.75, scope="global")
    sparse, x = to_csr(model), torch.randn(2, 3, 20, requires_grad=True)
    expected = model(x)
    torch.testing.assert_close(sparse(x), expected)
    copied = pickle.loads(pickle.dumps(sparse))
    torch.testing.assert_close(copied(x), expected)
    copied[0].weight.values().mul_(2)
    torch.testing.assert_close(copied(x), model[2](2 * model[1](model[0](x))))
    copied.load_state_dict(sparse.state_dict())
    torch.testing.assert_close(copied(x), expected)
    torch.testing.assert_close(copied.double()(x.double()), expected.double())
    assert torch.equal(copied.bfloat16()(x.bfloat16()), without_pruning(model).bfloat16()(x.bfloat16()))
    gradients = [torch.autograd.grad(network(x).sum(), x)[0] for network in (sparse, model)]
    torch.testing.assert_close(*gradients)


def test_a_model_with_sparse_layers_is_stored_by_its_remaining_weights():
    model, x = nn.Sequential(nn.Linear(256, 200), nn.ReLU(), nn.Linear(200, 4)), torch.randn(5, 256)
    prune(model, 0.95, scope="layerwise")
    assert use_sparse_layers(model) == ["0"]
    sparse = to_csr(model)
    torch.testing.assert_close(sparse(x), model(x))
    assert [layer.weight.values().numel() for layer in sparse if isinstance(layer, SparseLinear)] == [2560, 40]
    assert use_dense_layers(sparse) == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3)), "this Sequential contains no nn.Linear"),
        (nn.Linear(2, 2), "this Linear contains no nn.Linear"),
        (nn.Sequential(nn.Linear(2, 2)).bfloat16(), r"weights of '0' are torch.bfloat16.*model.float\(\)"),
    ],
)
def test_models_that_cannot_be_made_sparse_are_refused(model, words):
    with refused(words, model):
        to_csr(model)
