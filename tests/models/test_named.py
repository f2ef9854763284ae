"""Networks of torchvision and timm: built by name, from a generator alone, and refused where they cannot be trained."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from lthprune.errors import RecipeError
from lthprune.models.build import build_model, initialise
from lthprune.models.spec import ModelSpec
from lthprune.pruning.state import live_state, snapshot
from tests.nets import all_bits

IMAGE = (3, 32, 32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spec(name: str = "shufflenet_v2_x0_5", kind: str = "torchvision", **settings: Any) -> ModelSpec:
    return ModelSpec.model_validate({"kind": kind, "name": name, "settings": settings})


def build(
    name: str, kind: str = "torchvision", shape: tuple[int, ...] = IMAGE, samples: int = 2, **settings: Any
) -> nn.Module:
    return build_model(spec(name, kind, **settings), shape, 7, generator(), samples=samples)


@pytest.mark.parametrize("zero", [False, True])
def test_a_torchvision_network_has_the_outputs_of_the_data_and_takes_settings(zero: bool) -> None:
    model = build("resnet18", zero_init_residual=zero)
    assert model(torch.zeros(2, *IMAGE)).shape == (2, 7)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_176_512 + 513 * 7
    assert live_state(model)["layer1.0.bn2.weight"].any() == (not zero)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_timm_network_has_the_channels_and_outputs_of_the_data_and_takes_settings(channels: int) -> None:
    pytest.importorskip("timm")
    model = build("resnet10t", "timm", (channels, 32, 32), drop_rate=0.25)
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 7)
    assert model.drop_rate == 0.25


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_the_generator_alone_decides_the_weights_and_the_global_one_is_left_alone(seed: int) -> None:
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    first = snapshot(build_model(spec(), IMAGE, 7, generator(seed)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert all_bits(snapshot(build_model(spec(), IMAGE, 7, generator(seed)))) == all_bits(first)
    other = snapshot(build_model(spec(), IMAGE, 7, generator(seed + 1)))
    assert not torch.equal(other["conv1.0.weight"], first["conv1.0.weight"])


def test_one_generator_gives_one_network_after_another() -> None:
    draws = generator()
    first, second = (live_state(build_model(spec(), IMAGE, 7, draws))["fc.weight"] for _ in range(2))
    assert not torch.equal(first, second)


def test_weights_are_those_that_torchvision_draws_itself() -> None:
    from torchvision.models import resnet18

    seed = int(torch.randint(2**63 - 1, (), generator=generator()))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        expected = resnet18(num_classes=7)
    assert all_bits(snapshot(build("resnet18"))) == all_bits(snapshot(expected))


def test_trying_a_network_leaves_its_batch_statistics_gradients_and_mode() -> None:
    model = build("shufflenet_v2_x0_5")
    state = live_state(model)
    assert not any(state[name].any() for name in state if name.endswith(("running_mean", "num_batches_tracked")))
    assert all((state[name] == 1).all() for name in state if name.endswith("running_var"))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"name": "resnet_18"}, ["torchvision has no classification network 'resnet_18'; did you mean 'resnet18'?"]),
        ({"name": "fasterrcnn_resnet50_fpn"}, ["no classification network", "list_models(module=torchvision.models)"]),
        ({"name": "resnet18", "zero_int_residual": True}, ["settings.zero_int_residual", "'zero_init_residual'?"]),
        ({"name": "resnet18", "layers": [1]}, ["cannot be built with the settings {'layers': [1]}", "'layers'"]),
        ({"name": "resnet18", "weights": "DEFAULT"}, ["settings.weights cannot be set", "random weights"]),
        ({"name": "resnet18", "num_classes": 3}, ["settings.num_classes cannot be set", "follow from the data"]),
        ({"name": "resnet18", "shape": (1, 28, 28)}, ["needs images with 3 channels", "1 channel", 'kind = "timm"']),
        ({"name": "resnet18", "shape": (64,)}, ["needs images (C, H, W)", "(64,)"]),
        ({"name": "alexnet"}, ["alexnet", "(2, 3, 32, 32)", "Output size is too small", "[data] size = 224"]),
        ({"name": "vit_b_32"}, ["Wrong image height! Expected 224 but got 32.", "[data] size = 224"]),
        ({"name": "googlenet", "shape": (3, 64, 64)}, ["returns GoogLeNetOutputs", "aux_logits = false"]),
        ({"name": "resnet18", "samples": 1}, ["(1, 3, 32, 32)", "more than 1 value", "a larger batch_size"]),
    ],
)
def test_what_torchvision_cannot_build_or_train_is_refused_in_one_line(words: dict[str, Any], says: list[str]) -> None:
    before = torch.get_rng_state()
    with pytest.raises(RecipeError) as caught:
        build(**words)
    message = str(caught.value)
    assert all(each in message for each in says), message
    assert "\n" not in message
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"name": "resnet_18"}, ["timm has no classification network 'resnet_18'; did you mean 'resnet18'?"]),
        ({"name": "hf-hub:timm/resnet18.a1_in1k"}, ["no classification network", "timm.list_models()"]),
        ({"name": "resnet10t", "zero_init_lst": True}, ["settings.zero_init_lst", "did you mean 'zero_init_last'?"]),
        ({"name": "resnet10t", "pretrained": True}, ["settings.pretrained cannot be set"]),
        ({"name": "resnet10t", "in_chans": 3}, ["settings.in_chans cannot be set"]),
        ({"name": "resnet10t", "features_only": True}, ["it returns list", "(2, 7) is needed"]),
        ({"name": "vit_tiny_patch16_224"}, ["Input height (32) doesn't match model (224)", "[data] size = 224"]),
        ({"name": "resnet10t", "shape": (16,)}, ["needs images (C, H, W)"]),
    ],
)
def test_what_timm_cannot_build_or_train_is_refused_in_one_line(words: dict[str, Any], says: list[str]) -> None:
    pytest.importorskip("timm")
    with pytest.raises(RecipeError) as caught:
        build(kind="timm", **words)
    assert all(each in str(caught.value) for each in says), str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_make_networks_fit_that_would_not() -> None:
    assert build("googlenet", shape=(3, 64, 64), aux_logits=False, init_weights=False).training
    assert build("vit_b_32", image_size=32).training


def test_timm_that_is_not_installed_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError, match=r"pip install 'lthprune\[timm\]'"):
        build("resnet18", "timm")


def test_the_weights_of_a_librarys_network_are_not_drawn_anew_in_place() -> None:
    model = build("shufflenet_v2_x0_5")
    before = all_bits(snapshot(model))
    with pytest.raises(RecipeError, match="torchvision draws the weights of shufflenet_v2_x0_5"):
        initialise(model, spec(), generator(1))
    assert all_bits(snapshot(model)) == before
