"""Inputs come back from their differences, by sample, by panel and by feature."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthprune.kernels.inputs import Inputs, by_column, clear_panel, read_panel, read_rows
from lthprune.kernels.lanes import LANES
from tests.laid import ALONE, laid, mostly, teams
from tests.strategies import seeds

SAMPLES = st.sampled_from([1, 3, 63, 64])
SHARES = st.sampled_from([0.0, 0.1, 1.0])
NUMBERS = pytest.mark.parametrize("number", [np.float32, np.float64])


def sparse_inputs(seed: int, number: type, share: float, features: int = 9) -> Inputs:
    random = np.random.default_rng(seed)
    background = random.normal(size=features).astype(number)
    return laid(mostly(background, 70, random, share), background)


def blank_panel(inputs: Inputs) -> np.ndarray:
    """A panel that is all background."""
    return np.repeat(inputs.background[:, None], LANES, axis=1)


def drawn(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(70, size=count)


@NUMBERS
@given(seed=seeds, share=SHARES)
def test_differences_and_background_make_the_inputs(number: type, seed: int, share: float) -> None:
    inputs = sparse_inputs(seed, number, share)
    whole = np.tile(inputs.background.astype(np.float64), (70, 1))
    for sample in range(70):
        own = slice(inputs.starts[sample], inputs.starts[sample + 1])
        assert (np.diff(inputs.columns[own]) > 0).all()
        whole[sample, inputs.columns[own]] += inputs.numbers[own]
    np.testing.assert_allclose(whole, inputs.dense, rtol=0, atol=8 * np.finfo(number).eps)
    assert len(inputs.numbers) == len(inputs.columns) == (inputs.dense != inputs.background).sum()


@NUMBERS
@given(seed=seeds, share=SHARES, count=SAMPLES)
def test_a_panel_holds_its_samples_and_is_background_once_cleared(
    number: type, seed: int, share: float, count: int
) -> None:
    inputs, samples = sparse_inputs(seed, number, share), drawn(seed, count)
    x, features = blank_panel(inputs), np.arange(9, dtype=np.int32)
    blank = x.copy()
    for members in (1, 3):
        for member in teams(members):
            read_panel(inputs, samples, features, x, member)
        np.testing.assert_allclose(x[:, :count], inputs.dense[samples].T, rtol=0, atol=8 * np.finfo(number).eps)
        assert (x[:, count:] == blank[:, count:]).all()
        for member in teams(members):
            clear_panel(inputs, samples, x, member)
        assert (x == blank).all()


@NUMBERS
@given(seed=seeds, count=SAMPLES, chosen=st.sets(st.integers(0, 39)), members=st.integers(1, 4))
def test_a_panel_of_dense_inputs_holds_the_features_that_are_read(
    number: type, seed: int, count: int, chosen: set[int], members: int
) -> None:
    dense = np.random.default_rng(seed).normal(size=(70, 40)).astype(number)
    inputs, samples, features = laid(dense), drawn(seed, count), np.array(sorted(chosen), np.int32)
    x = blank_panel(inputs)
    for member in teams(members):
        read_panel(inputs, samples, features, x, member)
    assert (x[features, :count] == dense[samples].T[features]).all()
    assert not np.delete(x, features, axis=0).any()
    clear_panel(inputs, samples, x, ALONE)
    assert (x[features, :count] == dense[samples].T[features]).all()


@NUMBERS
@given(seed=seeds, count=SAMPLES, members=st.integers(1, 4))
def test_rows_hold_the_samples_and_0_beyond_them(number: type, seed: int, count: int, members: int) -> None:
    dense = np.random.default_rng(seed).normal(size=(70, 5)).astype(number)
    inputs, samples, rows = laid(dense), drawn(seed, count), np.full((LANES, 5), np.nan, number)
    for member in teams(members):
        read_rows(inputs, samples, rows, member)
    assert (rows[:count] == dense[samples]).all()
    assert not rows[count:].any()


@NUMBERS
@given(seed=seeds, share=SHARES, count=SAMPLES)
def test_differences_by_column_are_those_by_sample(number: type, seed: int, share: float, count: int) -> None:
    inputs, samples = sparse_inputs(seed, number, share), drawn(seed, count)
    columns = by_column(inputs, samples)
    expected = np.zeros((9, LANES), number)
    expected[:, :count] = np.where(
        inputs.dense[samples] != inputs.background, inputs.dense[samples] - inputs.background, 0
    ).T
    found = np.zeros_like(expected)
    for feature in range(9):
        own = slice(columns.starts[feature], columns.starts[feature + 1])
        found[feature, columns.samples[own]] = columns.numbers[own]
    assert (found == expected).all()
    assert columns.starts[-1] == len(columns.samples) == (expected != 0).sum()


def test_an_input_of_nan_differs_from_any_background() -> None:
    dense = np.zeros((2, 3), np.float32)
    dense[1, 2] = np.nan
    inputs = laid(dense, np.zeros(3, np.float32))
    assert inputs.starts.tolist() == [0, 0, 1]
    assert inputs.columns.tolist() == [2]
    assert np.isnan(inputs.numbers).all()
