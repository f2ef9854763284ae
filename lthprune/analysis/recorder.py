"""The layers, parameters and operations of a network, recorded while it runs once."""

from collections.abc import Iterable, Mapping
from itertools import chain, count
from typing import NamedTuple

import torch
from torch import Tensor

from lthprune.analysis.graph import Graph, Layer, LayerKind, Operation, Place
from lthprune.analysis.signals import Signal, collapsed, uniform


class Columns(NamedTuple):
    """The columns that a layer reads; see ``Layer``."""

    sources: Tensor
    value: Tensor
    responsive: Tensor

    def select(self, columns: Tensor) -> "Columns":
        """Return some of the columns, in this order."""
        return Columns(*(each[columns] for each in self))


class Part(NamedTuple):
    """Some rows of a parameter."""

    name: str
    rows: slice
    shape: torch.Size  # of the whole parameter
    transposed: bool


NO_COLUMNS = Columns(*(torch.empty(0, dtype=dtype) for dtype in (torch.long, torch.double, torch.bool)))


class Recorder:
    """Numbers neurons and records what reads them.

    Args:
        masks: which elements of parameters are unpruned, by plain name.
        names: the plain names of parameters; the first one of tied parameters.
    """

    def __init__(self, masks: Mapping[str, Tensor], names: Mapping[Tensor, str]) -> None:
        self.operation = ""  # the name of the one that runs
        self.operations: list[Operation] = []
        self.reading: set[str] = set()  # names of operations that are layers
        self.computed: set[str] = set()  # names of parameters that code computes with
        self._masks = masks
        self._names = names
        self._layers: list[Layer] = []
        self._taken: set[str] = set()  # the layers' names
        self._places: list[Place] = []
        self._leaves: list[Signal] = []  # the outputs of layers before their activations
        self._biased = torch.zeros(0, dtype=torch.bool)
        self._fixed = torch.zeros(0, dtype=torch.bool)
        self._constants = torch.zeros(0)  # NaN until a neuron is first read

    def graph(self) -> Graph:
        """Return the graph of what was recorded."""
        own = tuple(self._layers), tuple(self._places), tuple(self.operations)
        return Graph(*own, self._biased, self._constants, self._fixed, frozenset(self.computed))

    def part_of(self, tensor: Tensor) -> "Part | None":
        """Return which parameter a tensor is, or which rows of it, perhaps transposed; None of computed tensors."""
        whole = tensor if tensor in self._names else tensor._base
        if whole is None or whole not in self._names or not whole.is_contiguous():
            return None
        transposed = tensor.ndim == 2 and tensor.shape[0] == whole.shape[-1] and tensor.stride() != whole.stride()
        view = tensor.t() if transposed else tensor
        if view.ndim != whole.ndim or view.shape[1:] != whole.shape[1:] or view.stride() != whole.stride():
            return None
        first = tensor.storage_offset() // max(1, whole.stride(0))
        return Part(self._names[whole], slice(first, first + len(view)), whole.shape, transposed)

    def mask_of(self, tensor: Tensor) -> Tensor:
        """Return which elements of a parameter, or of a part of it, are unpruned."""
        part = self.part_of(tensor)
        if part is None:
            return torch.ones_like(tensor, dtype=torch.bool)
        found = self._whole_mask(part)[part.rows]
        return found.t() if part.transposed else found

    def _whole_mask(self, part: Part) -> Tensor:
        return self._masks.get(part.name, torch.ones((), dtype=torch.bool).expand(part.shape))

    def add_place(self, parameter: Tensor, neurons: Tensor, sources: Tensor | None = None) -> None:
        """Record which neurons a parameter, or a part of it, connects or belongs to; see ``Place``."""
        part, mask = self.part_of(parameter), self.mask_of(parameter)
        if part is not None:
            if part.transposed:
                neurons, sources, mask = neurons.t(), None if sources is None else sources.t(), mask.t()
            self._places.append(Place(part.name, neurons, sources, mask, part.rows, self._whole_mask(part)))

    def add_biases(self, bias: Tensor, neurons: Tensor) -> None:
        """Record which neurons a bias belongs to, one for each of its elements."""
        self.add_place(bias, neurons)
        self._biased[neurons] |= self.mask_of(bias)

    def mark_biased(self, neurons: Tensor) -> None:
        """Count these neurons as constants other than zero if they read no input."""
        self._biased[neurons] = True

    def mark_fixed(self, neurons: Tensor) -> None:
        """Record that code relies on the number of these neurons."""
        self._fixed[neurons] = True

    def add_layer(
        self,
        kind: LayerKind,
        value: Tensor,
        numbers: Tensor,
        columns: Columns,
        edges: Tensor | None = None,
        *,
        name: str | None = None,
    ) -> Signal:
        """Record a layer and return its output.

        Args:
            kind: see ``Layer``.
            value: of the output.
            numbers: which of the layer's neurons each element comes from, of the shape of ``value`` or expanded to it.
            columns: that it reads.
            edges: see ``Layer``.
            name: of the layer; by default that of the operation.
        """
        start = self.add_neurons(kind, int(numbers.max()) + 1 if numbers.numel() else 0, columns, edges, name=name)
        return self.leaf(value, (start + numbers).expand(value.shape))

    def add_neurons(
        self, kind: LayerKind, size: int, columns: Columns, edges: Tensor | None = None, *, name: str | None = None
    ) -> int:
        """Record a layer and return the number of its first neuron."""
        start = self._layers[-1].neurons.stop if self._layers else 0
        name = name or self.operation
        candidates = chain((name, f"{name} ({self.operation})"), (f"{name} ({place})" for place in count(2)))
        name = next(each for each in candidates if each not in self._taken)  # of a module that is called again, say
        self._taken.add(name)
        self._layers.append(Layer(name, kind, range(start, start + size), *columns, edges))
        self._biased, self._fixed = (torch.cat([each, each.new_zeros(size)]) for each in (self._biased, self._fixed))
        self._constants = torch.cat([self._constants, torch.full((size,), torch.nan)])
        return start

    def leaf(self, value: Tensor, neurons: Tensor) -> Signal:
        """Return the output of a layer, which an activation may overwrite."""
        value = value.detach()
        leaf = Signal(value.requires_grad_() if value.is_floating_point() else value, neurons)
        self._leaves.append(leaf)
        return Signal(leaf.value.clone(), neurons)

    def read(self, signal: Signal, groups: Tensor, size: int) -> Columns:
        """Return the columns of a signal, and record the activations of its neurons.

        Args:
            signal: that is read.
            groups: the column of each element, of the shape of the signal or expanded to it. The elements of a column
                come from one neuron.
            size: the number of columns.
        """
        self.reading.add(self.operation)
        neurons, groups = signal.neurons.flatten(), groups.expand(signal.neurons.shape)
        value = signal.value.detach().double()
        ones = torch.ones(value.numel(), dtype=torch.double)
        sums = torch.zeros(len(self._constants), 2, dtype=torch.double)
        sums.index_add_(0, neurons, torch.stack([value.flatten(), ones], dim=1))
        self._set_constants((sums[:, 0] / sums[:, 1]).float())
        sources = torch.zeros(size, dtype=torch.long)
        sources[groups.flatten()] = neurons
        own = uniform(value, groups, size, signal.value.dtype)
        return Columns(sources, own, self._responsive(signal)[sources])

    def read_units(self, start: int, value: Tensor) -> Columns:
        """Return the columns of hidden units with these activations (..., units)."""
        numbers = torch.arange(start, start + value.shape[-1])
        found = self.read(Signal(value, numbers.expand(value.shape)), torch.arange(len(numbers)), len(numbers))
        return found._replace(responsive=torch.ones(len(numbers), dtype=torch.bool))

    def read_products(self, start: int, values: Tensor) -> Columns:
        """Return the columns of products whose tensor is never made, and record them as their activations."""
        found = torch.full((len(self._constants),), torch.nan)
        found[start : start + len(values)] = values.float()
        self._set_constants(found)
        numbers = torch.arange(start, start + len(values))
        return Columns(numbers, values, torch.ones(len(values), dtype=torch.bool))

    def _set_constants(self, activations: Tensor) -> None:
        self._constants = torch.where(self._constants.isnan(), activations, self._constants)

    def _responsive(self, signal: Signal) -> Tensor:
        """Return which neurons' sums of inputs a signal has a derivative other than zero to."""
        responsive = torch.zeros(len(self._constants), dtype=torch.bool)
        if signal.value.requires_grad and signal.value.grad_fn is not None:
            leaves = [leaf for leaf in self._leaves if leaf.value.requires_grad]
            slopes = torch.autograd.grad(
                signal.value.sum(), [leaf.value for leaf in leaves], retain_graph=True, allow_unused=True
            )
            for leaf, slope in zip(leaves, slopes, strict=True):
                if slope is not None:
                    responsive[leaf.neurons[slope != 0]] = True
        return responsive

    def along(self, signal: Signal, axis: int) -> Signal:
        """Return a signal with one neuron for each index of an axis; others are combined by a layer of sums."""
        axis %= signal.value.ndim
        (small,) = collapsed(signal.neurons, except_axis=axis)
        size = small.shape[axis]
        if small.numel() == size:
            return signal
        places = torch.arange(small.numel()).view(*moved_shape(small, axis)).movedim(-1, axis)
        columns = self.read(signal, places, small.numel())
        numbers = numbers_along(axis, small)
        what = "channels" if axis == 1 else "features"
        return self.add_layer("sum", signal.value, numbers, columns, name=f"{what} of {self.operation}")


def joined(columns: Iterable[Columns]) -> Columns:
    """Return several columns as one."""
    return Columns(*map(torch.cat, zip(*columns, strict=True)))


def moved_shape(tensor: Tensor, axis: int) -> list[int]:
    """Return the shape of a tensor whose axis is moved to the end."""
    shape = list(tensor.shape)
    return [*shape[:axis], *shape[axis + 1 :], shape[axis]]


def numbers_along(axis: int, tensor: Tensor) -> Tensor:
    """Return the index of each element along an axis, in a shape that expands to the tensor's."""
    shape = [1] * tensor.ndim
    shape[axis] = tensor.shape[axis]
    return torch.arange(tensor.shape[axis]).view(shape)


def names_of(parameters: Iterable[tuple[str, Tensor]]) -> dict[Tensor, str]:
    """Return the first name of each parameter."""
    names: dict[Tensor, str] = {}
    for name, parameter in parameters:
        names.setdefault(parameter, name)
    return names
