"""Transposition equals numpy's for any part of a matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from lthprune.kernels.lanes import turn_block
from lthprune.kernels.turning import turn
from tests.strategies import seeds

NUMBERS = (np.float32, np.float64)
PLACES, SIZES = st.integers(0, 9), st.integers(0, 20)


@njit
def turned(out: np.ndarray, place: int, step: int, values: np.ndarray, start: int, stride: int) -> None:
    turn_block(out, place, step, values, start, stride)


@pytest.mark.parametrize("number", NUMBERS)
@given(seed=seeds, place=st.integers(0, 3), step=st.integers(8, 12), start=st.integers(0, 3), stride=st.integers(8, 12))
def test_a_block_of_8_by_8_is_transposed_and_nothing_else_is_written(number, seed, place, step, start, stride):
    values = np.random.default_rng(seed).normal(size=100).astype(number)
    out = np.zeros(100, number)
    turned(out, place, step, values, start, stride)
    expected = np.zeros(100, number)
    for i in range(8):
        for j in range(8):
            expected[place + j * step + i] = values[start + i * stride + j]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("number", NUMBERS)
@given(
    seed=seeds, to=st.tuples(PLACES, PLACES), of=st.tuples(PLACES, PLACES), size=st.tuples(SIZES, SIZES), more=PLACES
)
def test_any_part_is_transposed_and_nothing_else_is_written(number, seed, to, of, size, more):
    random, (rows, columns) = np.random.default_rng(seed), size
    values = random.normal(size=(of[0] + rows, of[1] + columns + more)).astype(number)
    out = random.normal(size=(to[0] + columns, to[1] + rows + 9 - more)).astype(number)
    expected = out.copy()
    expected[to[0] :, to[1] : to[1] + rows] = values[of[0] :, of[1] : of[1] + columns].T
    turn(out, *to, values, *of, rows, columns)
    np.testing.assert_array_equal(out, expected)
