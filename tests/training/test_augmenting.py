"""Random crops and flips are those of a loop over samples, and every engine trains on the same."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune.errors import RecipeError
from lthprune.experiments.preview import preview_recipe
from lthprune.experiments.recipe import load_recipe
from lthprune.pruning.state import snapshot
from lthprune.training.augmenting import Views, augment
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from tests.nets import all_bits, net
from tests.strategies import seeds
from tests.tiny import noise

DATA = noise(sizes=(40, 12, 15))
DATA = replace(DATA, x_train=DATA.x_train.double(), x_val=DATA.x_val.double(), x_test=DATA.x_test.double())
KINDS = st.sampled_from([("crop",), ("flip",), ("crop", "flip")])


def generators(trials: int = 3, seed: int = 7) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + trial) for trial in range(trials)]


def plan(**words: object) -> TrainingPlan:
    least = {"optimizer": "sgd", "lr": 0.1, "batch_size": 8, "steps": 7, "evaluate_every": 2, "patience": 1}
    return TrainingPlan.model_validate(least | {"augment": ("crop", "flip")} | words)


def trained(form: str, trials: int = 3, start: int = 0, **words: object) -> tuple[str, list[dict[str, Tensor]]]:
    """The engine, and the weights of trials after their training."""
    models: list[nn.Module] = [net(form, seed).double() for seed in range(trials)]
    orders = generators(trials, seed=0)
    done = train_population(models, DATA, plan(**words), orders, augmenters=generators(trials), start=start)
    return done[0].engine, [snapshot(model) for model in models]


@given(seed=seeds, kinds=KINDS, samples=st.integers(1, 5), size=st.tuples(st.integers(1, 3), *[st.integers(1, 9)] * 2))
def test_views_are_those_of_a_loop_over_the_samples(
    seed: int, kinds: tuple[str, ...], samples: int, size: tuple[int, int, int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, views = torch.randn(samples, *size, generator=generator), next(Views(samples, [generator]))[0]
    for image, view, found in zip(images, views.tolist(), augment(images, views, kinds), strict=True):
        mirrored, right, down = view // 81, view // 9 % 9, view % 9
        expected = image
        if "crop" in kinds:
            expected = F.pad(image, (4, 4, 4, 4))[:, down : down + size[1], right : right + size[2]]
        if "flip" in kinds and mirrored:
            expected = expected.flip(2)
        assert torch.equal(found, expected)


def test_all_shifts_and_both_sides_are_drawn() -> None:
    assert set(next(Views(20_000, generators(1)))[0].tolist()) == set(range(162))


@pytest.mark.parametrize(
    ("form", "engine"), [("dense", "stacked"), ("dense", "unhooked"), ("convolutional", "unhooked")]
)
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("kinds", [("crop",), ("crop", "flip")])
def test_every_engine_trains_on_the_views_of_the_plain_loop(
    form: str, engine: str, start: int, kinds: tuple[str, ...]
) -> None:
    found = trained(form, engine="unhooked" if engine == "unhooked" else "auto", start=start, augment=kinds)
    expected = trained(form, engine="reference", start=start, augment=kinds)
    plain = trained(form, engine="reference", start=start, augment=())
    assert (found[0], expected[0]) == (engine, "reference")
    for own, twin, other in zip(found[1], expected[1], plain[1], strict=True):
        assert all_bits(twin) != all_bits(other)
        for name, tensor in twin.items():
            torch.testing.assert_close(own[name], tensor, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_the_views_of_a_trial_do_not_depend_on_the_others(engine: str) -> None:
    together, alone = (trained("convolutional", trials, engine=engine)[1] for trials in (3, 1))
    assert all_bits(together[0]) == all_bits(alone[0])


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_a_late_start_skips_the_views_of_the_steps_before(engine: str) -> None:
    words = {"engine": engine, "patience": None}
    models: list[nn.Module] = [net("convolutional", seed).double() for seed in range(3)]
    for start, steps in ((0, 3), (3, 7)):
        own = plan(**words, steps=steps)
        train_population(models, DATA, own, generators(seed=0), augmenters=generators(), start=start)
    whole = trained("convolutional", **words)[1]
    assert [all_bits(snapshot(model)) for model in models] == [all_bits(state) for state in whole]


def test_vectors_and_flattened_images_are_not_augmented() -> None:
    for name in ("moons-circles", "mnist-fashion"):
        with pytest.raises(RecipeError, match=r"augment = \['flip'\] is for images, and one input"):
            preview_recipe(load_recipe(name, ['train.augment=["flip"]']))


def test_the_compiled_engine_refuses_to_augment() -> None:
    with pytest.raises(RecipeError, match='Use engine = "auto" or "stacked"'):
        trained("dense", engine="compiled")
