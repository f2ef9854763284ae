"""What is said of a model: what is pruned, what is left out and why."""

import pytest
import torch
from torch import nn

from lthprune.errors import CoverageWarning, PruningError
from lthprune.pruning.coverage import describe
from lthprune.pruning.prunable import select
from lthprune.pruning.pruner import prune
from lthprune.pruning.selection import Selection
from lthprune.search.drivers import imp
from tests.nets import anatomy, net


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.experts = nn.Parameter(torch.randn(4, 8, 8))
        self.scale = nn.Parameter(torch.ones(8))
        self.head = nn.Linear(8, 20)
        self.head.weight = self.embed.weight
        self.body = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))


def test_every_parameter_is_named_once_with_its_kind_and_the_reason_why_it_is_left_out():
    coverage = describe(Mixture(), Selection(exclude=("body",)))
    assert {each.names: (each.kind, each.reason) for each in coverage.parameters} == {
        ("experts",): ("matrix", "kind 'matrix' is not selected"),
        ("scale",): ("vector", "kind 'vector' is not selected"),
        ("embed.weight", "head.weight"): (
            "embedding",
            "tied to embed.weight, which is left out (kind 'embedding' is not selected)",
        ),
        ("head.bias",): ("dense", "biases are not pruned"),
        ("body.weight",): ("output", "excluded"),
        ("body.bias",): ("output", "biases are not pruned"),
        ("body.parametrizations.weight.original0",): ("matrix", "kind 'matrix' is not selected"),
        ("body.parametrizations.weight.original1",): ("matrix", "kind 'matrix' is not selected"),
    }
    assert {each.names[0]: each.reason for each in describe(Mixture()).parameters}["body.weight"] == (
        "computed from other parameters"
    )


@pytest.mark.parametrize("form", ["dense", "convolutional", "normalised", "mixed"])
def test_what_is_described_as_prunable_is_what_is_pruned(form):
    for bias in (False, True):
        described = [each.names[0] for each in describe(net(form), bias=bias).prunable]
        assert described == [tensor.name for tensor in select(net(form), bias=bias)]
    assert describe(net(form)).matrix_share == 1
    assert "100.0% of the weights in matrices" in repr(describe(net(form)))


def test_the_table_has_a_row_for_every_matrix_and_fits_a_page():
    table = str(describe(Mixture(), Selection(exclude=("body",))))
    assert all(len(line) <= 100 for line in table.splitlines())
    for word in ("experts", "4 x 8 x 8", "256", "embed.weight, head.weight", "1 others", "Coverage:"):
        assert word in table


def test_a_model_that_the_default_selection_hardly_covers_raises_a_warning_that_names_what_is_left_out():
    model = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 4))
    message = (
        r"prunes only 3\.8% of the weights in the matrices of this Sequential.*"
        r"Left out, largest first: '0\.weight' \(embedding, 800 weights\).*"
        r"pass selection=Selection\(kinds=\(\*Selection\.kinds, 'embedding'\)\)"
    )
    for call in (lambda: prune(model, 0.5), lambda: imp(model, lambda model: None, levels=1)):
        with pytest.warns(CoverageWarning, match=message) as caught:
            call()
        assert [each.filename for each in caught] == [__file__]
    prune(model, 0.5, selection=Selection())
    prune(nn.Sequential(nn.Embedding(2, 8), nn.Linear(8, 80)), 0.5)


def test_describing_a_model_changes_nothing_of_it_not_even_a_spectral_norms_estimate():
    model = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    before = anatomy(model)
    describe(model)
    assert anatomy(model) == before


def test_a_selection_that_does_not_fit_is_refused():
    with pytest.raises(PruningError, match="matches no layer"):
        describe(net("dense"), Selection(include=("fc",)))
    with pytest.raises(PruningError, match=r"a model is an nn\.Module"):
        describe([1])
