"""A network run once, operation by operation, to find which neurons read which.

Every tensor is accompanied by one of the same shape with the neuron that each element comes from; operations that only
move elements are applied to both.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lthprune.analysis.graph import Graph, Layer, LayerKind, Operation, Place
from lthprune.analysis.operations import joins, reads_shape, rule_of, scales, writes_in_place
from lthprune.analysis.signals import Signal, constants_in, over_positions, paired, signals_in, uniform
from lthprune.errors import PruningError


class _Columns(NamedTuple):
    """The columns that a layer reads; see ``Layer``."""

    sources: Tensor
    value: Tensor
    responsive: Tensor


_NO_COLUMNS = _Columns(*(torch.empty(0, dtype=dtype) for dtype in (torch.long, torch.double, torch.bool)))


class NeuronInterpreter(fx.Interpreter):
    """Runs a traced network on examples and records its layers, parameters and operations.

    Args:
        network: as ``torch.fx`` traced it, in evaluation mode.
        masks: which elements of parameters are unpruned, by plain name.
    """

    def __init__(self, network: fx.GraphModule, masks: Mapping[str, Tensor]) -> None:
        super().__init__(network)
        self.extra_traceback = False  # it would add the node's source to our messages
        self._masks = masks
        self._layers: list[Layer] = []
        self._places: list[Place] = []
        self._operations: list[Operation] = []
        self._leaves: list[Signal] = []  # the outputs of layers before their activations
        self._biased = torch.zeros(0, dtype=torch.bool)
        self._constants = torch.zeros(0)  # NaN until a neuron is first read
        self._node: fx.Node  # that is run

    def traced(self) -> Graph:
        """Return the graph of what was run."""
        return Graph(tuple(self._layers), tuple(self._places), tuple(self._operations), self._biased, self._constants)

    def run_node(self, n: fx.Node) -> Any:
        """Run a node and record its operation if it involves neurons."""
        self._node = n
        arguments, keywords = self.fetch_args_kwargs_from_env(n)
        result = super().run_node(n)
        returned = signals_in(result)
        if returned or n.op == "output":
            target = type(self.fetch_attr(str(n.target))) if n.op == "call_module" else n.target
            constants = () if rule_of(target) == "move" else constants_in(arguments, keywords)
            neurons = tuple(signal.neurons for signal in returned)
            self._operations.append(Operation(n.name, n.target, constants, neurons))
        return result

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Record an input."""
        value = super().placeholder(target, args, kwargs)
        return self._add_layer("input", value, value.numel(), _NO_COLUMNS) if isinstance(value, Tensor) else value

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Record the outputs."""
        for signal in signals_in(args):
            self._add_layer("output", signal.value, *self._side_by_side([signal]))

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a layer with weights, a batch norm, or a module that has a rule."""
        module, signals = self.fetch_attr(target), signals_in((args, kwargs))
        if len(signals) == 1 and isinstance(module, nn.Linear):
            return self._dense(target, module, signals[0])
        if len(signals) == 1 and isinstance(module, _ConvNd):
            return self._convolution(target, module, signals[0])
        if len(signals) == 1 and isinstance(module, _BatchNorm):
            return self._batch_norm(target, module, signals[0])
        return self._by_rule(type(module), f"{type(module).__name__} {target!r}", module, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a function that has a rule."""
        return self._by_rule(target, getattr(target, "__name__", str(target)), target, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a tensor's method that has a rule."""

        def method(tensor: Any, *rest: Any, **words: Any) -> Any:
            return getattr(tensor, target)(*rest, **words)

        return self._by_rule(target, f"Tensor.{target}", method, args, kwargs)

    def _by_rule(self, operation: Any, name: str, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        def with_signals(read: Callable[[Signal], Tensor]) -> Any:
            own, words = fx.node.map_aggregate(
                (args, kwargs), lambda each: read(each) if isinstance(each, Signal) else each
            )
            return run(*own, **words)

        def means(signal: Signal) -> Tensor:
            return with_signals(lambda _: signal.neurons.double())  # type: ignore[no-any-return]

        signals, rule = signals_in((args, kwargs)), rule_of(operation)
        value = with_signals(lambda signal: signal.value)
        if not signals or (reads_shape(operation) and not isinstance(value, Tensor)):
            return value
        mixed = joins(operation) and any(isinstance(each, Tensor) for each in constants_in(args, kwargs))
        if rule == "move" and not mixed:
            return paired(value, with_signals(lambda signal: signal.neurons.contiguous()))
        if rule == "sum" and len(signals) > 1:
            self._refuse_overwriting(operation, name)
            return self._add_layer("sum", value, *self._side_by_side(signals))
        if len(signals) == 1:
            (signal,) = signals
            if (rule in ("each", "sum") or scales(operation)) and value.shape == signal.value.shape:
                return Signal(value, signal.neurons)
            if rule == "mix" and value.ndim == 2:
                every = torch.ones(value.numel(), value.numel(), dtype=torch.bool)
                return self._add_layer("mix", value, value.numel(), self._read(signal, None), every)
            if rule in ("pool", "mean") and value.ndim > 1:
                signal = self._by_channels(signal)
                pooled = over_positions(_sure(signal.channels), value)
                if pooled is not None and (rule == "pool" or torch.equal(means(signal), pooled.double())):
                    return Signal(value, pooled)
        raise PruningError(
            f"the effect of {name} on neurons is unknown (at {self._node.name!r}, shape {_shape(value)}). Supported "
            "are dense and convolutional layers, batch norms, activations, pooling, dropout, reshaping, sums and "
            "concatenations. To follow only a sequence of modules, name them: layers=(...)."
        )

    def _refuse_overwriting(self, operation: Any, name: str) -> None:
        """Refuse a sum in place of a tensor that is read again under its old name, or that others are views of."""
        first = self._node.args[0] if self._node.args else None
        if writes_in_place(operation) and isinstance(first, fx.Node):
            operation = type(self.fetch_attr(str(first.target))) if first.op == "call_module" else first.target
            moved = rule_of(operation) == "move"
            if moved or len(first.users) > 1:
                raise PruningError(
                    f"{name} overwrites a tensor (at {self._node.name!r}) that is read again, or is a view of another. "
                    "Assign the sum to a new name, as in y = y + x."
                )

    def _dense(self, name: str, module: nn.Linear, signal: Signal) -> Signal:
        if signal.value.ndim != 2:
            raise PruningError(
                f"the dense layer {name!r} reads a tensor of shape {_shape(signal.value)}; only dense layers on "
                "(batch, features) are supported."
            )
        self._check_batch(signal)
        columns, mask = self._read(signal, None), self._mask(f"{name}.weight", module.weight)
        out = self._add_layer("dense", module(signal.value), module.out_features, columns, mask, name=name)
        self._add_places(name, module, out.neurons[0][:, None], columns.sources[None], out.neurons[0])
        return out

    def _convolution(self, name: str, module: _ConvNd, signal: Signal) -> Signal:
        signal = self._by_channels(signal)
        columns, groups = self._read(signal, signal.channels), module.groups
        kernels = (
            self._mask(f"{name}.weight", module.weight).flatten(2).any(dim=2)
        )  # (out, in / groups), or (in, out / groups)
        edges = torch.block_diag(*kernels.chunk(groups))  # type: ignore[no-untyped-call]
        transposed = isinstance(module, _ConvTransposeNd)
        out = self._add_layer(
            "conv", module(signal.value), module.out_channels, columns, edges.t() if transposed else edges, name=name
        )
        own = _sure(out.channels)
        first, second = (columns.sources, own) if transposed else (own, columns.sources)  # axes 0 and 1 of the weights
        second = second.view(groups, -1).repeat_interleave(len(first) // groups, dim=0)
        neurons, sources = (second, first[:, None]) if transposed else (first[:, None], second)
        self._add_places(name, module, neurons, sources, own)
        return out

    def _batch_norm(self, name: str, module: _BatchNorm, signal: Signal) -> Signal:
        signal = self._by_channels(signal)
        channels = _sure(signal.channels)
        self._biased[channels] = True
        self._add_places(name, module, channels, None, channels)
        return Signal(module(signal.value), signal.neurons)

    def _mask(self, name: str, parameter: Tensor) -> Tensor:
        return self._masks.get(name, torch.ones_like(parameter, dtype=torch.bool))

    def _add_places(self, name: str, module: nn.Module, neurons: Tensor, sources: Tensor | None, own: Tensor) -> None:
        """Record the places of a module's parameters, and which neurons have a bias."""
        for kind, parameter in module.named_parameters(recurse=False):
            mask = self._mask(f"{name}.{kind}", parameter)
            if kind == "weight":
                self._places.append(Place(f"{name}.{kind}", neurons, sources, mask))
            else:
                self._places.append(Place(f"{name}.{kind}", own, None, mask))
                self._biased[own] |= mask

    def _add_layer(
        self,
        kind: LayerKind,
        value: Tensor,
        size: int,
        columns: _Columns,
        edges: Tensor | None = None,
        *,
        name: str | None = None,
    ) -> Signal:
        """Record a layer, with a neuron for each channel of its output or else for each element."""
        start = self._layers[-1].neurons.stop if self._layers else 0
        name = name or self._node.name
        if any(layer.name == name for layer in self._layers):  # a module that is called again, say
            name = f"{name} ({self._node.name})"
        self._layers.append(Layer(name, kind, range(start, start + size), *columns, edges))
        self._biased = torch.cat([self._biased, torch.zeros(size, dtype=torch.bool)])
        self._constants = torch.cat([self._constants, torch.full((size,), torch.nan)])
        numbers = torch.arange(start, start + size)
        neurons = numbers.view(value.shape) if size == value.numel() else over_positions(numbers, value)
        leaf = Signal(value.detach().requires_grad_(), _sure(neurons))
        self._leaves.append(leaf)
        return Signal(leaf.value.clone(), leaf.neurons)  # which an activation may overwrite

    def _by_channels(self, signal: Signal) -> Signal:
        """Return a signal with one neuron for each channel; single elements are combined by a layer of sums."""
        self._check_batch(signal)
        if signal.channels is not None:
            return signal
        numbers = signal.neurons.reshape(signal.neurons.shape[1], -1).t()
        flat = Signal(signal.value.reshape(numbers.shape[1], -1).t()[None], numbers[None])
        columns = self._read(flat, None)
        return self._add_layer("sum", signal.value, numbers.shape[1], columns, name=f"channels of {self._node.name}")

    def _check_batch(self, signal: Signal) -> None:
        if len(signal.value) != 1:
            raise PruningError(
                f"the code turns one sample into a batch of {len(signal.value)} (at {self._node.name!r}, shape "
                f"{_shape(signal.value)}); only layers that read one row for each sample are supported."
            )

    def _side_by_side(self, signals: Sequence[Signal]) -> tuple[int, _Columns]:
        """Return the size of a layer that reads these signals, by channels if all have channels, and its columns."""
        shape = torch.broadcast_shapes(*(signal.value.shape for signal in signals))  # type: ignore[no-untyped-call]
        wide = [Signal(signal.value.expand(shape), signal.neurons.expand(shape)) for signal in signals]
        channels = [signal.channels for signal in wide]
        by_channel = all(each is not None for each in channels)
        parts = [self._read(each, own if by_channel else None) for each, own in zip(wide, channels, strict=True)]
        return len(parts[0].sources), _Columns(*map(torch.cat, zip(*parts, strict=True)))

    def _read(self, signal: Signal, channels: Tensor | None) -> _Columns:
        """Return the columns of a signal, its channels or else its elements, and record its neurons' activations."""
        value = signal.value.detach().double()
        sums = torch.zeros(len(self._constants), 2, dtype=torch.double)
        sums.index_add_(0, signal.neurons.flatten(), torch.stack([value.flatten(), torch.ones(value.numel())], dim=1))
        means = (sums[:, 0] / sums[:, 1]).float()
        self._constants = torch.where(self._constants.isnan(), means, self._constants)
        responsive = torch.zeros(len(self._constants), dtype=torch.bool)
        slopes = torch.autograd.grad(
            signal.value.sum(), [leaf.value for leaf in self._leaves], retain_graph=True, allow_unused=True
        )
        for leaf, slope in zip(self._leaves, slopes, strict=True):
            if slope is not None:
                responsive[leaf.neurons[slope != 0]] = True
        if channels is None:
            return _Columns(signal.neurons.flatten(), value.flatten(), responsive[signal.neurons.flatten()])
        return _Columns(channels, uniform(value.reshape(len(channels), -1), signal.value.dtype), responsive[channels])


def _sure(neurons: Tensor | None) -> Tensor:
    assert neurons is not None
    return neurons


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
