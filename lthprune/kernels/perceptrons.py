"""Whole steps and evaluations of one perceptron, from the samples to the optimiser, in one call."""

from typing import Any, NamedTuple

import numpy as np

from lthprune.kernels.activations import activate, differentiate
from lthprune.kernels.compiling import compiled
from lthprune.kernels.inputs import Inputs, by_column, clear_panel, read_panel, read_rows
from lthprune.kernels.lanes import LANES, add_rows
from lthprune.kernels.losses import cross_entropy
from lthprune.kernels.optimisers import optimise, penalise
from lthprune.kernels.products import (
    dense_backward,
    dense_forward,
    dense_gradient,
    rows_forward,
    rows_gradient,
    wide_forward,
    wide_gradient,
)
from lthprune.kernels.teams import TOGETHER, Team, has_given_up, meet, share
from lthprune.kernels.turning import turn

PANELS = 16  # of 64 samples: an evaluation's sums are made of so many at once, whatever the number of threads
ROWS, DENSE, WIDE = range(3)  # the forms of a layer's weights, see products.py
# The columns of Network.layers:
FORM, INPUTS, OUTPUTS, ACTIVATION, WEIGHTS, BIASES, UNITS, STARTS, ENTRIES, BACK_STARTS, BACK_ENTRIES = range(11)


class Network(NamedTuple):
    """The layers of one perceptron, and which of its weights remain.

    A row of ``layers`` has a layer's form, sizes and activation, and where its parts begin: ``WEIGHTS`` and ``BIASES``
    (-1 without biases) in the vector of values, ``UNITS`` among the outputs of all layers, ``STARTS`` and ``ENTRIES``
    of weights by row, ``BACK_STARTS`` and ``BACK_ENTRIES`` of the same weights by column.
    """

    layers: np.ndarray  # (layers, 11)
    features: np.ndarray  # the inputs that are read at all
    starts: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    back_starts: np.ndarray
    back_rows: np.ndarray
    back_order: np.ndarray


class State(NamedTuple):
    """What training changes: vectors of all values.

    ``mask`` is empty if nothing is masked but by absence, ``l1`` if nothing is under an L1 penalty.
    """

    values: np.ndarray
    gradients: np.ndarray
    more_gradients: np.ndarray  # of one panel, where a batch has several
    mask: np.ndarray
    l1: np.ndarray  # the factor of the penalty: 0 for biases
    first: np.ndarray
    second: np.ndarray


class Panels(NamedTuple):
    """Room for the numbers of 64 samples; ``x`` holds the background between two panels."""

    x: np.ndarray  # (features, 64)
    sums: np.ndarray  # (units of all layers, 64), like the next two
    outputs: np.ndarray
    deltas: np.ndarray  # gradients by outputs, then by sums
    turned: np.ndarray  # a layer's inputs by sample, (64 * its inputs,)


class Rule(NamedTuple):
    """An optimiser and its settings, see ``optimise``; and the smoothing of the labels, see ``cross_entropy``."""

    kind: int
    momentum: float
    decay: float
    smoothing: float = 0.0


