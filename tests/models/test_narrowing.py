"""Narrower networks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import RecipeError
from lthprune.models.build import build_model
from lthprune.models.narrowing import narrow, narrow_to
from lthprune.models.spec import ModelSpec

CONV = ModelSpec(kind="conv2", activation="tanh", init="kaiming_normal", bias_init="uniform")
BATCH_NORM = ModelSpec(kind="plan", conv=("8B", "M", "16B"), dense=(20,), kernel_size=5, padding=2)


def weights(spec: ModelSpec) -> int:
    model = build_model(spec, (3, 16, 16), 10, torch.Generator())
    return sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)


LISTED = [
    CONV,
    BATCH_NORM,
    ModelSpec(kind="lenet5"),
    ModelSpec(kind="mlp", dense=(30, 20)),
    ModelSpec(kind="resnet", depth=8, width=8),
    ModelSpec(kind="wide-resnet", depth=10, widen=2),
    ModelSpec(kind="vgg", depth=11),
]


@pytest.mark.parametrize("spec", LISTED, ids=lambda spec: spec.kind)
def test_half_the_factor_leaves_fewer_weights(spec: ModelSpec) -> None:
    assert weights(narrow(spec, 0.5)) < 0.6 * weights(spec)


@pytest.mark.parametrize("spec", LISTED, ids=lambda spec: spec.kind)
def test_a_factor_of_one_leaves_the_network_as_it_is(spec: ModelSpec) -> None:
    same, own = (
        build_model(each, (3, 16, 16), 10, torch.Generator().manual_seed(0)) for each in (narrow(spec, 1), spec)
    )
    assert repr(same) == repr(own)
    assert all(
        one.equal(other) for one, other in zip(same.state_dict().values(), own.state_dict().values(), strict=True)
    )


@given(st.integers(0, 25_000))
def test_no_other_factor_comes_nearer_to_a_number_of_weights(wanted: int) -> None:
    spec = ModelSpec(kind="mlp", dense=(30, 20))
    distances = [abs(weights(narrow(spec, step / 100)) - wanted) for step in range(101)]
    assert abs(weights(narrow_to(spec, wanted, weights)) - wanted) <= min(distances)


def test_a_narrower_network_keeps_activations_initialisation_and_batch_norm() -> None:
    small = narrow(BATCH_NORM, 0.5)
    assert (small.conv, small.dense, small.kernel_size, small.padding) == (("4B", "M", "8B"), (10,), 5, 2)
    small = narrow(CONV, 0.001)
    assert (small.conv, small.dense) == (("1", "1", "M"), (1, 1))
    assert (small.activation, small.init, small.bias_init) == ("tanh", "kaiming_normal", "uniform")


def test_a_network_of_another_library_cannot_be_narrowed() -> None:
    with pytest.raises(RecipeError, match="resnet18 cannot be built: lthprune does not list its layers"):
        narrow(ModelSpec(kind="torchvision", name="resnet18"), 0.5)
