"""Which tensors are prunable."""

import pytest
import torch
from hypothesis import given
from torch import nn

from lthprune.errors import PruningError
from lthprune.pruning.prunable import select
from lthprune.pruning.pruner import prune
from lthprune.pruning.selection import Selection
from tests import strategies
from tests.nets import net, refused


def names(model, selection=None, **words):
    return [tensor.name for tensor in select(model, selection, **words)]


def test_layers_come_in_the_order_of_registration_with_their_kinds():
    assert [(tensor.name, tensor.kind) for tensor in select(net("mixed"))] == [
        ("0.0.weight", "conv"),
        ("1.weight", "conv"),
        ("3.weight", "conv"),
        ("5.0.weight", "dense"),
        ("5.2.weight", "output"),
    ]


@given(strategies.architectures())
def test_a_pruned_model_has_the_same_prunable_tensors_as_before(architecture):
    model = architecture.build()
    before = select(model, bias=True)
    parameters = [tensor.parameter for tensor in before]
    assert all(tensor.mask is None for tensor in before)
    prune(model, 0.5, bias="together")
    after = select(model, bias=True)
    assert [(tensor.name, tensor.kind) for tensor in after] == [(tensor.name, tensor.kind) for tensor in before]
    for tensor, parameter in zip(after, parameters, strict=True):
        assert tensor.parameter is parameter
        assert tensor.mask is tensor.module.get_buffer(f"{tensor.attribute}_mask")


@given(strategies.architectures())
def test_biases_are_chosen_with_their_layers_where_there_are_any(architecture):
    model = architecture.build()
    normed = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    expected = [name for name, _ in model.named_parameters() if name.rpartition(".")[0] not in normed]
    assert names(model, bias=True) == expected
    assert names(model) == [name for name in expected if name.endswith("weight")]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(kinds=("conv",)), ["0.weight", "3.weight"]),
        (Selection(kinds=("output",)), ["5.weight"]),
        (Selection(kinds=("dense",), output=None), ["5.weight"]),
        (Selection(kinds=("output",), output="0"), ["0.weight"]),
        (Selection(include=("0", "5")), ["0.weight", "5.weight"]),
        (Selection(exclude=("[03]",)), ["5.weight"]),
        (Selection(include=("[03]",), exclude=("3",)), ["0.weight"]),
        (Selection(where=lambda name, module: name != "0" and module.bias is not None), ["3.weight", "5.weight"]),
        (Selection(kinds=("conv",), where=lambda name, module: name > "0"), ["3.weight"]),
    ],
)
def test_a_layer_has_to_pass_kind_name_and_predicate(selection, expected):
    assert names(net("convolutional"), selection) == expected


def test_the_model_may_be_a_single_layer():
    assert names(nn.Linear(3, 2), bias=True) == ["weight", "bias"]


def test_a_module_used_twice_is_one_layer_and_pruned_in_both_places():
    shared = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(shared, nn.Identity(), shared)
    assert names(model) == ["0.weight"]
    prune(model, 15)
    survivor = shared.weight[shared.weight_mask].item()
    entries = model(torch.ones(1, 4)).flatten().tolist()
    on_diagonal = bool(shared.weight_mask.diagonal().any())
    assert max(entries, key=abs) == pytest.approx(survivor**2 if on_diagonal else 0)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5)
        self.head.weight = self.embed.weight


def lazy():
    return nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))


def convolution_free():
    return nn.Sequential(nn.Embedding(3, 2), nn.LayerNorm(2))


def weight_normed():
    return nn.Sequential(nn.Linear(3, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))


def spectrally_normed():
    """torch's older spectral norm keeps its tensor under the very name that pruning uses."""
    return nn.Sequential(nn.Linear(3, 3), torch.nn.utils.spectral_norm(nn.Linear(3, 2)))


def shares_memory():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = nn.Parameter(model[0].weight.data)
    return model


class Adapted(nn.Module):
    """A dense layer with a low-rank adapter, as peft builds it."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = nn.Linear(4, 4)
        self.lora_A = nn.Linear(4, 1)
        self.lora_B = nn.Linear(1, 4)


def adapted():
    return nn.Sequential(Adapted(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: nn.Sequential(nn.LayerNorm(3)), "nothing to prune"),
        (convolution_free, "leaves nothing to prune"),
        (lazy, r"'0\.weight' is not initialised yet"),
        (weight_normed, r"'1\.weight': computed from other parameters.*exclude=\('1\.weight',\)"),
        (spectrally_normed, r"'1\.weight': computed from other parameters"),
        (adapted, r"'0\.base_layer\.weight', '0\.lora_A\.weight', '0\.lora_B\.weight': computed from other"),
        (shares_memory, r"'0\.weight' and '1\.weight' are different parameters that share memory"),
    ],
)
def test_tensors_without_values_of_their_own_are_refused(build, complaint):
    model = build()
    with refused(complaint, model, error=PruningError):
        prune(model, 0.5)


def test_a_model_on_the_meta_device_is_refused():
    with pytest.raises(PruningError, match=r"'0\.weight' is on the meta device.*to_empty"):
        prune(nn.Sequential(nn.Linear(3, 3)).to("meta"), 0.5)


@pytest.mark.parametrize(
    ("build", "exclude", "left"),
    [
        (weight_normed, ("1.weight",), ["0.weight"]),
        (spectrally_normed, ("1.weight",), ["0.weight"]),
        (adapted, ("0.base_layer.weight", "0.lora_A.weight", "0.lora_B.weight"), ["1.weight"]),
    ],
)
def test_the_selection_that_a_refusal_names_leaves_the_rest(build, exclude, left):
    assert list(prune(build(), 0.5, selection=Selection(exclude=exclude))) == left


def test_a_tied_parameter_is_prunable_where_it_passes_under_all_its_names():
    assert names(Tied()) == ["body.weight"]
    kinds = ("dense", "output", "embedding")
    assert names(Tied(), Selection(kinds=kinds)) == ["embed.weight", "body.weight"]
    assert names(Tied(), Selection(kinds=kinds, exclude=("head",))) == ["body.weight"]


@pytest.mark.parametrize(
    ("selection", "complaint"),
    [
        (Selection(include=("fc*",)), r"'fc\*' matches no layer.*Layers: 1, 3, 5"),
        (Selection(exclude=("11",)), "'11' matches no layer and no parameter; did you mean '1'"),
        (Selection(output="55"), "output layer '55'.*did you mean '5'"),
        (Selection(kinds=("conv",)), "leaves nothing to prune"),
        (Selection(where=lambda name, module: False), "leaves nothing to prune"),
    ],
)
def test_a_selection_that_fits_nothing_is_refused_with_what_there_is(selection, complaint):
    model = net("dense")
    with refused(complaint, model, error=PruningError):
        prune(model, 0.5, selection=selection)


def test_an_unknown_kind_of_layer_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(PruningError, match=r"'dence'.*did you mean 'dense'"):
        Selection(kinds=("dence", "output"))