@compiled
def train(
    network: Network,
    state: State,
    panels: Panels,
    rule: Rule,
    inputs: Inputs,
    labels: Any,
    heads: Any,
    batches: Any,
    rates: Any,
    made: int,
    losses: Any,
    team: Team,
) -> None:
    """Make a member's share of optimiser steps, until the team is told to give up.

    Args:
        network: layers and pattern.
        state: is changed.
        panels: room to work in, of the team.
        rule: the optimiser.
        inputs: of the training split.
        labels: its classes, (samples, tasks).
        heads: see ``cross_entropy``.
        batches: the samples of every step, (steps, batch).
        rates: the learning rate of every step, (steps,).
        made: the number of steps made before.
        losses: zeros; receives the loss of every step, a mean over its batch, (steps,).
        team: who shares the work.
    """
    top, reads = network.layers[-1, UNITS], network.layers[0, FORM] != WIDE
    outputs, deltas = panels.outputs[top:], panels.deltas[top:]
    size, right = batches.shape[1], np.zeros(len(heads), np.int64)
    begin, end = share(team, len(state.values), TOGETHER)
    for step in range(len(batches)):
        if has_given_up(team):
            return
        for first in range(0, size, LANES):
            samples = batches[step, first : first + LANES]
            if reads:
                read_panel(inputs, samples, network.features, panels.x, team)
                meet(team)
            _forward(network, state.values, panels.x, panels, inputs, samples, team)
            if team.member == 0:
                loss = cross_entropy(outputs, labels, samples, heads, 1.0 / size, deltas, right, rule.smoothing)
                losses[step] += loss / size
            meet(team)
            gradients = state.gradients if first == 0 else state.more_gradients
            _backward(network, state.values, gradients, panels, inputs, samples, team)
            meet(team)
            if reads:
                clear_panel(inputs, samples, panels.x, team)
            if first:
                for place in range(begin, end):
                    state.gradients[place] += gradients[place]
                meet(team)
        if len(state.l1):
            penalise(state.values[begin:end], state.gradients[begin:end], state.l1[begin:end])
        if len(state.mask):
            for place in range(begin, end):
                state.gradients[place] *= state.mask[place]
        optimise(
            rule.kind,
            state.values[begin:end],
            state.gradients[begin:end],
            state.first[begin:end],
            state.second[begin:end],
            rates[step],
            rule.momentum,
            rule.decay,
            made + step + 1,
        )
        meet(team)


