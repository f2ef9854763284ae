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
