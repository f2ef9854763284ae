"""The product of a dense layer that multiplies only its remaining weights, forward and backward, on a CPU."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_FEW = 16  # more samples are faster in panels
_PANELS, _PIECES = 2, 16  # a thread takes at least so many panels at a time; a batch has at most so many pieces


class Tiles(NamedTuple):
    """The remaining weights by tile of 64 rows and in it by column; see ``kernels.sparse_backward``.

    Attributes:
        places: where each entry is in the layer's weights as a vector.
        starts: where the entries of each column of each tile start, (tiles, in + 1).
        rows: the row of each entry, in its tile.
        columns: the column of each entry.
    """

    places: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


class Pattern:
    """Where the remaining weights of a layer are, row by row.

    Attributes:
        shape: (out, in) of the layer.
        starts: where the entries of each row start, and their number at the end, (out + 1,).
        columns: the column of each entry.
        values: the remaining weights, if they are stored as compressed sparse rows: the same memory.
    """

    def __init__(
        self, shape: tuple[int, int], starts: np.ndarray, columns: np.ndarray, values: np.ndarray | None = None
    ) -> None:
        self.shape, self.starts, self.columns, self.values = shape, starts, columns, values

    @classmethod
    def of(cls, mask: Tensor) -> "Pattern":
        """Return the pattern of a mask, (out, in), of any type, or of compressed sparse rows."""
        if is_compressed(mask):
            stored = mask.detach()
            parts = (stored.crow_indices(), stored.col_indices(), stored.values())
            return cls((len(mask), mask.shape[1]), *map(_array, parts))
        remaining = mask.detach().cpu().numpy() != 0
        ends = np.count_nonzero(remaining, axis=1).cumsum()
        starts = np.concatenate([[0], ends]).astype(np.int32)
        return cls((len(remaining), remaining.shape[1]), starts, remaining.nonzero()[1].astype(np.int32))

    @cached_property
    def places(self) -> np.ndarray:
        """Where each entry is in the layer's weights as a vector."""
        out, into = self.shape
        places: np.ndarray = self._rows() * into + self.columns
        return places.astype(np.int32 if out * into <= np.iinfo(np.int32).max else np.int64)

    @cached_property
    def tiles(self) -> Tiles:
        """The same entries in the order of the backward pass."""
        from lthprune import kernels

        out, into = self.shape
        rows, count = self._rows(), -(-out // kernels.LANES)
        cells = rows // kernels.LANES * into + self.columns  # of each entry, its tile and column as one number
        order = np.argsort(cells, kind="stable")
        ends = np.concatenate([[0], np.bincount(cells, minlength=count * into).cumsum()])
        starts = ends[np.arange(count)[:, None] * into + np.arange(into + 1)].astype(np.int32)
        return Tiles(self.places[order], starts, (rows[order] % kernels.LANES).astype(np.int32), self.columns[order])

    def _rows(self) -> np.ndarray:
        return np.repeat(np.arange(self.shape[0]), np.diff(self.starts))


def sparse_product(x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern) -> Tensor:
    """Return the outputs of a dense layer, (samples, out), from its remaining weights alone.

    The sums of a sample and of a gradient are made in one order, so their bits do not depend on the number of threads.

    Args:
        x: (samples, in), in float32 or float64, in main memory.
        weight: (out, in), of the same type: dense, or as compressed sparse rows of the same pattern. The gradient of
            dense weights is dense, and zero where they are pruned; compressed ones receive none.
        bias: (out,), of the same type.
        pattern: where the remaining weights are.
    """
    if torch.is_grad_enabled():
        product: Tensor = _Product.apply(x, weight, bias, pattern)
        return product
    return _multiplied(x, weight, bias, pattern)


def is_compressed(weight: Tensor) -> bool:
    """Return whether only the remaining weights are stored, as compressed sparse rows."""
    return weight.layout is torch.sparse_csr


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pattern = pattern
        return _multiplied(x, weight, bias, pattern)

    @staticmethod
    def backward(ctx: Any, deltas: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        from lthprune import kernels

        x, weight = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        out, into = pattern.shape
        to_inputs, to_weight, to_bias, _ = ctx.needs_input_grad
        dense = weight.to_dense() if is_compressed(weight) else weight
        if torch.is_grad_enabled():  # create_graph=True: operations that can be differentiated again
            places = torch.from_numpy(pattern.places).long()
            mask = dense.new_zeros(out * into).index_fill(0, places, 1).view(out, into)
            under = deltas @ (dense * mask) if to_inputs else None
            gradient = (deltas.t() @ x) * mask if to_weight else None
            return under, gradient, deltas.sum(dim=0) if to_bias else None, None
        samples, tiles, pieces = _array(x), pattern.tiles, max(1, len(_pieces(len(x))))
        gradients = np.zeros((pieces, len(tiles.places) if to_weight else 0), samples.dtype)
        biases = np.zeros((pieces, out if to_bias else 0), samples.dtype)
        under = x.new_empty(len(x) if to_inputs else 0, into)
        layer = _gathered(dense, tiles.places), *tiles[1:], samples, _array(deltas)
        results = _array(under)
        _share_out(
            len(x),
            lambda piece, first, last: kernels.sparse_backward(
                *layer, gradients[piece], biases[piece], results, first, last
            ),
        )
        gradient = weight.new_zeros(out, into) if to_weight else None
        if gradient is not None:
            kernels.scatter_sums(gradients, tiles.places, _array(gradient).ravel())
        bias = torch.from_numpy(biases.sum(axis=0)) if to_bias else None
        return under if to_inputs else None, gradient, bias, None


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern) -> Tensor:
    from lthprune import kernels

    samples = _array(x)
    results = np.empty((len(samples), pattern.shape[0]), samples.dtype)
    biases = _array(bias) if bias is not None else np.empty(0, samples.dtype)
    values = pattern.values if pattern.values is not None else _gathered(weight, pattern.places)
    layer = values, pattern.starts, pattern.columns, biases, samples, results
    if len(samples) <= _FEW:
        kernels.sparse_forward_few(*layer)
    else:
        _share_out(len(samples), lambda _, first, last: kernels.sparse_forward(*layer, first, last))
    return torch.from_numpy(results)


def _gathered(weight: Tensor, places: np.ndarray) -> np.ndarray:
    """Return the weights at some places."""
    from lthprune import kernels

    flat = _array(weight).ravel()
    values = np.empty(len(places), flat.dtype)
    kernels.gather(flat, places, values)
    return values


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray((tensor.detach() if tensor.requires_grad else tensor).numpy())


def _pieces(samples: int) -> list[tuple[int, int]]:
    """Return the first and last panel, exclusively, of each piece of a batch; they depend on its size only."""
    from lthprune import kernels

    panels = -(-samples // kernels.LANES)
    size = max(_PANELS, -(-panels // _PIECES))
    return [(first, min(first + size, panels)) for first in range(0, panels, size)]


def _share_out(samples: int, work: Callable[[int, int, int], None]) -> None:
    """Call ``work(piece, first, last)`` for the panels of each piece of a batch, in torch's number of threads.

    The threads end with the call, so that none waits for the next one, and a forked process misses none.
    """
    pieces = deque((piece, *panels) for piece, panels in enumerate(_pieces(samples)))
    threads = min(torch.get_num_threads(), len(pieces))

    def work_off() -> None:
        while True:
            try:
                piece = pieces.popleft()
            except IndexError:  # another thread has taken the last one
                return
            work(*piece)

    if threads <= 1:
        work_off()
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work_off) for _ in range(threads - 1)]
        work_off()
        for other in others:
            other.result()
