"""Sparse layers on samples as torch has them equal numpy's dense products, for any sizes, panels and patterns."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthprune.kernels import gather, scatter_sums, sparse_backward, sparse_forward, sparse_forward_few
from lthprune.kernels.lanes import LANES
from lthprune.kernels.sparse_layers import read_tile, write_tile
from tests.strategies import seeds

NUMBERS = (np.float32, np.float64)
SAMPLES = st.sampled_from([1, 3, 4, 7, 63, 64, 65, 130])
SIZES = st.sampled_from([1, 5, 8, 63, 64, 65, 70])
DENSITIES = st.sampled_from([0.0, 0.02, 0.3, 1.0])


class Layer(NamedTuple):
    """A sparse layer, and inputs and gradients of its outputs for some samples."""

    weight: np.ndarray
    bias: np.ndarray
    mask: np.ndarray
    x: np.ndarray
    deltas: np.ndarray

    @classmethod
    def drawn(cls, number: type, seed: int, samples: int, out: int, into: int, density: float) -> "Layer":
        random = np.random.default_rng(seed)
        mask = random.random((out, into)) < density
        shapes = (out, into), (out,), (samples, into), (samples, out)
        weight, bias, x, deltas = (random.normal(size=shape).astype(number) for shape in shapes)
        return cls(weight * mask, bias, mask, x, deltas)


def close(found: np.ndarray, expected: np.ndarray, terms: int) -> None:
    tolerance = 8 * (terms + 1) * np.finfo(found.dtype).eps
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("number", NUMBERS)
@given(seed=seeds, samples=SAMPLES, features=SIZES, data=st.data())
def test_tiles_are_read_and_written_as_far_as_there_are_samples(number, seed, samples, features, data):
    values = np.random.default_rng(seed).normal(size=(samples, features)).astype(number)
    sample = data.draw(st.sampled_from(range(0, samples, LANES)))
    feature = data.draw(st.sampled_from(range(0, features, LANES)))
    own = values[sample : sample + LANES, feature : feature + LANES]
    tile = np.full((own.shape[1], LANES), np.nan, number)
    read_tile(values, sample, feature, tile)
    np.testing.assert_array_equal(tile[:, : len(own)], own.T)
    assert not tile[:, len(own) :].any()
    written, expected = np.zeros_like(values), np.zeros_like(values)
    write_tile(tile, written, sample, feature)
    expected[sample : sample + LANES, feature : feature + LANES] = own
    np.testing.assert_array_equal(written, expected)


@pytest.mark.parametrize("number", NUMBERS)
@given(seed=seeds, samples=SAMPLES, out=SIZES, into=SIZES, density=DENSITIES, biased=st.booleans())
def test_products_equal_those_of_dense_weights(number, seed, samples, out, into, density, biased):
    layer = Layer.drawn(number, seed, samples, out, into, density)
    rows, columns = layer.mask.nonzero()
    starts = np.concatenate([[0], layer.mask.sum(axis=1).cumsum()]).astype(np.int32)
    bias = layer.bias if biased else layer.bias[:0]
    pattern = layer.weight[rows, columns], starts, columns.astype(np.int32), bias, layer.x
    few, panels = (np.full((samples, out), np.nan, number) for _ in range(2))
    sparse_forward_few(*pattern, few)
    last = -(-samples // LANES)
    for first in reversed(range(last)):
        sparse_forward(*pattern, panels, first, first + 1)
    expected = layer.x @ layer.weight.T + (layer.bias if biased else 0)
    close(few, expected, into)
    close(panels, expected, into)


@pytest.mark.parametrize("number", NUMBERS)
@given(
    seed=seeds,
    samples=SAMPLES,
    out=SIZES,
    into=SIZES,
    density=DENSITIES,
    wanted=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_gradients_are_added_up_over_panels_and_only_those_that_are_wanted(
    number, seed, samples, out, into, density, wanted
):
    layer = Layer.drawn(number, seed, samples, out, into, density)
    tiles = -(-out // LANES)
    entries = sorted((row // LANES, column, row) for row, column in zip(*layer.mask.nonzero(), strict=True))
    tile, columns, rows = (np.array(each, np.int32) for each in (zip(*entries, strict=True) if entries else ([],) * 3))
    cells = tile.astype(np.int64) * into + columns
    starts = np.array([np.searchsorted(cells, t * into + np.arange(into + 1)) for t in range(tiles)], np.int32)
    of_weights, of_biases, of_inputs = wanted
    gradient = np.ones(len(entries) if of_weights else 0, number)
    bias = np.ones(out if of_biases else 0, number)
    under = np.full((samples if of_inputs else 0, into), np.nan, number)
    order = starts, rows % LANES, columns
    for first in range(-(-samples // LANES)):
        sparse_backward(
            layer.weight[rows, columns], *order, layer.x, layer.deltas, gradient, bias, under, first, first + 1
        )
    if of_weights:
        close(gradient, 1 + (layer.deltas.T @ layer.x)[rows, columns], samples)
    if of_biases:
        close(bias, 1 + layer.deltas.sum(axis=0), samples)
    if of_inputs:
        close(under, layer.deltas @ layer.weight, out)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@given(seed=seeds, parts=st.integers(1, 4), left=st.integers(0, 20))
def test_weights_are_gathered_and_sums_of_parts_are_scattered(index, seed, parts, left):
    random = np.random.default_rng(seed)
    weights, places = random.normal(size=30), random.permutation(30)[:left].astype(index)
    values = np.empty(left)
    gather(weights, places, values)
    np.testing.assert_array_equal(values, weights[places])
    sums, expected = np.zeros(30), np.zeros(30)
    each = random.normal(size=(parts, left))
    scatter_sums(each, places, sums)
    expected[places] = each.sum(axis=0)
    np.testing.assert_allclose(sums, expected, atol=1e-12)
