"""A sparse layer on samples as torch has them, (samples, features), forward and backward.

Samples are read into panels (features, 64) and results are written back while they are in the processor's cache.
Deltas are read in tiles of 64 outputs. Within a tile, the remaining weights are in the order of their columns, so that
inputs and their gradients are read and written one after the other.
"""

from typing import Any

import numpy as np

from lthprune.kernels.compiling import compiled, compiled_in_order
from lthprune.kernels.lanes import LANES, add_rows, turn_block
from lthprune.kernels.products import dots


@compiled
def gather(weights: Any, places: Any, out: Any) -> None:
    """Write the remaining weights: ``out = weights[places]``."""
    for place in range(len(places)):
        out[place] = weights[np.uint64(places[place])]


@compiled
def scatter_sums(parts: Any, places: Any, out: Any) -> None:
    """Write the sums of some parts, (parts, remaining): ``out[places] = parts.sum(axis=0)``."""
    for place in range(len(places)):
        total = parts[0, place]
        for part in range(1, len(parts)):
            total += parts[part, place]
        out[np.uint64(places[place])] = total


@compiled_in_order
def sparse_forward_few(values: Any, starts: Any, columns: Any, bias: Any, x: Any, out: Any) -> None:
    """Write ``out = bias + x @ weights.T`` by four samples at a time, which is faster than panels for a few samples.

    Sums keep their order, since LLVM would otherwise gather inputs into vectors, which is slower. Indices are unsigned,
    so that none is checked for counting from the end.

    Args:
        values: the remaining weights, by row.
        starts: where each row's entries start, and their number at the end, (out + 1,).
        columns: the input of each entry.
        bias: (out,), or empty.
        x: (samples, in).
        out: (samples, out).
    """
    together = np.zeros((x.shape[1], 4), x.dtype)
    flat, zero = together.ravel(), x.dtype.type(0)
    for first in range(0, len(x), 4):
        count, own = min(4, len(x) - first), x[first]
        for lane in range(count if count > 1 else 0):
            for feature in range(len(together)):
                together[feature, lane] = x[first + lane, feature]
        for row in range(out.shape[1]):
            weights, places = values[starts[row] : starts[row + 1]], columns[starts[row] : starts[row + 1]]
            a = b = c = d = bias[row] if len(bias) else zero
            if count > 1:
                for entry in range(len(weights)):
                    weight, place = weights[entry], np.uint64(places[entry]) * np.uint64(4)
                    a += weight * flat[place]
                    b += weight * flat[place + np.uint64(1)]
                    c += weight * flat[place + np.uint64(2)]
                    d += weight * flat[place + np.uint64(3)]
                out[first, row] = a
                out[first + 1, row] = b
                if count > 2:
                    out[first + 2, row] = c
                if count > 3:
                    out[first + 3, row] = d
            else:  # four sums of one sample, which wait less for each other
                b = c = d = zero
                even = len(weights) // 4 * 4
                for entry in range(0, even, 4):
                    a += weights[entry] * own[np.uint64(places[entry])]
                    b += weights[entry + 1] * own[np.uint64(places[entry + 1])]
                    c += weights[entry + 2] * own[np.uint64(places[entry + 2])]
                    d += weights[entry + 3] * own[np.uint64(places[entry + 3])]
                for entry in range(even, len(weights)):
                    a += weights[entry] * own[np.uint64(places[entry])]
                out[first, row] = (a + b) + (c + d)


