"""A network as a graph: neurons are its nodes, unpruned weights its edges."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

LayerKind = Literal["input", "constant", "dense", "conv", "embedding", "recurrent", "sum", "product", "mix", "output"]
WEIGHTED: tuple[LayerKind, ...] = ("dense", "conv", "embedding", "recurrent")


@dataclass(frozen=True, eq=False)  # tensors have no truth value to compare by
class Layer:
    """The neurons of one layer, and the neurons that they read.

    A neuron is a feature of an input or of a dense layer, a channel of a convolution, a dimension of an embedding or a
    hidden unit. Sums and products of tensors, norms, constants that are joined with neurons, and the network's outputs
    are layers without weights, so that every path can be followed. The columns of a layer are
    the values that it reads: the features of a dense layer's input, the channels of a convolution's.

    Attributes:
        name: the module's name; of an input, a sum or an output that of its node in the ``torch.fx`` graph.
        kind: those in ``WEIGHTED`` have weights. A ``product`` is zero if one of its factors is; the neurons of a
            ``mix`` (a norm, a softmax) depend on the number of neurons that they read.
        neurons: their numbers within the graph.
        sources: (columns,), the number of the neuron that each column reads.
        value: (columns,), the value read when the network was traced; NaN of a channel with several values.
        responsive: (columns,), whether the value read has a derivative other than zero with respect to its neuron's
            sum of inputs.
        edges: (neurons, columns), where a weight is unpruned; None of a layer without weights, whose neuron
            ``j % len(neurons)`` reads column j.
    """

    name: str
    kind: LayerKind
    neurons: range
    sources: Tensor
    value: Tensor
    responsive: Tensor
    edges: Tensor | None

    @property
    def span(self) -> slice:
        """The place of its neurons in an array of all neurons of the graph."""
        return slice(self.neurons.start, self.neurons.stop)

    @property
    def zero(self) -> Tensor:
        """(columns,), whether the value read was zero when the network was traced."""
        return self.value == 0

    def others(self, live: Tensor) -> Tensor:
        """Return for each column whether the other factors of its product are live (columns,); true of other layers."""
        if self.kind != "product" or not len(self.neurons):
            return torch.ones(len(self.sources), dtype=torch.bool)
        dead = (~live).view(-1, len(self.neurons))
        return (dead.sum(dim=0) - dead.long() == 0).flatten()

    def successors(self, columns: Tensor) -> Tensor:
        """Return which neurons (neurons, k) have an edge from one of the marked columns (columns, k)."""
        if self.edges is None:
            return columns.view(-1, len(self.neurons), columns.shape[1]).any(dim=0)
        return self._float_edges @ columns.float() > 0

    def predecessors(self, neurons: Tensor) -> Tensor:
        """Return which columns (columns, k) have an edge to one of the marked neurons (neurons, k)."""
        if self.edges is None:
            return neurons.repeat(len(self.sources) // max(1, len(self.neurons)), 1)
        return self._float_edges.t() @ neurons.float() > 0

    @cached_property
    def _float_edges(self) -> Tensor:
        """The edges as floats, cached: the conversion costs as much as a matrix product."""
        assert self.edges is not None
        return self.edges.float()

    def pairs(self) -> Tensor:
        """Return the edges as pairs of neurons (edges, 2): the one that is read, and the one that reads it."""
        first = self.neurons.start
        if self.edges is None:
            column = torch.arange(len(self.sources))
            return torch.stack([self.sources, first + column % max(1, len(self.neurons))], dim=1)
        reader, column = self.edges.nonzero(as_tuple=True)
        return torch.stack([self.sources[column], first + reader], dim=1)


ColumnFilter = Callable[[Layer], Tensor]  # (columns,), the columns of a layer that paths may use


@dataclass(frozen=True, eq=False)
class Place:
    """The neurons that a parameter connects or belongs to.

    Attributes:
        name: the parameter's plain name.
        neurons: the numbers of the neurons that it belongs to; of weights two axes, as the weight's first two or
            broadcast to them.
        sources: of weights the numbers of the neurons that they read, with two axes like ``neurons``; None of biases
            and of the parameters of a batch norm.
        mask: which of its elements are unpruned, of its shape.
        rows: of the parameter that are read in this place; ``neurons``, ``sources`` and ``mask`` are of these.
        whole: which elements of the whole parameter are unpruned.
    """

    name: str
    neurons: Tensor
    sources: Tensor | None
    mask: Tensor
    rows: slice
    whole: Tensor


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of the network's code on values of neurons.

    Attributes:
        name: of its node in the ``torch.fx`` graph.
        target: the function that it calls, or the name of the method or module.
        constants: its arguments, None for each that holds values of neurons. Of an operation that only moves elements
            the tuple is empty: ``neurons`` shows all that it does.
        neurons: for each tensor that it returns, the number of the neuron that each element comes from.
    """

    name: str
    target: Any
    constants: tuple[Any, ...]
    neurons: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network's layers, parameters and operations.

    Attributes:
        layers: in the order of computation: inputs first, outputs last.
        places: of the parameters of dense and convolutional layers and of batch norms.
        operations: in the order of computation.
        biased: (neurons,), which neurons have an unpruned bias or a batch norm after them.
        constants: (neurons,), the activation of each neuron when the network was traced, a channel's mean over its
            positions. It holds for every input only if no path leads from an input to the neuron.
        fixed: (neurons,), whose number the network's code relies on, because it splits an axis of them into several.
        computed: the names of parameters that the network's code computes with, in addition to layers that read them.
    """

    layers: tuple[Layer, ...]
    places: tuple[Place, ...]
    operations: tuple[Operation, ...]
    biased: Tensor
    constants: Tensor
    fixed: Tensor
    computed: frozenset[str]

    @property
    def size(self) -> int:
        """The number of neurons."""
        return self.layers[-1].neurons.stop

    def numbers(self, kind: LayerKind) -> Tensor:
        """Return the numbers of all neurons in layers of this kind, in order."""
        found = [torch.arange(layer.neurons.start, layer.neurons.stop) for layer in self.layers if layer.kind == kind]
        return torch.cat(found) if found else torch.empty(0, dtype=torch.long)

    def weighted(self) -> Tensor:
        """Return which neurons (neurons,) are in layers with weights."""
        weighted = torch.zeros(self.size, dtype=torch.bool)
        for kind in WEIGHTED:
            weighted[self.numbers(kind)] = True
        return weighted

    def mark(self, numbers: Tensor) -> Tensor:
        """Return a mask (neurons, 1) of these neurons."""
        marked = torch.zeros(self.size, 1, dtype=torch.bool)
        marked[numbers] = True
        return marked

    def descendants(self, marked: Tensor, through: ColumnFilter | None = None) -> Tensor:
        """Return the marked neurons (neurons, k) and all that a path leads to from one of them.

        ``through`` returns the columns of a layer that paths may use; by default all.
        """
        reached = marked.clone()
        for layer in self.layers:
            reached[layer.span] |= _successors(layer, reached, through)
        return reached

    def successors(self, marked: Tensor, through: ColumnFilter | None = None) -> Tensor:
        """Return the neurons (neurons, k) that directly read one of the marked neurons (neurons, k)."""
        reached = torch.zeros_like(marked)
        for layer in self.layers:
            reached[layer.span] = _successors(layer, marked, through)
        return reached

    def ancestors(self, marked: Tensor, through: ColumnFilter | None = None, among: Tensor | None = None) -> Tensor:
        """Return the marked neurons (neurons, k) and all that a path leads from to one of them.

        Paths use the columns that ``through`` returns and the neurons ``among`` (neurons, 1), which also limit what is
        returned; by default all.
        """
        reached = marked.clone()
        for layer in reversed(self.layers):
            if among is not None:
                reached[layer.span] &= among[layer.span]
            columns = layer.predecessors(reached[layer.span])
            if through is not None:
                columns &= through(layer)[:, None]
            column, mark = columns.nonzero(as_tuple=True)
            reached[layer.sources[column], mark] = True
        return reached

    def predecessors(self, marked: Tensor) -> Tensor:
        """Return the neurons (neurons, k) that one of the marked neurons (neurons, k) reads directly."""
        reached = torch.zeros_like(marked)
        for layer in self.layers:
            column, mark = layer.predecessors(marked[layer.span]).nonzero(as_tuple=True)
            reached[layer.sources[column], mark] = True
        return reached

    def silent(self) -> Tensor:
        """Return the neurons (neurons,) of which readers saw only zeros when the network was traced."""
        silent = torch.ones(self.size, dtype=torch.bool)
        for layer in self.layers:
            silent[layer.sources[~layer.zero]] = False
        return silent


def _successors(layer: Layer, marked: Tensor, through: ColumnFilter | None) -> Tensor:
    """Return which neurons of a layer (neurons of the layer, k) directly read marked ones (neurons of the graph, k)."""
    columns = marked[layer.sources]
    if through is not None:
        columns &= through(layer)[:, None]
    return layer.successors(columns)
