"""What products of matrices, and other sums of products, do to neurons."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from lthprune.analysis.recorder import Recorder, joined
from lthprune.analysis.signals import Signal, collapsed, combinations


def contract(recorder: Recorder, equation: str, operands: tuple[Signal, Signal], value: Tensor) -> Signal | None:
    """Return sums of products: a neuron for each pair of neurons, and for each sum.

    Args:
        recorder: of the layers.
        equation: as ``torch.einsum`` takes it; with an ellipsis or without an arrow it is not supported.
        operands: the two factors.
        value: of the result.
    """
    if "." in equation or "->" not in equation:
        return None
    terms, out = equation.replace(" ", "").split("->")
    letters = [*out, *sorted(set(terms) - {",", *out})]
    wide = [_by_letters(each, own, letters) for each, own in zip(operands, terms.split(","), strict=True)]
    small = [collapsed(each.neurons)[0] for each in wide]
    own = [torch.unique(each, return_inverse=True) for each in small]
    shape = torch.broadcast_shapes(*(each.shape for each in small))  # type: ignore[no-untyped-call]
    pairs = combinations([each.expand(shape) for each in small])
    size = int(pairs.max()) + 1
    columns = []
    for each, (known, index) in zip(wide, own, strict=True):
        column = torch.zeros(size, dtype=torch.long)
        column[pairs.flatten()] = index.expand(pairs.shape).flatten()
        columns.append(recorder.read(each, index, len(known)).select(column))
    start = recorder.add_neurons("product", size, joined(columns))
    first, second = (each.value for each in columns)
    products = (first * second).masked_fill((first == 0) | (second == 0), 0)
    summed = pairs.reshape(prod(pairs.shape[: len(out)]), -1)  # (outputs, products)
    shape = pairs.shape[: len(out)]
    if bool((summed == summed[:, :1]).all()):
        return recorder.leaf(value, (start + summed[:, 0].view(shape)).expand(value.shape))
    read = recorder.read_products(start, products).select(summed.t().flatten())
    return recorder.add_layer("sum", value, torch.arange(len(summed)).view(shape), read)


def equation_of_matmul(first: int, second: int) -> str:
    """Return the equation of a product of two tensors with these numbers of axes."""
    batch = "abcdefgh"[: max(first, second, 2) - 2]
    left, right = (batch[len(batch) - max(0, ndim - 2) :] for ndim in (first, second))
    return f"{left}{'ik' if first > 1 else 'k'},{right}{'kj' if second > 1 else 'k'}->" + (
        f"{batch}{'i' if first > 1 else ''}{'j' if second > 1 else ''}"
    )


def _by_letters(signal: Signal, own: str, letters: Sequence[str]) -> Signal:
    """Return an operand with an axis for each letter, of length 1 if it has none of that letter."""
    present = [letter for letter in letters if letter in own]
    order = [own.index(letter) for letter in present]
    shape = [signal.value.shape[own.index(letter)] if letter in own else 1 for letter in letters]
    return Signal(*(each.permute(order).reshape(shape) for each in (signal.value, signal.neurons)))
