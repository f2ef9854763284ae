"""Products of a layer and a panel equal numpy's, forward and backward, in every form of the weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthprune.kernels.inputs import by_column
from lthprune.kernels.lanes import LANES
from lthprune.kernels.products import (
    dense_backward,
    dense_forward,
    dense_gradient,
    dots,
    rows_forward,
    rows_gradient,
    wide_forward,
    wide_gradient,
)
from tests.laid import laid, mostly, teams
from tests.strategies import seeds

NUMBERS = pytest.mark.parametrize("number", [np.float32, np.float64])
WIDTHS = st.sampled_from([1, 2, 5, 64, 65, 130])
SAMPLES = st.sampled_from([1, 3, 63, 64])
TEAMS = st.integers(1, 4)
TOLERANCE = {np.float32: 1e-4, np.float64: 1e-12}


def drawn(random: np.random.Generator, number: type, *shape: int) -> np.ndarray:
    return random.normal(size=shape).astype(number)


def blocks_of(weight: np.ndarray) -> np.ndarray:
    """Weights (out, in) by blocks of 64 outputs, (blocks, in, 64), filled up with zeros."""
    out, features = weight.shape
    padded = np.zeros((-(-out // LANES) * LANES, features), weight.dtype)
    padded[:out] = weight
    return np.ascontiguousarray(padded.reshape(-1, LANES, features).transpose(0, 2, 1))


@NUMBERS
@given(seed=seeds, out=WIDTHS, features=WIDTHS, density=st.sampled_from([0.0, 0.05, 0.5, 1.0]), members=TEAMS)
def test_rows_multiply_as_the_masked_matrix_does(
    number: type, seed: int, out: int, features: int, density: float, members: int
) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((out, features)) < density
    weight, x = drawn(random, number, out, features) * mask, drawn(random, number, features, LANES)
    row, column = (places.astype(np.int32) for places in mask.nonzero())
    starts = np.concatenate([[0], mask.sum(axis=1).cumsum()]).astype(np.int32)
    before, deltas = drawn(random, number, out, LANES), drawn(random, number, out, LANES)
    sums, gradient = before.copy(), np.full(len(row), np.nan, number)
    for member in teams(members):
        rows_forward(weight[mask], starts, column, x, sums, member)
        rows_gradient(gradient, row, column, x, deltas, member)
    np.testing.assert_allclose(sums, before + weight @ x, rtol=0, atol=TOLERANCE[number])
    np.testing.assert_allclose(gradient, (deltas @ x.T)[mask], rtol=0, atol=TOLERANCE[number])


@NUMBERS
@given(seed=seeds, out=WIDTHS, features=st.sampled_from([16, 17, 31, 64, 100]), members=TEAMS)
def test_dense_weights_multiply_as_a_matrix_forward_and_backward(
    number: type, seed: int, out: int, features: int, members: int
) -> None:
    random = np.random.default_rng(seed)
    weight, x = drawn(random, number, out, features), drawn(random, number, features, LANES)
    deltas, sums = drawn(random, number, out, LANES), np.full((out, LANES), np.nan, number)
    below, gradient = np.full_like(x, np.nan), np.full(out * features + 3, 7, number)
    for member in teams(members):
        dense_forward(weight.ravel(), x, sums, member)
        dense_backward(weight.ravel(), deltas, below, member)
        dense_gradient(gradient, np.ascontiguousarray(x.T), deltas, member)
    np.testing.assert_allclose(sums, weight @ x, rtol=0, atol=TOLERANCE[number])
    np.testing.assert_allclose(below, weight.T @ deltas, rtol=0, atol=TOLERANCE[number])
    np.testing.assert_allclose(gradient[:-3], (deltas @ x.T).ravel(), rtol=0, atol=TOLERANCE[number])
    assert (gradient[-3:] == 7).all()


@NUMBERS
@given(
    seed=seeds, out=WIDTHS, count=SAMPLES, share=st.sampled_from([0.0, 0.2, 1.0]), plain=st.booleans(), members=TEAMS
)
def test_wide_weights_multiply_inputs_on_any_background(
    number: type, seed: int, out: int, count: int, share: float, plain: bool, members: int
) -> None:
    random = np.random.default_rng(seed)
    background = np.zeros(12, number) if plain else drawn(random, number, 12)
    inputs = laid(mostly(background, 70, random, share), background)
    samples = random.integers(70, size=count)
    weight, deltas = drawn(random, number, out, 12), np.zeros((out, LANES), number)
    deltas[:, :count] = drawn(random, number, out, count)
    blocks, base = blocks_of(weight), np.zeros((-(-out // LANES), LANES), number)
    base.ravel()[:out] = weight @ background
    sums, gradient = np.full((out, LANES), np.nan, number), np.full_like(blocks, np.nan)
    for member in teams(members):
        wide_forward(blocks, base, inputs, samples, sums, member)
        wide_gradient(gradient, background, by_column(inputs, samples), deltas, member)
    x = inputs.dense[samples].T
    np.testing.assert_allclose(sums[:, :count], weight @ x, rtol=0, atol=TOLERANCE[number])
    assert not sums[:, count:].any()
    np.testing.assert_allclose(gradient, blocks_of(deltas[:, :count] @ x.T), rtol=0, atol=TOLERANCE[number])
    unused = blocks_of(np.ones_like(weight)) == 0
    assert not gradient[unused].any()


@NUMBERS
@given(seed=seeds, number_of=st.integers(1, 50), first=st.integers(0, 20), last=st.integers(0, 20))
def test_the_bits_of_a_dot_product_do_not_depend_on_its_neighbours(
    number: type, seed: int, number_of: int, first: int, last: int
) -> None:
    random = np.random.default_rng(seed)
    left, right = drawn(random, number, 7, LANES), drawn(random, number, 9, LANES)
    lefts, rights = random.integers(0, 7, number_of), random.integers(0, 9, number_of)
    whole, one_by_one = np.zeros(number_of, number), np.zeros(number_of, number)
    dots(whole, left, lefts, right, rights, 0, number_of)
    for place in range(number_of):
        dots(one_by_one, left, lefts, right, rights, place, place + 1)
    assert whole.tobytes() == one_by_one.tobytes()
    part = np.zeros(number_of, number)
    dots(part, left, lefts, right, rights, min(first, number_of), min(first + last, number_of))
    inside = slice(min(first, number_of), min(first + last, number_of))
    assert part[inside].tobytes() == whole[inside].tobytes()
    assert not part[: inside.start].any()
    assert not part[inside.stop :].any()