@compiled
def sparse_forward(values: Any, starts: Any, columns: Any, bias: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Do what ``sparse_forward_few`` does for the samples of some panels: from the first up to before the last."""
    panel, tile = np.empty((x.shape[1], LANES), x.dtype), np.empty((LANES, LANES), x.dtype)
    for number in range(first, last):
        sample = number * LANES
        for feature in range(0, len(panel), LANES):
            read_tile(x, sample, feature, panel[feature : feature + LANES])
        for top in range(0, out.shape[1], LANES):
            height = min(LANES, out.shape[1] - top)
            for row in range(height):
                tile[row] = bias[top + row] if len(bias) else x.dtype.type(0)
                add_rows(tile, row, values, columns, panel, starts[top + row], starts[top + row + 1])
            write_tile(tile[:height], out, sample, top)


@compiled
def sparse_backward(
    values: Any,
    starts: Any,
    rows: Any,
    columns: Any,
    x: Any,
    deltas: Any,
    gradient: Any,
    bias: Any,
    under: Any,
    first: int,
    last: int,
) -> None:
    """Add up gradients over the samples of some panels: from the first up to before the last.

    Args:
        values: the remaining weights, by tile of 64 rows and in it by column.
        starts: where the entries of each column of each tile start, (tiles, in + 1).
        rows: the row of each entry, in its tile.
        columns: the column of each entry.
        x: inputs, (samples, in).
        deltas: gradients of the outputs, (samples, out).
        gradient: the gradients of the remaining weights are added to it, in the order of the values; empty if they are
            not needed.
        bias: the gradients of the biases are added to it, (out,); empty if they are not needed.
        under: receives the gradients of the inputs, (samples, in); without samples if they are not needed.
    """
    tile, panel = np.empty((LANES, LANES), x.dtype), np.empty((x.shape[1], LANES), x.dtype)
    below = np.empty((x.shape[1] if len(under) else 0, LANES), x.dtype)
    part = np.empty(np.max(starts[:, -1] - starts[:, 0]) if len(gradient) else 0, x.dtype)
    for number in range(first, last):
        sample = number * LANES
        if len(gradient):
            for feature in range(0, len(panel), LANES):
                read_tile(x, sample, feature, panel[feature : feature + LANES])
        below[:] = 0
        for place in range(len(starts)):
            top = place * LANES
            own = tile[: min(LANES, deltas.shape[1] - top)]
            read_tile(deltas, sample, top, own)
            if len(bias):
                for row in range(len(own)):
                    total = x.dtype.type(0)
                    for lane in range(LANES):
                        total += own[row, lane]
                    bias[top + row] += total
            begin, end = starts[place, 0], starts[place, -1]
            if len(gradient):
                found, sums = part[: end - begin], gradient[begin:end]
                dots(found, own, rows[begin:end], panel, columns[begin:end], 0, len(found))
                for entry in range(len(found)):
                    sums[entry] += found[entry]
            for column in range(len(below)):
                add_rows(below, column, values, rows, tile, starts[place, column], starts[place, column + 1])
        for feature in range(0, len(below), LANES):
            write_tile(below[feature : feature + LANES], under, sample, feature)


@compiled
def read_tile(values: Any, sample: int, feature: int, tile: Any) -> None:
    """Write ``tile[i, j] = values[sample + j, feature + i]`` for a tile (up to 64, 64), and 0 where no sample is."""
    samples, features = min(LANES, len(values) - sample), len(tile)
    flat, out, stride = values.ravel(), tile.ravel(), values.shape[1]
    even, whole = samples // 8 * 8, features // 8 * 8
    for lane in range(0, even, 8):
        for row in range(0, whole, 8):
            turn_block(out, row * LANES + lane, LANES, flat, (sample + lane) * stride + feature + row, stride)
    for row in range(features):
        for lane in range(even if row < whole else 0, samples):
            tile[row, lane] = values[sample + lane, feature + row]
        for lane in range(samples, LANES):
            tile[row, lane] = 0


@compiled
def write_tile(tile: Any, out: Any, sample: int, feature: int) -> None:
    """Write ``out[sample + j, feature + i] = tile[i, j]`` for a tile (up to 64, 64), as far as there are samples."""
    samples, features = min(LANES, len(out) - sample), len(tile)
    flat, values, stride = out.ravel(), tile.ravel(), out.shape[1]
    even, whole = samples // 8 * 8, features // 8 * 8
    for lane in range(0, even, 8):
        for row in range(0, whole, 8):
            turn_block(flat, (sample + lane) * stride + feature + row, stride, values, row * LANES + lane, LANES)
    for row in range(features):
        for lane in range(even if row < whole else 0, samples):
            out[sample + lane, feature + row] = tile[row, lane]