@compiled
def evaluate(
    network: Network,
    values: Any,
    panels: Panels,
    inputs: Inputs,
    labels: Any,
    heads: Any,
    panel: int,
    right: Any,
    team: Team,
) -> float:
    """Return the sum of losses over ``PANELS`` panels of samples from this one on, with a team of one.

    ``right`` receives the number of correct samples of every task, (tasks,).
    """
    top, reads = network.layers[-1, UNITS], network.layers[0, FORM] != WIDE
    outputs, deltas = panels.outputs[top:], panels.deltas[top:]
    loss, last = 0.0, min((panel + PANELS) * LANES, len(labels))
    samples = np.empty(LANES, np.int64)
    for first in range(panel * LANES, last, LANES):
        count = min(LANES, last - first)
        for place in range(count):
            samples[place] = first + place
        own = samples[:count]
        if inputs.sparse and reads:
            read_panel(inputs, own, network.features, panels.x, team)
        x = panels.x if inputs.sparse else inputs.panels[first // LANES]
        _forward(network, values, x, panels, inputs, own, team)
        if inputs.sparse and reads:
            clear_panel(inputs, own, panels.x, team)
        loss += cross_entropy(outputs, labels, own, heads, 1.0, deltas, right, 0.0)
    return loss


@compiled
def _forward(network: Network, values: Any, x: Any, panels: Panels, inputs: Inputs, samples: Any, team: Team) -> None:
    """Write the sums and outputs of all layers for up to 64 samples, whose inputs are x; wide layers read others."""
    for place in range(len(network.layers)):
        layer = network.layers[place]
        unit, out, into = layer[UNITS], layer[OUTPUTS], layer[INPUTS]
        below = panels.outputs[unit - into : unit] if place else x
        sums, outputs = panels.sums[unit : unit + out], panels.outputs[unit : unit + out]
        if layer[FORM] == WIDE:
            weights = _blocks(values, layer)
            wide_forward(weights, _base(values, weights, layer, inputs), inputs, samples, sums, team)
            meet(team)
        first, last = share(team, out, TOGETHER // LANES)
        if layer[FORM] == ROWS:
            _add_biases(values, layer, sums, first, last, True)
            starts, columns = network.starts[layer[STARTS] :], network.columns[layer[ENTRIES] :]
            rows_forward(values[layer[WEIGHTS] :], starts, columns, below, sums, team)
        elif layer[FORM] == DENSE:
            dense_forward(values[layer[WEIGHTS] :], below, sums, team)
            meet(team)
            _add_biases(values, layer, sums, first, last, False)
        activate(layer[ACTIVATION], sums[first:last].ravel(), outputs[first:last].ravel())
        meet(team)


@compiled
def _backward(
    network: Network, values: Any, gradients: Any, panels: Panels, inputs: Inputs, samples: Any, team: Team
) -> None:
    """Write the gradients of all values, from the deltas of the last layer's outputs."""
    for place in range(len(network.layers) - 1, -1, -1):
        layer = network.layers[place]
        unit, out, into = layer[UNITS], layer[OUTPUTS], layer[INPUTS]
        below = panels.outputs[unit - into : unit] if place else panels.x
        sums, outputs = panels.sums[unit : unit + out], panels.outputs[unit : unit + out]
        deltas = panels.deltas[unit : unit + out]
        first, last = share(team, out, TOGETHER // LANES)
        own = deltas[first:last].ravel()
        differentiate(layer[ACTIVATION], sums[first:last].ravel(), outputs[first:last].ravel(), own)
        turned = panels.turned[: LANES * into].reshape(LANES, into)
        if layer[FORM] == DENSE and place:
            begin, end = share(team, into, 8)
            turn(turned, 0, begin, below, begin, 0, end - begin, LANES)
        elif layer[FORM] == DENSE:
            read_rows(inputs, samples, turned, team)
        meet(team)
        if layer[BIASES] >= 0:
            for row in range(first, last):
                total = values.dtype.type(0)
                for lane in range(LANES):
                    total += deltas[row, lane]
                gradients[layer[BIASES] + row] = total
        if layer[FORM] == WIDE:
            columns = by_column(inputs, samples)
            wide_gradient(_blocks(gradients, layer), inputs.background, columns, deltas, team)
        elif layer[FORM] == DENSE:
            dense_gradient(gradients[layer[WEIGHTS] :], turned, deltas, team)
        else:
            count = network.starts[layer[STARTS] + out]
            entries = slice(layer[ENTRIES], layer[ENTRIES] + count)
            gradient = gradients[layer[WEIGHTS] : layer[WEIGHTS] + count]
            rows_gradient(gradient, network.rows[entries], network.columns[entries], below, deltas, team)
        if place:
            under = panels.deltas[unit - into : unit]
            if layer[FORM] == DENSE:
                dense_backward(values[layer[WEIGHTS] :], deltas, under, team)
            else:
                _rows_backward(network, values, layer, deltas, under, team)
            meet(team)


@compiled
def _rows_backward(network: Network, values: Any, layer: Any, deltas: Any, below: Any, team: Team) -> None:
    """Write the gradient of a layer's inputs, (in, 64), from deltas (out, 64): a product by column."""
    starts = network.back_starts[layer[BACK_STARTS] : layer[BACK_STARTS] + len(below) + 1]
    entry, weight = layer[BACK_ENTRIES], layer[WEIGHTS]
    first, last = share(team, len(below), TOGETHER // LANES)
    turned = np.empty(starts[-1], values.dtype)
    for place in range(starts[first], starts[last]):
        turned[place] = values[weight + network.back_order[entry + place]]
    for row in range(first, last):
        for lane in range(LANES):
            below[row, lane] = 0
    rows_forward(turned, starts, network.back_rows[entry:], deltas, below, team)


@compiled
def _add_biases(values: Any, layer: Any, sums: Any, first: int, last: int, anew: bool) -> None:
    """Add a layer's biases to the sums of some units, or to zero."""
    for row in range(first, last):
        bias = values[layer[BIASES] + row] if layer[BIASES] >= 0 else values.dtype.type(0)
        for lane in range(LANES):
            sums[row, lane] = bias if anew else sums[row, lane] + bias


@compiled
def _blocks(values: Any, layer: Any) -> Any:
    """Return the wide weights of a layer, or their gradients, as (blocks, in, 64)."""
    blocks = (layer[OUTPUTS] + LANES - 1) // LANES
    size = blocks * layer[INPUTS] * LANES
    return values[layer[WEIGHTS] : layer[WEIGHTS] + size].reshape(blocks, layer[INPUTS], LANES)


@compiled
def _base(values: Any, weights: Any, layer: Any, inputs: Inputs) -> Any:
    """Return a layer's sums for an input that is all background, (blocks, 64)."""
    base = np.zeros((len(weights), LANES), values.dtype)
    if layer[BIASES] >= 0:
        for unit in range(layer[OUTPUTS]):
            base[unit // LANES, unit % LANES] = values[layer[BIASES] + unit]
    features = np.empty(len(inputs.background), np.int32)
    for feature in range(len(features)):
        features[feature] = feature
    for block in range(len(weights)):
        add_rows(base, block, inputs.background, features, weights[block], 0, len(features))
    return base
