"""Networks of one's own, named in the ``[model]`` table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lthprune.errors import RecipeError
from lthprune.models.build import build_model, initialise
from lthprune.models.spec import ModelSpec
from lthprune.pruning.state import snapshot
from tests.nets import all_bits
from tests.own_parts import imports_restored, write_module

NAME = "my_nets_here"
NETS = """
    import itertools
    import numpy as np
    import torch
    from torch import nn

    def build(input_shape, outputs, *, width=6):
        features = int(np.prod(input_shape))
        return nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, outputs))

    def wrong_outputs(input_shape, outputs):
        return build(input_shape, outputs + 1)

    def for_images(input_shape, outputs):
        return nn.Conv2d(input_shape[0], outputs, 3)

    def nothing(input_shape, outputs):
        return None

    def failing(input_shape, outputs):
        return nn.Linear(input_shape, outputs)

    class Bare(nn.Linear):
        def __init__(self, input_shape, outputs):
            super().__init__(input_shape[0], outputs)

    ONE = nn.Linear(4, 2)

    def one(input_shape, outputs):
        return ONE

    draws = np.random.default_rng(0)

    def unseeded(input_shape, outputs):
        model = nn.Linear(input_shape[0], outputs)
        with torch.no_grad():
            model.weight.copy_(torch.from_numpy(draws.standard_normal((outputs, input_shape[0]))))
        return model
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path, NAME, NETS)
    with imports_restored(NAME):
        yield


def built(function: str, seed: int = 0, **settings: Any) -> nn.Module:
    spec = ModelSpec(kind=f"{NAME}:{function}", settings=settings or None)
    return build_model(spec, (4,), 2, torch.Generator().manual_seed(seed), trust_code=True)


def test_a_function_gets_the_shape_of_the_data_and_its_settings() -> None:
    model = built("build", width=9)
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [(9, 4), (9,), (2, 9), (2,)]
    assert isinstance(built("Bare"), nn.Linear)


def test_the_seed_decides_the_weights_and_torchs_own_generator_stays_as_it_is() -> None:
    built("build")  # the module itself draws when it is imported
    before = torch.get_rng_state()
    first, again, other = (snapshot(built("build", seed)) for seed in (0, 0, 1))
    assert all_bits(first) == all_bits(again) != all_bits(other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("wrong_outputs", r"returns a tensor of shape \(2, 3\), where a tensor of shape \(2, 2\) is needed"),
        ("for_images", r"cannot be trained on a batch of shape \(2, 4\): .*Change the function, its settings, or"),
        ("nothing", "the function returned NoneType; it must return an nn.Module"),
        ("failing", r"for inputs of shape \(4,\) and 2 outputs, the function failed with TypeError"),
        ("one", "returned one network twice"),
        ("unseeded", r"two calls from the same seed returned different weights \(weight\)"),
    ],
)
def test_a_faulty_function_is_refused_with_what_it_did(function: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        built(function)
    assert f'[model] kind = "{NAME}:{function}"' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_consent_no_network_is_built() -> None:
    with pytest.raises(RecipeError, match="--trust-code"):
        build_model(ModelSpec(kind=f"{NAME}:build"), (4,), 2, torch.Generator())


def test_weights_of_a_network_of_ones_own_are_not_drawn_by_lthprune() -> None:
    with pytest.raises(RecipeError, match="my_nets_here:build draws the weights of its network"):
        initialise(built("build"), ModelSpec(kind=f"{NAME}:build"), torch.Generator())
