"""Bounds of activations by interval arithmetic, and the neurons that they show to be zero for every input."""

import copy
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from lthprune.analysis.graph import WEIGHTED
from lthprune.analysis.interpreter import NeuronInterpreter
from lthprune.analysis.operations import rule_of
from lthprune.analysis.signals import Signal, signals_in
from lthprune.analysis.tracing import run_on_examples, traced_network
from lthprune.errors import PruningError

_MONOTONE = frozenset(
    (
        *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
        *(nn.ReLU, nn.ReLU6, nn.SELU, nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid),
        *(F.relu, F.relu6, F.selu, F.tanh, F.sigmoid, F.logsigmoid, F.softsign, F.hardtanh, F.hardsigmoid),
        *(
            torch.relu,
            torch.relu_,
            torch.tanh,
            torch.sigmoid,
            "relu",
            "relu_",
            "tanh",
            "sigmoid",
            "contiguous",
            "clone",
        ),
        *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.ZeroPad2d),
        *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
        *(F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d),
        *(torch.mean, torch.amax, "mean", "amax"),
    )
)
_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")


def dead_neurons(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor] | None = None,
    *,
    masks: Mapping[str, Tensor] | None = None,
    layers: Sequence[str] | None = None,
    input_range: tuple[float, float] = (-math.inf, math.inf),
) -> dict[str, np.ndarray]:
    """Return which neurons (neurons,) of each layer with weights are zero for every input, as far as bounds show it.

    The states of ``neuron_states`` count a neuron as alive if paths connect it to an input and to an output. With ReLU
    it can still be zero for every input. This function computes bounds of all activations layer by layer; a neuron is
    dead if both of its bounds are zero. Bounds ignore that inputs of a neuron depend on each other, so some neurons
    that are zero for every input are not found, and behind an activation that is not monotone (GELU, say) hardly any.

    Args:
        model: as in ``neuron_states``; read in evaluation mode, with its weights and biases as they are.
        inputs: as in ``neuron_states``.
        masks: as in ``neuron_states``.
        layers: as in ``neuron_states``.
        input_range: the lowest and the highest value that an input feature can have; by default unbounded.

    Raises:
        PruningError: the model cannot be traced or uses an unsupported operation; the range is not one.

    Examples:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
        >>> for layer, weight, bias in ((model[0], 1.0, 0.0), (model[2], -1.0, -1.0)):
        ...     _ = nn.init.constant_(layer.weight, weight), nn.init.constant_(layer.bias, bias)
        >>> {name: dead.tolist() for name, dead in dead_neurons(model).items()}
        {'0': [False], '2': [True], '4': [False]}
    """
    try:
        low, high = (float(end) for end in input_range)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not low <= high:
        raise PruningError(f"input_range = {input_range!r}: give the lowest and the highest value, as in (0.0, 1.0).")
    network, live, examples = traced_network(model, inputs, masks=masks, layers=layers)
    interpreter = _BoundsInterpreter(network, live, low, high)
    run_on_examples(interpreter, examples, model)
    dead = interpreter.dead()
    return {layer.name: dead[layer.span].numpy() for layer in interpreter.traced().layers if layer.kind in WEIGHTED}


@dataclass(frozen=True, eq=False)
class _Interval:
    """Bounds of a tensor, in double precision."""

    low: Tensor
    high: Tensor

    @classmethod
    def unbounded(cls, shape: torch.Size) -> "_Interval":
        return cls(torch.full(shape, -torch.inf).double(), torch.full(shape, torch.inf).double())


class _BoundsInterpreter(NeuronInterpreter):
    """Records neurons and, for every node, bounds of its values."""

    def __init__(self, network: fx.GraphModule, masks: Mapping[str, Tensor], low: float, high: float) -> None:
        super().__init__(network, masks)
        self._range = low, high
        self._intervals: dict[fx.Node, Any] = {}
        self._versions: dict[fx.Node, list[int]] = {}  # of tensors that have bounds
        self._read_neurons: list[Tensor] = []
        self._nonzero_neurons: list[Tensor] = []

    def dead(self) -> Tensor:
        """Return which neurons (neurons,) are read, and only as zeros."""
        nonzero, read = (torch.zeros(self.traced().size, dtype=torch.bool) for _ in range(2))
        for marked, numbers in ((read, self._read_neurons), (nonzero, self._nonzero_neurons)):
            for each in numbers:
                marked[each] = True
        return read & ~nonzero

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and compute the bounds of its values."""
        for node in n.all_input_nodes:
            if node in self._intervals and self._versions[node] != _versions(self.env[node]):  # code has overwritten it
                self._intervals[node] = fx.node.map_aggregate(self.env[node], _unbounded)
        result = super().run_node(n)
        if n.name in self.recorder.reading:
            for node in n.all_input_nodes:
                self._mark(self.env[node], self._intervals.get(node))
        if signals_in(result):
            self._intervals[n] = self._interval(n, result)
            self._versions[n] = _versions(result)
        return result

    def _mark(self, signal: Any, interval: Any) -> None:
        if isinstance(signal, Signal):
            self._read_neurons.append(signal.neurons)
            self._nonzero_neurons.append(signal.neurons[(interval.low != 0) | (interval.high != 0)])

    def _interval(self, node: fx.Node, result: Any) -> Any:
        """Return the bounds of a node's result, nested like it."""
        if node.op == "placeholder":
            low, high = self._range
            shape = result.value.shape
            return _Interval(torch.full(shape, low).double(), torch.full(shape, high).double())
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        operation = node.target if module is None else type(module)
        terms = [self._intervals[each] for each in node.all_input_nodes if each in self._intervals]
        found: Any = None
        plain = type(module).__module__.startswith("torch.nn.")  # a derived class can compute anything
        if isinstance(module, nn.Linear | _ConvNd) and plain:
            found = _affine(module, terms[0])
        elif isinstance(module, _BatchNorm) and plain:
            found = _batch_norm(module, terms[0])
        elif rule_of(operation) == "move" or operation in _MONOTONE:
            found = _nested(self._ends(node, "low"), self._ends(node, "high"))
        elif operation in _ADDITIONS and len(node.args) == 2 and not node.kwargs and len(terms) == 2:
            found = _sum(*terms, eps=torch.finfo(result.value.dtype).eps)
        if isinstance(result, Signal) and not (isinstance(found, _Interval) and _usable(found, result)):
            return _Interval.unbounded(result.value.shape)
        return found

    def _ends(self, node: fx.Node, end: str) -> Any:
        """Run a node on the lower or the upper bounds of its arguments."""

        def bound(each: Any) -> Any:
            return getattr(each, end).clone() if isinstance(each, _Interval) else each

        arguments, keywords = fx.node.map_aggregate(
            fx.node.map_arg((node.args, node.kwargs), lambda each: self._intervals.get(each, self.env[each])), bound
        )
        if node.op == "call_module":
            return self.fetch_attr(str(node.target))(*arguments, **keywords)
        if node.op == "call_method":
            return getattr(arguments[0], str(node.target))(*arguments[1:], **keywords)
        return node.target(*arguments, **keywords)  # type: ignore[operator]


