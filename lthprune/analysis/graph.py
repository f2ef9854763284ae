"""A network as a graph: neurons are its nodes, unpruned weights its edges."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

LayerKind = Literal["input", "dense", "conv", "sum", "mix", "output"]
WEIGHTED: tuple[LayerKind, ...] = ("dense", "conv")


@dataclass(frozen=True, eq=False)  # tensors have no truth value to compare by
class Layer:
    """Neurons side by side, and what each of them hears.

    A neuron is a feature of an input or of a dense layer, or a channel of a convolution. Where tensors are added, and
    where the network ends, stand neurons without weights, so that every path can be followed.

    Attributes:
        name: the module's name; of an input, a sum or an output that of its node in the ``torch.fx`` graph.
        kind: what it is; ``input``, ``sum``, ``mix`` (a softmax) and ``output`` have no weights.
        neurons: their numbers within the graph.
        heard: (in,), the number of the neuron that each column of the weights listens to.
        value: (in,), what is heard for the input that the network was traced with; NaN of a channel that does not have
            the same value at all its positions.
        steep: (in,), where what is heard would change with the neuron's sum of inputs (the derivative is not zero).
        edges: (neurons, in), where a weight is left; None where column j leads to neuron j modulo their number.
    """

    name: str
    kind: LayerKind
    neurons: range
    heard: Tensor
    value: Tensor
    steep: Tensor
    edges: Tensor | None

    @property
    def own(self) -> slice:
        """Where its neurons are in what is known of all neurons of the graph."""
        return slice(self.neurons.start, self.neurons.stop)

    @property
    def zero(self) -> Tensor:
        """Where what is heard is zero (in,), for the input that the network was traced with."""
        return self.value == 0

    def listen(self, signal: Tensor) -> Tensor:
        """Return which neurons (neurons, k) have an edge to a column that carries a signal (in, k)."""
        if self.edges is None:
            return signal.view(-1, len(self.neurons), signal.shape[1]).any(dim=0)
        return self._weights @ signal.float() > 0

    def ask(self, signal: Tensor) -> Tensor:
        """Return which columns (in, k) have an edge to a neuron that carries a signal (neurons, k)."""
        if self.edges is None:
            return signal.repeat(len(self.heard) // max(1, len(self.neurons)), 1)
        return self._weights.t() @ signal.float() > 0

    @cached_property
    def _weights(self) -> Tensor:
        """The edges as numbers, kept because turning them into numbers costs as much as a product with them."""
        assert self.edges is not None
        return self.edges.float()

    def pairs(self) -> Tensor:
        """Return the edges as pairs of numbers (edges, 2): the neuron that is heard, and the one that hears it."""
        first = self.neurons.start
        if self.edges is None:
            at = torch.arange(len(self.heard))
            return torch.stack([self.heard, first + at % max(1, len(self.neurons))], dim=1)
        to, column = self.edges.nonzero(as_tuple=True)
        return torch.stack([self.heard[column], first + to], dim=1)


Columns = Callable[[Layer], Tensor]  # (in,), the columns of a layer that count


@dataclass(frozen=True, eq=False)
class Place:
    """Where a parameter stands in the graph.

    Attributes:
        name: its plain name.
        to: the numbers of the neurons that it belongs to; for weights of two axes, as the weight's first two or
            broadcast to them.
        of: for weights the numbers of the neurons that they listen to, of two axes like ``to``; None for biases and
            for what belongs to a batch norm.
        mask: where it is left, of its own shape.
    """

    name: str
    to: Tensor
    of: Tensor | None
    mask: Tensor


@dataclass(frozen=True, eq=False)
class Graph:
    """A network's layers in the order in which signals pass them, and whose its tensors are.

    Attributes:
        layers: inputs first, outputs last.
        places: where the parameters of dense and convolutional layers and of batch norms stand.
        biased: (neurons,), which have an unpruned bias or a batch norm after them.
        constants: (neurons,), what every neuron hands on for the input that the network was traced with; for a channel
            the mean over its positions. It means something where no input is heard.
    """

    layers: tuple[Layer, ...]
    places: tuple[Place, ...]
    biased: Tensor
    constants: Tensor

    @property
    def size(self) -> int:
        """The number of neurons."""
        return self.layers[-1].neurons.stop

    def numbers(self, kind: LayerKind) -> Tensor:
        """Return the numbers of all neurons of a kind of layer, in order."""
        own = [torch.arange(layer.neurons.start, layer.neurons.stop) for layer in self.layers if layer.kind == kind]
        return torch.cat(own) if own else torch.empty(0, dtype=torch.long)

    def weighted(self) -> Tensor:
        """Return which neurons (neurons,) have weights."""
        weighted = torch.zeros(self.size, dtype=torch.bool)
        for kind in WEIGHTED:
            weighted[self.numbers(kind)] = True
        return weighted

    def marked(self, numbers: Tensor) -> Tensor:
        """Return a signal (neurons, 1) that is on for these neurons alone."""
        signal = torch.zeros(self.size, 1, dtype=torch.bool)
        signal[numbers] = True
        return signal

    def forward(self, signal: Tensor, through: Columns | None = None) -> Tensor:
        """Return who hears a signal (neurons, k), directly or through others, those that send it included.

        ``through`` says of a layer which of its columns (in,) carry anything; all where nothing is said.
        """
        reached = signal.clone()
        for layer in self.layers:
            reached[layer.own] |= _listeners(layer, reached, through)
        return reached

    def next(self, signal: Tensor, through: Columns | None = None) -> Tensor:
        """Return who hears a signal (neurons, k) directly."""
        reached = torch.zeros_like(signal)
        for layer in self.layers:
            reached[layer.own] = _listeners(layer, signal, through)
        return reached

    def backward(self, signal: Tensor, through: Columns | None = None) -> Tensor:
        """Return who speaks to the neurons of a signal (neurons, k), directly or through others, these included."""
        reached = signal.clone()
        for layer in reversed(self.layers):
            asked = layer.ask(reached[layer.own])
            if through is not None:
                asked &= through(layer)[:, None]
            columns, tasks = asked.nonzero(as_tuple=True)
            reached[layer.heard[columns], tasks] = True
        return reached

    def previous(self, signal: Tensor) -> Tensor:
        """Return who speaks to the neurons of a signal (neurons, k) directly."""
        reached = torch.zeros_like(signal)
        for layer in self.layers:
            columns, tasks = layer.ask(signal[layer.own]).nonzero(as_tuple=True)
            reached[layer.heard[columns], tasks] = True
        return reached

    def silent(self) -> Tensor:
        """Return which neurons (neurons,) nobody hears anything but zero of, for the input of the tracing."""
        silent = torch.ones(self.size, dtype=torch.bool)
        for layer in self.layers:
            silent[layer.heard[~layer.zero]] = False
        return silent


def _listeners(layer: Layer, signal: Tensor, through: Columns | None) -> Tensor:
    """Return which neurons (of the layer, k) hear a signal (neurons of the graph, k) directly."""
    heard = signal[layer.heard]
    if through is not None:
        heard &= through(layer)[:, None]
    return layer.listen(heard)
