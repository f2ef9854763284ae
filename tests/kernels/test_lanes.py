"""The sums over 64 lanes equal numpy's, for any number of terms and wherever in memory they start."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from numba.core.errors import TypingError

from lthprune.kernels.lanes import HEIGHT, LANES, WIDTH, add_rows, dot_rows, multiply_block, multiply_row
from tests.strategies import seeds

NUMBERS = (np.float32, np.float64)
INDICES = (np.int32, np.int64)
COUNTS = st.sampled_from([0, 1, 2, 15, 16, 17, 40])


@njit
def added(out: Any, row: Any, values: Any, columns: Any, panel: Any, start: Any, stop: Any) -> None:
    add_rows(out, row, values, columns, panel, start, stop)


@njit
def dotted(out: Any, left: Any, lefts: Any, right: Any, rights: Any, start: Any, stop: Any) -> None:
    dot_rows(out, left, lefts, right, rights, start, stop)


@njit
def multiplied(
    height: int,
    out: Any,
    out_at: int,
    out_next: int,
    left: Any,
    left_at: int,
    left_next: int,
    left_step: int,
    right: Any,
    right_at: int,
    right_next: int,
    depth: int,
) -> None:
    if height == 1:
        multiply_row(out, out_at, out_next, left, left_at, left_next, left_step, right, right_at, right_next, depth)
    else:
        multiply_block(out, out_at, out_next, left, left_at, left_next, left_step, right, right_at, right_next, depth)


def unaligned(array: np.ndarray, offset: int) -> np.ndarray:
    """The same numbers in memory that begins so many numbers after an allocated address."""
    memory = np.empty(array.size + offset, array.dtype)
    memory[offset:] = array.ravel()
    return memory[offset:].reshape(array.shape)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("index", INDICES)
@given(seed=seeds, count=COUNTS, start=st.integers(0, 5), rows=st.integers(1, 9), offset=st.integers(0, 5))
def test_a_weighted_sum_of_rows_is_added(
    number: type, index: type, seed: int, count: int, start: int, rows: int, offset: int
) -> None:
    random = np.random.default_rng(seed)
    out, panel = (unaligned(random.normal(size=(rows, LANES)).astype(number), offset) for _ in range(2))
    values = unaligned(random.normal(size=start + count + 3).astype(number), offset)
    columns = random.integers(rows, size=len(values)).astype(index)
    row, stop = rows - 1, start + count
    expected, scale = out.astype(np.float64), np.abs(out).astype(np.float64)
    expected[row] += values[start:stop].astype(np.float64) @ panel[columns[start:stop]]
    scale[row] += np.abs(values[start:stop]).astype(np.float64) @ np.abs(panel[columns[start:stop]])
    added(out, row, values, columns, panel, start, stop)
    assert (np.abs(out - expected) <= (count + 1) * np.finfo(number).eps * scale).all()


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("index", INDICES)
@given(seed=seeds, groups=st.integers(0, 3), start=st.integers(0, 17), rows=st.integers(1, 9), offset=st.integers(0, 5))
def test_dot_products_of_pairs_of_rows_are_written(
    number: type, index: type, seed: int, groups: int, start: int, rows: int, offset: int
) -> None:
    random = np.random.default_rng(seed)
    left, right = (unaligned(random.normal(size=(rows, LANES)).astype(number), offset) for _ in range(2))
    stop = start + 16 * groups
    lefts, rights = (unaligned(random.integers(rows, size=stop + 3).astype(index), offset) for _ in range(2))
    out = unaligned(np.full(stop + 3, 7, number), offset)
    expected = np.full(len(out), 7.0)
    pairs = left[lefts[start:stop]].astype(np.float64), right[rights[start:stop]].astype(np.float64)
    expected[start:stop] = (pairs[0] * pairs[1]).sum(axis=1)
    scale = np.zeros(len(out))
    scale[start:stop] = np.abs(pairs[0] * pairs[1]).sum(axis=1)
    dotted(out, left, lefts, right, rights, start, stop)
    assert (np.abs(out - expected) <= LANES * np.finfo(number).eps * scale).all()


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("height", [1, HEIGHT])
@given(seed=seeds, depth=COUNTS, turned=st.booleans(), at=st.integers(0, 5), offset=st.integers(0, 5))
def test_a_block_of_a_matrix_product_is_written_and_nothing_beside_it(
    number: type, height: int, seed: int, depth: int, turned: bool, at: int, offset: int
) -> None:
    random = np.random.default_rng(seed)
    left = unaligned(random.normal(size=(depth, height + 2) if turned else (height + 2, depth)).astype(number), offset)
    right = unaligned(random.normal(size=(depth, WIDTH + 9)).astype(number), offset)
    out = unaligned(np.full((height + 2, WIDTH + 9), 7, number), offset)
    rows, columns = slice(1, 1 + height), slice(at, at + WIDTH)
    factors = (left.T if turned else left)[rows].astype(np.float64), right[:, columns].astype(np.float64)
    expected, scale = np.full(out.shape, 7.0), np.zeros(out.shape)
    expected[rows, columns] = factors[0] @ factors[1]
    scale[rows, columns] = np.abs(factors[0]) @ np.abs(factors[1])
    steps = (1, 1, height + 2) if turned else (depth, depth, 1)  # to the first row, the next row and the next column
    multiplied(height, out, WIDTH + 9 + at, WIDTH + 9, left, *steps, right, at, WIDTH + 9, depth)
    assert (np.abs(out - expected) <= (depth + 1) * np.finfo(number).eps * scale).all()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_product_with_nan_or_infinity_shows(number: type) -> None:
    panel = np.array([[0.0], [np.nan], [np.inf]], number) * np.ones(LANES, number)
    out, columns = np.zeros((3, LANES), number), np.arange(3, dtype=np.int32)
    for row in range(3):
        added(out, row, np.ones(3, number), columns, panel, row, row + 1)
    assert (out[0] == 0).all()
    assert np.isnan(out[1]).all()
    assert (out[2] == np.inf).all()


def test_arrays_with_gaps_are_refused() -> None:
    panel, weights, columns = np.ones((2, LANES)), np.ones(2), np.zeros(2, np.int64)
    with pytest.raises(TypingError, match="contiguous"):
        added(panel, 0, np.ones(4)[::2], columns, panel, 0, 2)
    with pytest.raises(TypingError, match="contiguous"):
        dotted(weights, np.ones((LANES, 2)).T, columns, panel, columns, 0, 0)
    with pytest.raises(TypingError, match="contiguous"):
        multiplied(1, panel, 0, LANES, np.ones((LANES, 2)).T, 0, 1, 1, panel, 0, LANES, 1)
