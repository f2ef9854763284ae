"""Sparse inference: the same outputs from only the remaining weights."""

import pytest
import torch
from hypothesis import given
from torch import nn

from lthprune import compact, prune
from lthprune.compaction import to_csr
from lthprune.compaction.csr import SparseLinear
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
