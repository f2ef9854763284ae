"""Products of a layer and a panel of 64 samples, forward and backward, for each form that a layer's weights can have.

A panel has the shape (features, 64). ``rows`` are weights of which only the remaining ones are stored, by row;
``dense`` are weights (out, in); ``wide`` are weights by blocks of 64 outputs, (blocks, in, 64), which are read only
where an input differs from its background. Every function makes a member's share of the product.
"""

from typing import Any

import numpy as np

from lthprune.kernels.compiling import compiled
from lthprune.kernels.lanes import HEIGHT, LANES, WIDTH, add_rows, dot_rows, multiply_block, multiply_row
from lthprune.kernels.teams import TOGETHER, share
from lthprune.kernels.turning import turn


@compiled
def rows_forward(weights: Any, starts: Any, columns: Any, x: Any, sums: Any, team: Any) -> None:
    """Add the products with x, (in, 64), to the sums, (out, 64)."""
    first, last = share(team, len(sums), TOGETHER // LANES)  # as activations are shared out
    for row in range(first, last):
        add_rows(sums, row, weights, columns, x, starts[row], starts[row + 1])


@compiled
def rows_gradient(gradient: Any, rows: Any, columns: Any, x: Any, deltas: Any, team: Any) -> None:
    """Write the gradients of the remaining weights, from deltas (out, 64) and inputs x (in, 64)."""
    first, last = share(team, len(gradient), 16)
    dots(gradient, deltas, rows, x, columns, first, last)


@compiled
def dots(out: Any, left: Any, lefts: Any, right: Any, rights: Any, first: int, last: int) -> None:
    """Write dot products of rows of 64: ``out[k] = left[lefts[k]] @ right[rights[k]]`` for k from first to last."""
    together = first + (last - first) // 16 * 16
    dot_rows(out, left, lefts, right, rights, first, together)
    if together < last:  # made by the same instructions: LLVM orders a loop's sums one way here and another way there
        places, others, sums = np.zeros(16, lefts.dtype), np.zeros(16, rights.dtype), np.empty(16, out.dtype)
        for place in range(last - together):
            places[place], others[place] = lefts[together + place], rights[together + place]
        dot_rows(sums, left, places, right, others, 0, 16)
        for place in range(last - together):
            out[together + place] = sums[place]


@compiled
def dense_forward(weights: Any, x: Any, sums: Any, team: Any) -> None:
    """Write the products of weights, (out, in), with x, (in, 64), as sums, (out, 64)."""
    first, last = share(team, len(sums), HEIGHT)
    _multiply(sums, LANES, weights, len(x), 1, x, LANES, first, last, LANES, len(x))


@compiled
def dense_gradient(gradient: Any, turned: Any, deltas: Any, team: Any) -> None:
    """Write the gradients of weights, (out, in), from deltas (out, 64) and the inputs by sample, (64, in)."""
    first, last = share(team, len(deltas), HEIGHT)
    into = turned.shape[1]
    _multiply(gradient, into, deltas, LANES, 1, turned, into, first, last, into, LANES)


@compiled
def dense_backward(weights: Any, deltas: Any, below: Any, team: Any) -> None:
    """Write the gradient of the inputs, (in, 64), from deltas (out, 64)."""
    first, last = share(team, len(below), HEIGHT)
    _multiply(below, LANES, weights, 1, len(below), deltas, LANES, first, last, LANES, len(deltas))


@compiled
def _multiply(
    out: Any,
    out_next: int,
    left: Any,
    left_next: int,
    left_step: int,
    right: Any,
    right_next: int,
    first: int,
    last: int,
    width: int,
    depth: int,
) -> None:
    """Write some rows of a matrix product; see ``multiply_block``. The width is at least 16."""
    row = first
    while row < last:
        height = HEIGHT if row + HEIGHT <= last else 1
        begin = row * left_next
        for column in range(0, width, WIDTH):
            at = min(column, width - WIDTH)  # the last block may cover some of the one before
            to = row * out_next + at
            if height == HEIGHT:
                multiply_block(out, to, out_next, left, begin, left_next, left_step, right, at, right_next, depth)
            else:
                multiply_row(out, to, out_next, left, begin, left_next, left_step, right, at, right_next, depth)
        row += height


@compiled
def wide_forward(weights: Any, base: Any, inputs: Any, samples: Any, sums: Any, team: Any) -> None:
    """Write sums, (out, 64), of inputs that are mostly background.

    Args:
        weights: (blocks, in, 64).
        base: the sums of an input that is all background, (blocks, 64).
        inputs: an ``Inputs`` that is sparse.
        samples: the indices of up to 64 samples.
        sums: receives the sums, 0 in lanes without samples.
        team: who shares the work.
    """
    rows = np.empty((1, LANES), weights.dtype)
    first, last = share(team, len(samples), 1)
    for block in range(len(weights)):
        units = sums[block * LANES : (block + 1) * LANES]
        for place in range(first, last):
            for lane in range(LANES):
                rows[0, lane] = base[block, lane]
            start, stop = inputs.starts[samples[place]], inputs.starts[samples[place] + 1]
            add_rows(rows, 0, inputs.numbers, inputs.columns, weights[block], start, stop)
            for lane in range(len(units)):
                units[lane, place] = rows[0, lane]
        if last == len(samples):  # lanes without samples may hold another trial's NaN
            for unit in range(len(units)):
                for lane in range(last, LANES):
                    units[unit, lane] = 0


@compiled
def wide_gradient(gradient: Any, background: Any, columns: Any, deltas: Any, team: Any) -> None:
    """Write the gradients of weights, (blocks, in, 64), from deltas (out, 64).

    ``columns`` are the inputs' differences from the background by feature, as ``by_column`` made them.
    """
    turned, total = np.empty((LANES, LANES), gradient.dtype), np.empty(LANES, gradient.dtype)
    first, last = share(team, gradient.shape[1], 1)
    for block in range(len(gradient)):
        units = deltas[block * LANES : (block + 1) * LANES]
        turn(turned, 0, 0, units, 0, 0, len(units), LANES)
        for place in range(LANES):
            for lane in range(len(units), LANES):  # the last block may be filled up
                turned[place, lane] = 0
        for lane in range(LANES):
            total[lane] = 0
        for place in range(LANES):
            for lane in range(LANES):
                total[lane] += turned[place, lane]
        for feature in range(first, last):
            for lane in range(LANES):
                gradient[block, feature, lane] = background[feature] * total[lane]
            start, stop = columns.starts[feature], columns.starts[feature + 1]
            add_rows(gradient[block], feature, columns.numbers, columns.samples, turned, start, stop)
