from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.data.dataset import Raw, split_and_normalise
from lthprune.errors import DataError
from lthprune.seeds import Seeds
from tests.nets import bits
from tests.strategies import seeds


def raw(
    samples: int = 30, shape: tuple[int, ...] = (2, 3, 3), dtype: torch.dtype = torch.float32, seed: int = 0
) -> Raw:
    """Inputs of whose samples no two are alike, a third as many for testing."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(samples + samples // 3, *shape, generator=generator) * 255
    y = torch.randint(4, (len(x),), generator=generator)
    return Raw(x[:samples].to(dtype), y[:samples], x[samples:].to(dtype), y[samples:])


def generator(seed: int = 0) -> torch.Generator:
    return Seeds(seed).generator("split")


@given(
    samples=st.integers(3, 40),
    shape=st.sampled_from([(5,), (1, 3, 4), (3, 4, 4)]),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float64]),
    seed=seeds,
    share=st.floats(0, 1),
)
def test_every_training_sample_is_trained_on_or_held_out_and_none_is_both(
    samples: int, shape: tuple[int, ...], dtype: torch.dtype, seed: int, share: float
) -> None:
    given_data = raw(samples, shape, dtype, seed)
    validation = 1 + int(share * (samples - 2))
    data = split_and_normalise(given_data, validation, generator(seed))
    assert (len(data.x_train), len(data.x_val)) == (samples - validation, validation)
    assert len(data.x_test) == samples // 3
    scale = 255 if dtype == torch.uint8 else 1
    whole = given_data.x_train.float() / scale
    rank = torch.cat([data.x_train, data.x_val]).flatten(1)[:, 0].argsort(stable=True)
    expected = whole.flatten(1)[:, 0].argsort(stable=True)
    if dtype != torch.uint8:  # bytes have ties
        labels = torch.cat([data.y_train, data.y_val])
        assert torch.equal(labels[rank], given_data.y_train[expected])
    assert torch.bincount(torch.cat([data.y_train, data.y_val]), minlength=4).equal(
        torch.bincount(given_data.y_train, minlength=4)
    )
    assert (data.input_shape, data.x_train.dtype, data.y_train.dtype) == (shape, torch.float32, torch.int64)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("shape", "axes"), [((6,), [0]), ((3, 4, 5), [0, 2, 3])])
def test_every_channel_or_feature_is_scaled_by_the_training_part_alone(
    dtype: torch.dtype, shape: tuple[int, ...], axes: list[int]
) -> None:
    given_data = raw(200, shape, dtype)
    data = split_and_normalise(given_data, 50, generator())
    torch.testing.assert_close(data.x_train.mean(axes), torch.zeros(shape[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.x_train.std(axes, correction=0), torch.ones(shape[0]), atol=1e-4, rtol=0)
    assert (data.x_val.mean(axes).abs() > 1e-4).any()
    kept = torch.randperm(200, generator=generator())[50:]
    x_kept = given_data.x_train[kept].float()
    deviation, mean = torch.std_mean(x_kept, axes, keepdim=True, correction=0)
    torch.testing.assert_close(data.x_test, (given_data.x_test.float() - mean) / deviation, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 255.0])
def test_what_is_constant_is_only_centred(value: float) -> None:
    given_data = raw(100, (3,))
    given_data.x_train[:, 1] = value
    given_data.x_test[:, 1] = value + 2
    data = split_and_normalise(given_data, 10, generator())
    assert not data.x_train[:, 1].any()
    torch.testing.assert_close(data.x_test[:, 1], torch.full((33,), 2.0))
    assert data.x_train.isfinite().all()


@given(seeds)
def test_the_seed_decides_what_is_held_out_and_nothing_else(seed: int) -> None:
    first, again, other = (split_and_normalise(raw(90), 30, generator(each)) for each in (seed, seed, seed + 1))
    for name in ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"):
        assert bits(getattr(first, name)) == bits(getattr(again, name))
    assert bits(first.x_val) != bits(other.x_val)
    assert bits(first.y_test) == bits(other.y_test)
    assert (first.fingerprint, first.tasks) == (other.fingerprint, other.tasks)


def test_the_fingerprint_tells_any_two_data_sets_apart() -> None:
    whole = raw()
    changed = [
        whole,
        whole._replace(x_test=whole.x_test + 1),
        whole._replace(y_train=whole.y_train.flip(0)),
        whole._replace(x_train=whole.x_train.double()),
        whole._replace(x_train=whole.x_train.reshape(30, 2, 9, 1), x_test=whole.x_test.reshape(10, 2, 9, 1)),
    ]
    assert len({split_and_normalise(each, 5, generator()).fingerprint for each in changed}) == len(changed)
    copied = Raw(*(tensor.clone() for tensor in whole))
    assert split_and_normalise(copied, 9, generator(7)).fingerprint == (
        split_and_normalise(whole, 5, generator()).fingerprint
    )


@pytest.mark.parametrize("validation", [0, 30, 31])
def test_a_validation_part_that_leaves_one_side_empty_is_refused(validation: int) -> None:
    with pytest.raises(DataError, match="at least 1 and at most 29"):
        split_and_normalise(raw(30), validation, generator())


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_data_set_with_an_empty_split_is_refused(split: str) -> None:
    data = split_and_normalise(raw(30), 5, generator())
    with pytest.raises(DataError, match=rf"x_{split} is empty, of shape \(0, 2, 3, 3\).*each of its splits"):
        replace(data, **{name: getattr(data, name)[:0] for name in (f"x_{split}", f"y_{split}")})


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.bool])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_labels_that_not_every_engine_reads_are_refused(split: str, dtype: torch.dtype) -> None:
    data = split_and_normalise(raw(30), 5, generator())
    with pytest.raises(DataError, match=rf"y_{split} holds labels of type {dtype}.*y_{split}\.long\(\)"):
        replace(data, **{f"y_{split}": getattr(data, f"y_{split}").to(dtype)})


def test_classes_are_counted_over_training_and_test_data() -> None:
    given_data = raw()
    given_data.y_test[0] = 9
    assert split_and_normalise(given_data, 5, generator()).outputs == 10


def test_moving_to_a_device_moves_every_tensor() -> None:
    data = split_and_normalise(raw(), 5, generator()).to(torch.device("meta"))
    moved = [value for value in vars(data).values() if isinstance(value, torch.Tensor)]
    assert len(moved) == 6
    assert all(tensor.is_meta for tensor in moved)
