import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.data.dataset import Raw
from lthprune.data.reducing import keep_classes, resize_images
from lthprune.errors import DataError
from tests.strategies import seeds


def raw(shape: tuple[int, ...] = (2, 6, 6), dtype: torch.dtype = torch.uint8, seed: int = 0) -> Raw:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(256, (50, *shape), generator=generator).to(dtype)
    y = torch.cat([torch.randperm(5, generator=generator) for _ in range(10)])
    return Raw(x[:40], y[:40], x[40:], y[40:])


@given(classes=st.permutations(range(5)), kept=st.integers(2, 5), seed=seeds)
def test_the_samples_of_the_classes_stay_as_they_are_in_their_order_and_are_renumbered(
    classes: list[int], kept: int, seed: int
) -> None:
    whole, chosen = raw(seed=seed), classes[:kept]
    small = keep_classes(whole, chosen, "mine")
    for x, y, x_all, y_all in (
        (small.x_train, small.y_train, whole.x_train, whole.y_train),
        (small.x_test, small.y_test, whole.x_test, whole.y_test),
    ):
        places = [place for place, label in enumerate(y_all.tolist()) if label in chosen]
        assert torch.equal(x, x_all[places])
        assert [chosen[label] for label in y.tolist()] == y_all[places].tolist()


def test_a_class_that_has_no_samples_is_refused_with_those_that_have() -> None:
    whole = raw()
    whole.y_test[whole.y_test == 4] = 0
    with pytest.raises(DataError, match=r"mine has no training or no test samples of \[7, 4\].*\[0, 1, 2, 3\]"):
        keep_classes(whole, [0, 7, 4], "mine")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_pixel_is_the_mean_of_the_area_that_it_covers(dtype: torch.dtype) -> None:
    whole, scale = raw(dtype=dtype), 255 if dtype == torch.uint8 else 1
    small = resize_images(whole, 3, "mine")
    for x, x_all in ((small.x_train, whole.x_train), (small.x_test, whole.x_test)):
        means = x_all.float().view(len(x), 2, 3, 2, 3, 2).mean(dim=(3, 5)) / scale
        torch.testing.assert_close(x, means)
    assert torch.equal(small.y_train, whole.y_train)


@given(st.integers(1, 13))
def test_images_of_any_size_keep_what_is_constant(size: int) -> None:
    grey = Raw(torch.full((2, 1, 5, 7), 51, dtype=torch.uint8), torch.zeros(2), torch.ones(1, 1, 5, 7), torch.zeros(1))
    resized = resize_images(grey, size, "mine")
    torch.testing.assert_close(resized.x_train, torch.full((2, 1, size, size), 0.2))
    torch.testing.assert_close(resized.x_test, torch.ones(1, 1, size, size))


def test_vectors_are_not_resized() -> None:
    with pytest.raises(DataError, match="size = 3, but mine has vectors of 6 features and no images"):
        resize_images(raw((6,)), 3, "mine")
