"""Transposition of panels (features, 64), or parts of them, to samples (64, features)."""

from typing import Any

from lthprune.kernels.compiling import compiled
from lthprune.kernels.lanes import turn_block

_BLOCK = 8  # rows and columns that are transposed at once


@compiled
def turn(out: Any, row: int, column: int, values: Any, first: int, begin: int, rows: int, columns: int) -> None:
    """Write a part of a matrix transposed: ``out[row + j, column + i] = values[first + i, begin + j]``.

    Args:
        out: two axes, contiguous, like ``values``.
        row: the first row to write.
        column: the first column to write.
        values: what is read.
        first: the first row to read.
        begin: the first column to read.
        rows: how many rows to read.
        columns: how many columns to read.
    """
    to, of, step, stride = out.ravel(), values.ravel(), out.shape[1], values.shape[1]
    high, wide = rows // _BLOCK * _BLOCK, columns // _BLOCK * _BLOCK
    for j in range(0, wide, _BLOCK):
        for i in range(0, high, _BLOCK):
            turn_block(to, (row + j) * step + column + i, step, of, (first + i) * stride + begin + j, stride)
    for j in range(columns):
        for i in range(high if j < wide else 0, rows):
            out[row + j, column + i] = values[first + i, begin + j]
