"""The layers of one trial in the forms that the compiled engine reads: which form suits each, and how it is stored."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from lthprune import kernels
from lthprune.errors import PruningError
from lthprune.pruning import State
from lthprune.training.lowering import Lowered

# From tests/benchmarks/layer_forms.py: the lower end of where the forms cross on AVX2 and AVX-512. The rule depends on
# densities, not on the clock: a resumed run chooses the same.
_ROWS_BELOW = 0.3  # density
_DENSE_FROM = 16  # inputs, the least that a dense product takes
_MOST = np.iinfo(np.int32).max  # remaining weights of a sparse layer: indices have 32 bits

_ACTIVATIONS = {
    None: kernels.NONE,
    "relu": kernels.RELU,
    "tanh": kernels.TANH,
    "sigmoid": kernels.SIGMOID,
    "elu": kernels.ELU,
    "gelu": kernels.GELU,
    "leaky_relu": kernels.LEAKY_RELU,
}


class FormedLayer(NamedTuple):
    """A layer of one trial: its form, its weights in this form as a vector, its biases, and the masks of both."""

    name: str
    activation: int
    form: int
    mask: np.ndarray  # (out, in)
    weight: np.ndarray
    weight_mask: np.ndarray
    bias: np.ndarray  # (out,), or (0,) without biases
    bias_mask: np.ndarray

    @classmethod
    def of(cls, lowered: Lowered, trial: int, *, wide: bool) -> "FormedLayer":
        """Return a trial's layer; ``wide`` says that it is the first, of inputs that are mostly background."""
        layer = lowered.layer
        mask, weight = layer.weight_mask[trial].numpy(), lowered.weight[trial].numpy()
        if mask.mean() < _ROWS_BELOW or (mask.shape[1] < _DENSE_FROM and not wide):
            form = kernels.ROWS
        else:
            form = kernels.WIDE if wide else kernels.DENSE
        activation = _ACTIVATIONS[layer.activation.name if layer.activation else None]
        packed = _packed(weight, mask, form), ~_packed(~mask, mask, form)  # what fills up blocks is not masked
        return cls(
            layer.name, activation, form, mask, *packed, lowered.bias[trial].numpy(), layer.bias_mask[trial].numpy()
        )


def build_network(layers: Sequence[FormedLayer], features: int) -> kernels.Network:
    """Return the table and the patterns of a perceptron's layers; ``features`` is the number of its inputs.

    Raises:
        PruningError: a sparse layer has more weights left than 32 bits count.
    """
    table: list[list[int]] = []
    pattern: dict[str, list[np.ndarray]] = {name: [] for name in kernels.Network._fields[2:]}
    read, at, unit = np.arange(features, dtype=np.int32), 0, 0
    for layer in layers:
        out, into = layer.mask.shape
        biases = at + len(layer.weight)
        ends = [sum(map(np.size, pattern[name])) for name in ("starts", "rows", "back_starts", "back_rows")]
        table.append([layer.form, into, out, layer.activation, at, biases if len(layer.bias) else -1, unit, *ends])
        if layer.form == kernels.ROWS:
            if len(layer.weight) > _MOST:
                raise PruningError(
                    f"layer {layer.name!r} has {len(layer.weight):,} weights left, and the compiled engine stores at "
                    f'most {_MOST:,} of a sparse layer. Use engine = "stacked" or "reference".'
                )
            row, column = layer.mask.nonzero()
            order = np.argsort(column, kind="stable")  # the same weights by column
            parts = (_starts(row, out), row, column, _starts(column, into), row[order], order)
            for own, part in zip(pattern.values(), parts, strict=True):
                own.append(part)
            read = np.unique(column).astype(np.int32) if not unit else read
        at, unit = biases + len(layer.bias), unit + out
    joined = [np.concatenate([np.empty(0), *parts]).astype(np.int32) for parts in pattern.values()]
    return kernels.Network(np.array(table, np.int64), read, *joined)


def unpack(layers: Sequence[FormedLayer], values: np.ndarray) -> State:
    """Return weights and biases by plain name from the vector of all values, zero where weights are pruned."""
    state, at = {}, 0
    for layer in layers:
        weight, biases = values[at : at + len(layer.weight)], at + len(layer.weight)
        state[f"{layer.name}.weight"] = torch.from_numpy(_unpacked(weight, layer))
        at = biases + len(layer.bias)
        if len(layer.bias):
            state[f"{layer.name}.bias"] = torch.from_numpy(values[biases:at].copy())
    return state


def _packed(weight: np.ndarray, mask: np.ndarray, form: int) -> np.ndarray:
    """Return weights (out, in), or their mask, as the vector that a form reads."""
    if form == kernels.ROWS:
        return np.asarray(weight[mask])
    if form == kernels.DENSE:
        return weight.ravel()
    out, into = weight.shape
    blocks = np.zeros((-(-out // kernels.LANES) * kernels.LANES, into), weight.dtype)
    blocks[:out] = weight
    return np.asarray(blocks.reshape(-1, kernels.LANES, into).transpose(0, 2, 1).ravel())


def _unpacked(weight: np.ndarray, layer: FormedLayer) -> np.ndarray:
    """Return weights (out, in) from the vector of a layer's form."""
    out, into = layer.mask.shape
    if layer.form == kernels.ROWS:
        dense = np.zeros((out, into), weight.dtype)
        dense[layer.mask] = weight
        return dense
    if layer.form == kernels.WIDE:
        weight = weight.reshape(-1, into, kernels.LANES).transpose(0, 2, 1).reshape(-1, into)[:out]
    return np.asarray(weight.reshape(out, into) * layer.mask)


def _starts(places: np.ndarray, rows: int) -> np.ndarray:
    """Return where each row's entries start, and their number at the end."""
    return np.concatenate([[0], np.bincount(places, minlength=rows).cumsum()])
