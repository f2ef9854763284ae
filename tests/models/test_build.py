import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import lthprune
from lthprune.errors import RecipeError
from lthprune.models.blueprint import build_from, describe
from lthprune.models.build import ACTIVATIONS, build_model, initialise
from lthprune.models.spec import ModelSpec
from lthprune.pruning.state import live_state, snapshot
from tests.nets import all_bits, outputs
from tests.strategies import seeds


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def listed(
    *conv: int | str, dense: tuple[int, ...] = (), shape: tuple[int, ...] = (1, 8, 8), **words: object
) -> object:
    spec = ModelSpec.model_validate({"kind": "plan", "conv": conv, "dense": dense, **words})
    return build_model(spec, shape, 3, generator())


def test_a_list_becomes_convolutions_norms_and_poolings_in_its_order() -> None:
    model = listed(4, "8B", "M", "6", "A", dense=(5,), activation="tanh")
    assert isinstance(model, nn.Sequential)
    names = "conv1 activation1 conv2 norm2 activation2 pool1 conv3 activation3 pool2 flatten dense1 activation4 output"
    assert [name for name, _ in model.named_children()] == names.split()
    kinds = {name: type(layer) for name, layer in model.named_children()}
    assert (kinds["norm2"], kinds["pool1"], kinds["pool2"]) == (nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
    assert {kinds[f"activation{index}"] for index in range(1, 5)} == {nn.Tanh}
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 3)
    assert model.get_submodule("dense1").in_features == 6 * 2 * 2


@given(
    conv=st.lists(st.sampled_from([2, "3B", "M", "A"]), max_size=4)
    | st.lists(st.sampled_from([2, "3B", "M"]), max_size=3).map(lambda items: [*items, "G"]),
    dense=st.lists(st.integers(1, 6), max_size=3),
    image=st.tuples(st.integers(1, 3), st.integers(16, 20), st.integers(16, 20)),
    kernel_size=st.integers(1, 4),
    classes=st.integers(1, 4),
)
def test_a_listed_network_returns_one_number_for_each_class(
    conv: list[int | str], dense: list[int], image: tuple[int, ...], kernel_size: int, classes: int
) -> None:
    words = {"kind": "plan", "conv": conv, "dense": dense, "kernel_size": kernel_size}
    model = build_model(ModelSpec.model_validate(words), image, classes, generator())
    assert model(torch.zeros(2, *image)).shape == (2, classes)
    assert sum(isinstance(layer, nn.Linear) for layer in model) == len(dense) + 1


