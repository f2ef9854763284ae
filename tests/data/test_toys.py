import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.data.toys import TOYS, draw_toy
from tests.nets import bits
from tests.strategies import seeds


@given(name=st.sampled_from(sorted(TOYS)), train=st.integers(2, 50), test=st.integers(2, 50), seed=seeds)
def test_a_toy_has_as_many_points_in_the_plane_as_asked_for_of_two_classes_of_one_size(
    name: str, train: int, test: int, seed: int
) -> None:
    raw = draw_toy(name, train, test, seed)
    for x, y, size in ((raw.x_train, raw.y_train, train), (raw.x_test, raw.y_test, test)):
        assert x.shape == (size, 2)
        assert sorted(torch.bincount(y, minlength=2).tolist()) == [size // 2, size - size // 2]


@pytest.mark.parametrize("name", TOYS)
def test_the_seed_decides_what_is_drawn_and_the_test_samples_stay_whatever_is_trained_on(name: str) -> None:
    first, again, larger, other = (draw_toy(name, *words) for words in ((9, 5, 1), (9, 5, 1), (20, 5, 1), (9, 5, 2)))
    assert [bits(each) for each in first] == [bits(each) for each in again]
    assert bits(first.x_test) == bits(larger.x_test)
    assert bits(first.x_test) != bits(other.x_test)
    assert bits(first.x_train) != bits(other.x_train)


def test_circles_lie_within_one_another_and_moons_beside() -> None:
    circles, moons = (draw_toy(name, 2_000, 10, 0) for name in ("circles", "moons"))
    radius = circles.x_train.norm(dim=1)
    assert radius[circles.y_train == 0].mean() == pytest.approx(1, abs=0.02)
    assert radius[circles.y_train == 1].mean() == pytest.approx(0.36, abs=0.02)
    centres = torch.stack([moons.x_train[moons.y_train == label].mean(0) for label in (0, 1)])
    torch.testing.assert_close(centres, torch.tensor([[0, 0.64], [1, -0.14]], dtype=centres.dtype), atol=0.02, rtol=0)


def test_noise_and_factor_replace_the_usual_ones_and_the_points_of_random_tell_nothing() -> None:
    circles = draw_toy("circles", 100, 10, 0, noise=0.0, factor=0.8)
    assert circles.x_train.norm(dim=1)[circles.y_train == 1].numpy() == pytest.approx(0.8)
    usual, same, sharp = (
        draw_toy("moons", 50, 10, 0, **words) for words in ({}, {"noise": 0.1, "factor": 0.9}, {"noise": 0.0})
    )
    assert bits(usual.x_train) == bits(same.x_train) != bits(sharp.x_train)
    random = draw_toy("random", 4_000, 10, 0)
    assert random.x_train.mean(dim=0).tolist() == pytest.approx([0, 0], abs=0.05)
    assert random.x_train.std(dim=0).tolist() == pytest.approx([1, 1], abs=0.05)
    means = torch.stack([random.x_train[random.y_train == label].mean(dim=0) for label in (0, 1)])
    assert (means[0] - means[1]).abs().max() < 0.1