def _affine(layer: nn.Linear | _ConvNd, interval: _Interval) -> _Interval:
    """Return the bounds of a layer's sums of inputs, widened by what rounding may add."""
    weight, eps = layer.weight.detach().double(), torch.finfo(layer.weight.dtype).eps
    plain = copy.deepcopy(layer).double()
    plain.bias = None

    def apply(weights: Tensor, values: Tensor) -> Tensor:
        return functional_call(plain, {"weight": weights}, (values,))  # type: ignore[no-any-return]

    positive, negative = weight.clamp(min=0), weight.clamp(max=0)

    def bound(for_positive: Tensor, for_negative: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bound itself, and the sum of its terms' magnitudes, infinite where the bound is."""
        pairs = [(positive, for_positive), (negative, for_negative)]
        finite = [(weights, values.where(values.isfinite(), 0)) for weights, values in pairs]
        total = sum((apply(*pair) for pair in finite), torch.zeros(()))
        size = sum((apply(weights.abs(), values.abs()) for weights, values in finite), torch.zeros(()))
        unbounded = sum((apply(weights.abs(), values.isinf().double()) for weights, values in pairs), torch.zeros(()))
        return total, size.masked_fill(unbounded > 0, torch.inf)

    (low, low_size), (high, high_size) = bound(interval.low, interval.high), bound(interval.high, interval.low)
    if layer.bias is not None:
        bias = layer.bias.detach().double()
        bias = bias if isinstance(layer, nn.Linear) else bias.view(-1, *[1] * (low.ndim - 2))
        low, high, low_size, high_size = low + bias, high + bias, low_size + bias.abs(), high_size + bias.abs()
    rounding = eps * (2 + weight.numel() // max(1, min(weight.shape[:2])))
    return _Interval(low - rounding * low_size, high + rounding * high_size)


def _batch_norm(norm: _BatchNorm, interval: _Interval) -> _Interval | None:
    if norm.running_mean is None or norm.running_var is None:
        return None
    shape = (1, -1, *[1] * (interval.low.ndim - 2))
    mean, variance = (each.double().view(shape) for each in (norm.running_mean, norm.running_var))
    scale = (variance + norm.eps).rsqrt()
    bias = torch.zeros_like(scale)
    if norm.affine:
        scale, bias = scale * norm.weight.detach().double().view(shape), norm.bias.detach().double().view(shape)
    ends = [(each - mean) * scale + bias for each in (interval.low, interval.high)]
    rounding = 8 * torch.finfo(norm.running_mean.dtype).eps * ((mean * scale).abs() + bias.abs())
    return _Interval(torch.minimum(*ends) - rounding, torch.maximum(*ends) + rounding)


def _sum(first: _Interval, second: _Interval, *, eps: float) -> _Interval:
    low, high = first.low + second.low, first.high + second.high
    return _Interval(
        low - eps * (first.low.abs() + second.low.abs()), high + eps * (first.high.abs() + second.high.abs())
    )


def _versions(result: Any) -> list[int]:
    return [signal.value._version for signal in signals_in(result)]


def _unbounded(each: Any) -> Any:
    return _Interval.unbounded(each.value.shape) if isinstance(each, Signal) else each


def _nested(low: Any, high: Any) -> Any:
    if isinstance(low, Tensor):
        return _Interval(low.double(), high.double())
    return tuple(_nested(*pair) for pair in zip(low, high, strict=True))


def _usable(interval: _Interval, signal: Signal) -> bool:
    """Return whether bounds fit a signal; infinity times zero leaves NaN."""
    fits = interval.low.shape == signal.value.shape
    return fits and not bool(interval.low.isnan().any() or interval.high.isnan().any())
