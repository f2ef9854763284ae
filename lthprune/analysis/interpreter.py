"""A network run once, operation by operation, to see which neurons hear which.

With every tensor goes another one of the same shape that says which neuron each element comes from; operations that
only move elements move both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lthprune.analysis.graph import Graph, Layer, LayerKind, Place
from lthprune.analysis.operations import asks_for_a_shape, rule_of, scales, writes_in_place
from lthprune.errors import PruningError


@dataclass(frozen=True, eq=False)
class _Signal:
    """A tensor of one sample, and the number of the neuron that each of its elements comes from."""

    value: Tensor
    neurons: Tensor

    @property
    def channels(self) -> Tensor | None:
        """The neurons of the channels, where every channel is one neuron at all its positions."""
        channels = self.neurons.reshape(1, self.neurons.shape[1], -1)
        return channels[0, :, 0] if bool((channels == channels[:, :, :1]).all()) else None


class _Heard(NamedTuple):
    """The columns that a layer hears; see ``Layer``."""

    neurons: Tensor
    value: Tensor
    steep: Tensor


_NOTHING = _Heard(*(torch.empty(0, dtype=dtype) for dtype in (torch.long, torch.double, torch.bool)))


class NeuronInterpreter(fx.Interpreter):
    """Runs a traced network on examples and takes down its layers.

    Args:
        network: as ``torch.fx`` traced it, in evaluation mode.
        masks: where weights are left, by plain name.
    """

    def __init__(self, network: fx.GraphModule, masks: Mapping[str, Tensor]) -> None:
        super().__init__(network)
        self.extra_traceback = False  # it would add the node's source to our messages
        self._masks = masks
        self._layers: list[Layer] = []
        self._places: list[Place] = []
        self._leaves: list[_Signal] = []  # what layers hand on, before their activations
        self._biased = torch.zeros(0, dtype=torch.bool)
        self._constants = torch.zeros(0)  # NaN until a neuron is first heard
        self._node: fx.Node  # that is run

    def traced(self) -> Graph:
        """Return the graph of what was run."""
        return Graph(tuple(self._layers), tuple(self._places), self._biased, self._constants)

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and remember it."""
        self._node = n
        return super().run_node(n)

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Take down an input."""
        value = super().placeholder(target, args, kwargs)
        return self._enter("input", value, value.numel(), _NOTHING) if isinstance(value, Tensor) else value

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Take down the outputs."""
        for signal in _signals(args):
            self._enter("output", signal.value, *self._joined([signal]))

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a module: a layer, a batch norm, or what there is a rule for."""
        module, signals = self.fetch_attr(target), _signals((args, kwargs))
        if len(signals) == 1 and isinstance(module, nn.Linear):
            return self._dense(target, module, signals[0])
        if len(signals) == 1 and isinstance(module, _ConvNd):
            return self._convolution(target, module, signals[0])
        if len(signals) == 1 and isinstance(module, _BatchNorm):
            return self._normalised(target, module, signals[0])
        return self._by_rule(type(module), f"{type(module).__name__} {target!r}", module, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a function that there is a rule for."""
        return self._by_rule(target, getattr(target, "__name__", str(target)), target, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a tensor's method that there is a rule for."""

        def method(tensor: Any, *rest: Any, **words: Any) -> Any:
            return getattr(tensor, target)(*rest, **words)

        return self._by_rule(target, f"Tensor.{target}", method, args, kwargs)

    def _by_rule(self, operation: Any, name: str, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        def with_signals(read: Callable[[_Signal], Tensor]) -> Any:
            own, words = fx.node.map_aggregate(
                (args, kwargs), lambda each: read(each) if isinstance(each, _Signal) else each
            )
            return run(*own, **words)

        def means(signal: _Signal) -> Tensor:
            return with_signals(lambda _: signal.neurons.double())  # type: ignore[no-any-return]

        signals, rule = _signals((args, kwargs)), rule_of(operation)
        value = with_signals(lambda signal: signal.value)
        if not signals or asks_for_a_shape(operation):
            return value
        if rule == "move":
            return _paired(value, with_signals(lambda signal: signal.neurons.contiguous()))
        if rule == "sum" and len(signals) > 1:
            self._refuse_overwriting(operation, name)
            return self._enter("sum", value, *self._joined(signals))
        if len(signals) == 1:
            (signal,) = signals
            if (rule in ("each", "sum") or scales(operation)) and value.shape == signal.value.shape:
                return _Signal(value, signal.neurons)
            if rule == "mix" and value.ndim == 2:
                everyone = torch.ones(value.numel(), value.numel(), dtype=torch.bool)
                return self._enter("mix", value, value.numel(), self._hear(signal, None), everyone)
            if rule in ("pool", "mean") and value.ndim > 1:
                signal = self._by_channels(signal)
                pooled = _over_positions(_sure(signal.channels), value)
                if pooled is not None and (rule == "pool" or torch.equal(means(signal), pooled.double())):
                    return _Signal(value, pooled)
        raise PruningError(
            f"lthprune does not know what {name} does to neurons (at {self._node.name!r}, shape {_shape(value)}). "
            "Known are dense and convolutional layers, batch norms, activations, pooling, dropout, reshaping, sums and "
            "concatenations. To pass modules one after another and leave the rest out, name them: layers=(...)."
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
                    "Give the sum a name of its own, as in y = y + x."
                )

    def _dense(self, name: str, module: nn.Linear, signal: _Signal) -> _Signal:
        if signal.value.ndim != 2:
            raise PruningError(
                f"the dense layer {name!r} reads a tensor of shape {_shape(signal.value)}; lthprune follows dense "
                "layers on (batch, features) only."
            )
        heard, mask = self._hear(signal, None), self._mask(f"{name}.weight", module.weight)
        out = self._enter("dense", module(signal.value), module.out_features, heard, mask, name=name)
        self._settle(name, module, out.neurons[0][:, None], heard.neurons[None], out.neurons[0])
        return out

    def _convolution(self, name: str, module: _ConvNd, signal: _Signal) -> _Signal:
        signal = self._by_channels(signal)
        heard, groups = self._hear(signal, signal.channels), module.groups
        kernels = (
            self._mask(f"{name}.weight", module.weight).flatten(2).any(dim=2)
        )  # (out, in / groups), or (in, out / groups)
        edges = torch.block_diag(*kernels.chunk(groups))  # type: ignore[no-untyped-call]
        transposed = isinstance(module, _ConvTransposeNd)
        out = self._enter(
            "conv", module(signal.value), module.out_channels, heard, edges.t() if transposed else edges, name=name
        )
        own = _sure(out.channels)
        along, across = (heard.neurons, own) if transposed else (own, heard.neurons)  # axes 0 and 1 of the weights
        across = across.view(groups, -1).repeat_interleave(len(along) // groups, dim=0)
        to, of = (across, along[:, None]) if transposed else (along[:, None], across)
        self._settle(name, module, to, of, own)
        return out

    def _normalised(self, name: str, module: _BatchNorm, signal: _Signal) -> _Signal:
        signal = self._by_channels(signal)
        channels = _sure(signal.channels)
        self._biased[channels] = True
        self._settle(name, module, channels, None, channels)
        return _Signal(module(signal.value), signal.neurons)

    def _mask(self, name: str, parameter: Tensor) -> Tensor:
        return self._masks.get(name, torch.ones_like(parameter, dtype=torch.bool))

    def _settle(self, name: str, module: nn.Module, to: Tensor, of: Tensor | None, own: Tensor) -> None:
        """Note where a module's parameters stand, and which neurons have a bias."""
        for kind, parameter in module.named_parameters(recurse=False):
            mask = self._mask(f"{name}.{kind}", parameter)
            if kind == "weight":
                self._places.append(Place(f"{name}.{kind}", to, of, mask))
            else:
                self._places.append(Place(f"{name}.{kind}", own, None, mask))
                self._biased[own] |= mask

    def _enter(
        self,
        kind: LayerKind,
        value: Tensor,
        size: int,
        heard: _Heard,
        edges: Tensor | None = None,
        *,
        name: str | None = None,
    ) -> _Signal:
        """Take down a layer, of as many neurons as its output has channels or else elements."""
        start = self._layers[-1].neurons.stop if self._layers else 0
        name = name or self._node.name
        if any(layer.name == name for layer in self._layers):  # a module that is called again, say
            name = f"{name} ({self._node.name})"
        self._layers.append(Layer(name, kind, range(start, start + size), *heard, edges))
        self._biased = torch.cat([self._biased, torch.zeros(size, dtype=torch.bool)])
        self._constants = torch.cat([self._constants, torch.full((size,), torch.nan)])
        numbers = torch.arange(start, start + size)
        neurons = numbers.view(value.shape) if size == value.numel() else _over_positions(numbers, value)
        leaf = _Signal(value.detach().requires_grad_(), _sure(neurons))
        self._leaves.append(leaf)
        return _Signal(leaf.value.clone(), leaf.neurons)  # which an activation may overwrite

    def _by_channels(self, signal: _Signal) -> _Signal:
        """Return a signal of which every channel is a neuron; single elements are put together."""
        if signal.channels is not None:
            return signal
        numbers = signal.neurons.reshape(signal.neurons.shape[1], -1).t()
        together = _Signal(signal.value.reshape(numbers.shape[1], -1).t()[None], numbers[None])
        heard = self._hear(together, None)
        return self._enter("sum", signal.value, numbers.shape[1], heard, name=f"channels of {self._node.name}")

    def _joined(self, signals: Sequence[_Signal]) -> tuple[int, _Heard]:
        """Return how many neurons hear these signals side by side, by channels if all signals are, and the columns."""
        shape = torch.broadcast_shapes(*(signal.value.shape for signal in signals))  # type: ignore[no-untyped-call]
        wide = [_Signal(signal.value.expand(shape), signal.neurons.expand(shape)) for signal in signals]
        channels = [signal.channels for signal in wide]
        by_channel = all(each is not None for each in channels)
        parts = [self._hear(each, own if by_channel else None) for each, own in zip(wide, channels, strict=True)]
        return len(parts[0].neurons), _Heard(*map(torch.cat, zip(*parts, strict=True)))

    def _hear(self, signal: _Signal, channels: Tensor | None) -> _Heard:
        """Return the columns of a signal, its channels or else its elements, and note what its neurons hand on."""
        value = signal.value.detach().double()
        fresh = torch.zeros(len(self._constants), 2, dtype=torch.double)
        fresh.index_add_(0, signal.neurons.flatten(), torch.stack([value.flatten(), torch.ones(value.numel())], dim=1))
        means = (fresh[:, 0] / fresh[:, 1]).float()
        self._constants = torch.where(self._constants.isnan(), means, self._constants)
        steep = torch.zeros(len(self._constants), dtype=torch.bool)
        slopes = torch.autograd.grad(
            signal.value.sum(), [leaf.value for leaf in self._leaves], retain_graph=True, allow_unused=True
        )
        for leaf, slope in zip(self._leaves, slopes, strict=True):
            if slope is not None:
                steep[leaf.neurons[slope != 0]] = True
        if channels is None:
            return _Heard(signal.neurons.flatten(), value.flatten(), steep[signal.neurons.flatten()])
        return _Heard(channels, _uniform(value.reshape(len(channels), -1), signal.value.dtype), steep[channels])


def _signals(arguments: Any) -> list[_Signal]:
    found: list[_Signal] = []
    fx.node.map_aggregate(arguments, lambda each: found.append(each) if isinstance(each, _Signal) else None)
    return found


def _paired(value: Any, neurons: Any) -> Any:
    """Return moved tensors with their neurons, alone or as many as there are."""
    if isinstance(value, Tensor):
        return _Signal(value, neurons)
    return tuple(_paired(*pair) for pair in zip(value, neurons, strict=True))


def _over_positions(channels: Tensor, value: Tensor) -> Tensor | None:
    """Return the neurons of channels at all positions of a tensor (1, channels, ...); None if it has others."""
    fits = value.shape[1] == len(channels)
    return channels.view(1, -1, *[1] * (value.ndim - 2)).expand(value.shape) if fits else None


def _uniform(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the one value of every channel (channels, positions), but for rounding; NaN where it has several."""
    least, greatest = values.aminmax(dim=1)
    same = greatest - least <= 8 * torch.finfo(dtype).eps * values.abs().amax(dim=1)
    return torch.where(same, (least + greatest) / 2, torch.nan)


def _sure(neurons: Tensor | None) -> Tensor:
    assert neurons is not None
    return neurons


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
