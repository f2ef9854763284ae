"""Whole steps and evaluations of one perceptron, from the samples to the optimiser, in one call."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from lthprune.kernels.activations import activate, differentiate
from lthprune.kernels.compiling import COMPILED
from lthprune.kernels.inputs import Columns, Inputs, blank_panel, by_column, clear_panel, read_panel
from lthprune.kernels.lanes import LANES, add_rows
from lthprune.kernels.losses import cross_entropy
from lthprune.kernels.optimisers import optimise
from lthprune.kernels.products import (
    dense_forward,
    rows_forward,
    rows_gradient,
    wide_forward,
    wide_gradient,
)

PANELS = 16  # of 64 samples: an evaluation's sums are made of so many at once, whatever the number of threads
ROWS, DENSE, WIDE = range(3)  # the forms of a layer's weights, see products.py
# The columns of Network.layers:
FORM, INPUTS, OUTPUTS, ACTIVATION, WEIGHTS, BIASES, UNITS, STARTS, ENTRIES, BACK_STARTS, BACK_ENTRIES, ITEMS = range(12)


class Network(NamedTuple):
    """The layers of one perceptron, and which of its weights remain.

    A row of ``layers`` has a layer's form, sizes and activation, and where its parts begin: ``WEIGHTS`` and ``BIASES``
    (-1 without biases) in the vector of values, ``UNITS`` among the outputs of all layers, ``STARTS`` and ``ENTRIES``
    of weights by row, ``BACK_STARTS`` and ``BACK_ENTRIES`` of the same weights by column.
    """

    layers: np.ndarray  # (layers, ITEMS)
    features: np.ndarray  # the inputs that are read at all
    starts: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    back_starts: np.ndarray
    back_rows: np.ndarray
    back_order: np.ndarray


class State(NamedTuple):
    """What training changes: vectors of all values; ``mask`` is empty if nothing is masked but by absence."""

    values: np.ndarray
    gradients: np.ndarray
    mask: np.ndarray
    first: np.ndarray
    second: np.ndarray


class Rule(NamedTuple):
    """An optimiser and its settings; see ``optimise``."""

    kind: int
    momentum: float
    decay: float


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def train(
    network: Network, state: State, rule: Rule, inputs: Inputs, labels: Any, heads: Any, batches: Any, rates: Any, made: int
) -> float:
    """Make optimiser steps; return the sum of their losses, each a mean over its batch.

    Args:
        network: layers and pattern.
        state: is changed.
        rule: the optimiser.
        inputs: of the training split.
        labels: its classes, (samples, tasks).
        heads: see ``cross_entropy``.
        batches: the samples of every step, (steps, batch).
        rates: the learning rate of every step, (steps,).
        made: the number of steps made before.
    """
    x = blank_panel(inputs)
    sums, outputs, deltas = _panels(network, x)
    top, reads = network.layers[-1, UNITS], network.layers[0, FORM] != WIDE
    loss, size, right = 0.0, batches.shape[1], np.zeros(len(heads), np.int64)
    extra = np.empty(len(state.gradients) if size > LANES else 0, x.dtype)
    for step in range(len(batches)):
        for first in range(0, size, LANES):
            samples = batches[step, first : first + LANES]
            if reads:
                read_panel(inputs, samples, network.features, x)
            _forward(network, state.values, inputs, samples, x, sums, outputs)
            loss += cross_entropy(outputs[top:], labels[samples], heads, 1.0 / size, deltas[top:], right)
            gradients = state.gradients if first == 0 else extra
            _backward(network, state.values, gradients, inputs, samples, x, sums, outputs, deltas)
            if reads:
                clear_panel(inputs, samples, x)
            if first:
                for place in range(len(extra)):
                    state.gradients[place] += extra[place]
        for place in range(len(state.mask)):
            state.gradients[place] *= state.mask[place]
        optimise(
            rule.kind,
            state.values,
            state.gradients,
            state.first,
            state.second,
            rates[step],
            rule.momentum,
            rule.decay,
            made + step + 1,
        )
    return loss / size


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def evaluate(network: Network, values: Any, inputs: Inputs, labels: Any, heads: Any, panel: int, right: Any) -> float:
    """Return the sum of losses over ``PANELS`` panels of samples from this one on.

    ``right`` receives the number of correct samples of every task, (tasks,).
    """
    x = blank_panel(inputs)
    sums, outputs, deltas = _panels(network, x)
    top, reads = network.layers[-1, UNITS], network.layers[0, FORM] != WIDE
    loss, last = 0.0, min((panel + PANELS) * LANES, len(labels))
    for first in range(panel * LANES, last, LANES):
        samples = np.arange(first, min(first + LANES, last))
        if inputs.sparse and reads:
            read_panel(inputs, samples, network.features, x)
        _forward(network, values, inputs, samples, x if inputs.sparse else inputs.panels[first // LANES], sums, outputs)
        if inputs.sparse and reads:
            clear_panel(inputs, samples, x)
        loss += cross_entropy(outputs[top:], labels[first : first + len(samples)], heads, 1.0, deltas[top:], right)
    return loss


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _panels(network: Network, x: Any) -> Any:
    """Return panels of the sums, outputs and deltas of all layers, (units, 64) each."""
    units = network.layers[-1, UNITS] + network.layers[-1, OUTPUTS]
    return np.zeros((units, LANES), x.dtype), np.zeros((units, LANES), x.dtype), np.zeros((units, LANES), x.dtype)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _forward(network: Network, values: Any, inputs: Inputs, samples: Any, x: Any, sums: Any, outputs: Any) -> None:
    """Write the sums and outputs of all layers for up to 64 samples, whose inputs are in x; wide layers read others."""
    for layer in network.layers:
        first, out, into = layer[UNITS], layer[OUTPUTS], layer[INPUTS]
        below = outputs[first - into : first] if first else x
        own = sums[first : first + out]
        if layer[FORM] == WIDE:
            weights = _blocks(values, layer)
            wide_forward(weights, _base(values, weights, layer, inputs), inputs, samples, own)
        else:
            for row in range(out):
                own[row] = values[layer[BIASES] + row] if layer[BIASES] >= 0 else values.dtype.type(0)
            weights = values[layer[WEIGHTS] :]
            if layer[FORM] == ROWS:
                starts, columns = network.starts[layer[STARTS] :], network.columns[layer[ENTRIES] :]
                rows_forward(weights, starts, columns, below, own)
            else:
                dense_forward(weights[: out * into].reshape(out, into), below, own, outputs[first : first + out])
        activate(layer[ACTIVATION], own.ravel(), outputs[first : first + out].ravel())


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _backward(
    network: Network, values: Any, gradients: Any, inputs: Inputs, samples: Any, x: Any, sums: Any, outputs: Any, deltas: Any
) -> None:
    """Write the gradients of all values, from the deltas of the last layer's outputs."""
    for place in range(len(network.layers) - 1, -1, -1):
        layer = network.layers[place]
        first, out, into = layer[UNITS], layer[OUTPUTS], layer[INPUTS]
        below = outputs[first - into : first] if first else x
        own = deltas[first : first + out]
        differentiate(layer[ACTIVATION], sums[first : first + out].ravel(), outputs[first : first + out].ravel(), own.ravel())
        if layer[BIASES] >= 0:
            for row in range(out):
                total = values.dtype.type(0)
                for lane in range(LANES):
                    total += own[row, lane]
                gradients[layer[BIASES] + row] = total
        if layer[FORM] == WIDE:
            wide_gradient(_blocks(gradients, layer), inputs, samples, own, by_column(inputs, samples))
        elif layer[FORM] == DENSE:
            weights = gradients[layer[WEIGHTS] : layer[WEIGHTS] + out * into].reshape(out, into)
            np.dot(own, below.T, weights)
        else:
            count = network.starts[layer[STARTS] + out]
            entries = slice(layer[ENTRIES], layer[ENTRIES] + count)
            weights = gradients[layer[WEIGHTS] : layer[WEIGHTS] + count]
            rows_gradient(weights, network.rows[entries], network.columns[entries], below, own)
        if place:
            under = deltas[first - into : first]
            if layer[FORM] == DENSE:
                weights = values[layer[WEIGHTS] : layer[WEIGHTS] + out * into].reshape(out, into)
                np.dot(weights.T, own, under)
            else:
                under[:] = 0
                order = network.back_order[layer[BACK_ENTRIES] : layer[BACK_ENTRIES] + count]
                turned = values[layer[WEIGHTS] :][order]
                back = network.back_rows[layer[BACK_ENTRIES] :]
                rows_forward(turned, network.back_starts[layer[BACK_STARTS] :], back, own, under)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _blocks(values: Any, layer: Any) -> Any:
    """Return the wide weights of a layer, or their gradients, as (blocks, in, 64)."""
    blocks = (layer[OUTPUTS] + LANES - 1) // LANES
    size = blocks * layer[INPUTS] * LANES
    return values[layer[WEIGHTS] : layer[WEIGHTS] + size].reshape(blocks, layer[INPUTS], LANES)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _base(values: Any, weights: Any, layer: Any, inputs: Inputs) -> Any:
    """Return a layer's sums for an input that is all background, (blocks, 64)."""
    base = np.zeros((len(weights), LANES), values.dtype)
    if layer[BIASES] >= 0:
        for unit in range(layer[OUTPUTS]):
            base[unit // LANES, unit % LANES] = values[layer[BIASES] + unit]
    features = np.arange(len(inputs.background)).astype(np.int32)
    for block in range(len(weights)):
        add_rows(base, block, inputs.background, features, weights[block], 0, len(features))
    return base
