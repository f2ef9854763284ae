"""Products of a layer and a panel of 64 samples, forward and backward, for each form that a layer's weights can have.

A panel has the shape (features, 64). ``rows`` are weights of which only the remaining ones are stored, by row;
``dense`` are weights (out, in), which BLAS multiplies; ``wide`` are weights by blocks of 64 outputs, (blocks, in, 64),
which are read only where an input differs from its background.
"""

from typing import Any

import numpy as np
from numba import njit

from lthprune.kernels.compiling import COMPILED
from lthprune.kernels.lanes import LANES, add_rows, dot_rows


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def rows_forward(weights: Any, starts: Any, columns: Any, x: Any, sums: Any) -> None:
    """Add the products with x, (in, 64), to the sums, (out, 64)."""
    for row in range(len(sums)):
        add_rows(sums, row, weights, columns, x, starts[row], starts[row + 1])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def rows_gradient(gradient: Any, rows: Any, columns: Any, x: Any, deltas: Any) -> None:
    """Write the gradients of the remaining weights, from deltas (out, 64) and inputs x (in, 64)."""
    together = len(gradient) // 16 * 16
    dot_rows(gradient, deltas, rows, x, columns, 0, together)
    for place in range(together, len(gradient)):
        total = gradient.dtype.type(0)
        for lane in range(LANES):
            total += deltas[rows[place], lane] * x[columns[place], lane]
        gradient[place] = total


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def dense_forward(weights: Any, x: Any, sums: Any, product: Any) -> None:
    """Add the products of weights (out, in) with x (in, 64) to the sums, (out, 64)."""
    np.dot(weights, x, product)
    total, own = sums.ravel(), product.ravel()
    for place in range(len(total)):
        total[place] += own[place]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def wide_forward(weights: Any, base: Any, inputs: Any, samples: Any, sums: Any) -> None:
    """Write sums, (out, 64), of inputs that are mostly background.

    Args:
        weights: (blocks, in, 64).
        base: the sums of an input that is all background, (blocks, 64).
        inputs: an ``Inputs`` that is sparse.
        samples: the indices of up to 64 samples.
        sums: receives the sums.
    """
    rows = np.zeros((LANES, LANES), weights.dtype)  # (samples, outputs of a block)
    for block in range(len(weights)):
        for place in range(len(samples)):
            rows[place] = base[block]
            start, stop = inputs.starts[samples[place]], inputs.starts[samples[place] + 1]
            add_rows(rows, place, inputs.numbers, inputs.columns, weights[block], start, stop)
        first = block * LANES
        transpose(rows, sums[first : first + LANES])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def wide_gradient(gradient: Any, inputs: Any, samples: Any, deltas: Any, columns: Any) -> None:
    """Write the gradients of weights, (blocks, in, 64), from deltas (out, 64).

    ``columns`` are the batch's inputs by feature, as ``by_column`` made them.
    """
    rows, total = np.zeros((LANES, LANES), gradient.dtype), np.zeros(LANES, gradient.dtype)
    for block in range(len(gradient)):
        first = block * LANES
        part = deltas[first : first + LANES]
        rows[:] = 0
        total[:] = 0
        transpose(part, rows)
        for place in range(len(samples)):
            for lane in range(LANES):
                total[lane] += rows[place, lane]
        for feature in range(gradient.shape[1]):
            background, own = inputs.background[feature], gradient[block, feature]
            for lane in range(LANES):
                own[lane] = background * total[lane]
            add_rows(gradient[block], feature, columns.numbers, columns.samples, rows, columns.starts[feature], columns.starts[feature + 1])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def transpose(rows: Any, out: Any) -> None:
    """Write ``out[i, j] = rows[j, i]``; both may be smaller than 64 x 64 along their first axis."""
    for first in range(0, len(out), 8):
        for place in range(len(rows)):
            for row in range(first, min(first + 8, len(out))):
                out[row, place] = rows[place, row]