def test_a_network_without_convolutions_takes_vectors_and_images() -> None:
    spec = ModelSpec(kind="mlp", dense=(4,))
    assert build_model(spec, (7,), 2, generator())(torch.zeros(3, 7)).shape == (3, 2)
    assert build_model(spec, (1, 2, 5), 2, generator())(torch.zeros(3, 1, 2, 5)).shape == (3, 2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_follows_every_layer_but_the_output(activation: str) -> None:
    model = listed(2, dense=(3,), activation=activation)
    assert isinstance(model, nn.Sequential)
    kinds = [type(layer) for layer in model]
    assert kinds.count(ACTIVATIONS[activation]) == 2  # type: ignore[arg-type]
    assert kinds[-1] is nn.Linear


@pytest.mark.parametrize(
    ("conv", "words", "at"),
    [((4, "M", "M", "M", "A"), {}, "pool4"), ((4, 4), {"kernel_size": 5, "padding": 0}, "conv2")],
)
def test_convolutions_that_shrink_images_to_nothing_are_refused_at_the_first_such_layer(
    conv: tuple[int | str, ...], words: dict[str, object], at: str
) -> None:
    with pytest.raises(RecipeError, match=f"8x8 pixels to nothing at {at};"):
        listed(*conv, **words)


def test_convolutions_on_vectors_are_refused() -> None:
    with pytest.raises(RecipeError, match="need images"):
        listed(4, shape=(64,))


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        ("glorot_normal", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
        ("glorot_uniform", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
        ("kaiming_normal", lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
        ("kaiming_uniform", lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
        ("normal", lambda fan_in, fan_out: 0.03),
    ],
)
def test_initial_weights_have_the_spread_and_shape_that_their_names_promise(init: str, deviation: object) -> None:
    assert callable(deviation)
    model = listed(64, dense=(200,), shape=(32, 8, 8), init=init, init_std=0.03)
    assert isinstance(model, nn.Sequential)
    for name, fans in {"conv1": (32 * 9, 64 * 9), "dense1": (64 * 64, 200)}.items():
        weight = live_state(model)[f"{name}.weight"].detach()
        std = deviation(*fans)
        assert float(weight.mean()) == pytest.approx(0, abs=0.05 * std)
        assert float(weight.std()) == pytest.approx(std, rel=0.03)
        widest = float(weight.abs().max()) / std
        assert widest <= math.sqrt(3) + 1e-4 if "uniform" in init else widest > 3


def test_biases_begin_within_the_bounds_of_pytorchs_default_where_asked_to_and_weights_do_not_mind() -> None:
    zeros, uniform = (live_state(listed(4, "8B", dense=(50,), bias_init=kind)) for kind in ("zeros", "uniform"))
    for layer, fan_in in (("conv1", 9), ("conv2", 36), ("dense1", 8 * 8 * 8), ("output", 50)):
        assert torch.equal(zeros[f"{layer}.weight"], uniform[f"{layer}.weight"])
        bias = uniform[f"{layer}.bias"].abs()
        assert 0.3 * fan_in**-0.5 < bias.max() <= fan_in**-0.5
        assert len(bias.unique()) == len(bias)
    assert not uniform["norm2.bias"].any()


def test_biases_begin_at_zero_and_batch_norms_as_the_identity() -> None:
    model = listed("4B", dense=(5,))
    assert isinstance(model, nn.Sequential)
    state = live_state(model)
    assert not any(state[f"{layer}.bias"].any() for layer in ("conv1", "dense1", "output", "norm1"))
    assert (state["norm1.weight"] == 1).all()
    assert (state["norm1.running_var"] == 1).all()
    assert not state["norm1.running_mean"].any()


@given(seeds)
def test_the_generator_alone_decides_the_weights_and_the_global_one_is_left_alone(seed: int) -> None:
    spec = ModelSpec(kind="plan", conv=("3B",), dense=(4,))
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    first = build_model(spec, (1, 5, 5), 2, generator(seed))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert all_bits(snapshot(build_model(spec, (1, 5, 5), 2, generator(seed)))) == all_bits(snapshot(first))
    other = build_model(spec, (1, 5, 5), 2, generator(seed + 1))
    assert not torch.equal(live_state(other)["dense1.weight"], live_state(first)["dense1.weight"])


def test_drawing_anew_reaches_a_pruned_models_weights_and_leaves_its_masks() -> None:
    spec = ModelSpec(kind="plan", conv=("3B",), dense=(4,))
    model, fresh = (build_model(spec, (1, 4, 4), 2, generator(seed)) for seed in (0, 1))
    lthprune.prune(model, 0.5)
    with torch.no_grad():
        live_state(model)["dense1.bias"].fill_(1)
        live_state(model)["norm1.running_mean"].fill_(1)
    masks = {name: mask.clone() for name, mask in model.named_buffers() if name.endswith("_mask")}
    outputs(model)
    initialise(model, spec, generator(1))
    assert all_bits(live_state(model)) == all_bits(live_state(fresh))
    assert all(torch.equal(mask, dict(model.named_buffers())[name]) for name, mask in masks.items())
    weight, mask = model.get_submodule("dense1").weight, masks["dense1.weight_mask"]
    assert isinstance(weight, torch.Tensor)
    assert torch.equal(weight.detach(), live_state(fresh)["dense1.weight"] * mask)


def test_dropout_follows_every_hidden_dense_layer_and_changes_no_weight() -> None:
    spec = ModelSpec(kind="plan", conv=(3, "M"), dense=(4, 5))
    plain = build_model(spec, (1, 4, 4), 2, generator(0))
    dropping = build_model(spec.model_copy(update={"dropout": 0.5}), (1, 4, 4), 2, generator(0))
    names = [name for name, _ in dropping.named_children()]
    assert names[-7:] == ["dense1", "activation2", "dropout1", "dense2", "activation3", "dropout2", "output"]
    assert all_bits(snapshot(dropping)) == all_bits(snapshot(plain))
    assert repr(build_from(json.loads(json.dumps(describe(dropping))))) == repr(dropping)
