"""What operations without weights do to neurons: sums, products, norms, pooling, products of matrices."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.analysis.contraction import contract, equation_of_matmul
from lthprune.analysis.graph import LayerKind
from lthprune.analysis.operations import SHAPED_LIKE, axes_of, divides, joins, pads, rule_of
from lthprune.analysis.recorder import NO_COLUMNS, Recorder, joined, numbers_along
from lthprune.analysis.signals import Signal, collapsed, combinations, constants_in, paired, signals_in


@dataclass(frozen=True, eq=False)
class Call:
    """An operation that runs.

    Attributes:
        operation: a module, a function, or the name of a tensor's method.
        run: what to call.
        arguments: with signals in place of tensors that come from neurons.
        keywords: likewise.
    """

    operation: Any
    run: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    @property
    def kind(self) -> Any:
        """The key of the operation in the table of rules."""
        return type(self.operation) if isinstance(self.operation, nn.Module) else self.operation

    def apply(self, read: Callable[[Signal], Any]) -> Any:
        """Run the operation on something that is read from each signal."""
        own, words = torch.fx.node.map_aggregate(
            (self.arguments, self.keywords), lambda each: read(each) if isinstance(each, Signal) else each
        )
        return self.run(*own, **words)


def effect(recorder: Recorder, call: Call, value: Any) -> Any:
    """Return the signals that an operation returns, nested like its values; None if its effect is unknown."""
    signals, rule = signals_in((call.arguments, call.keywords)), rule_of(call.kind)
    if rule == "shape" and not (call.operation is getattr and isinstance(value, Tensor)):
        return value
    if rule == "move":
        return _move(recorder, call, value)
    if rule == "contract":
        terms = _factors(call)
        return None if terms is None else contract(recorder, *terms, value)
    combines = rule in ("sum", "product") or divides(call.operation)
    if combines and len(signals) > 1:
        return combine(recorder, "product" if rule == "product" else "sum", signals, value)
    if len(signals) != 1 or not isinstance(value, Tensor):
        return None
    (signal,) = signals
    if rule == "each" or combines:
        if rule == "sum" and any(_trainable(each) for each in constants_in(call.arguments, call.keywords)):
            recorder.mark_biased(signal.neurons)  # by a parameter that is added
        fits = torch.broadcast_shapes(signal.value.shape, value.shape) == value.shape  # type: ignore[no-untyped-call]
        return Signal(value, signal.neurons.expand(value.shape)) if fits else None
    if rule == "pool":
        return _pool(recorder, call, signal, value)
    if rule in ("mix", "rescale", "reduce"):
        axes = axes_of(call.operation, call.arguments, call.keywords, signal.value.ndim)
        if rule == "reduce":
            return reduce(recorder, signal, axes, value)
        return mix(recorder, signal, axes, value, "mix" if rule == "mix" else "product")
    return None


def combine(recorder: Recorder, kind: LayerKind, signals: Sequence[Signal], value: Tensor) -> Signal:
    """Return an elementwise sum or product: a layer with a neuron for each combination of neurons."""
    wide = [_expanded(each, value.shape) for each in signals]
    numbers = combinations(collapsed(*(each.neurons for each in wide)))
    size = int(numbers.max()) + 1
    return recorder.add_layer(kind, value, numbers, joined(recorder.read(each, numbers, size) for each in wide))


def mix(recorder: Recorder, signal: Signal, axes: Sequence[int], value: Tensor, kind: LayerKind = "mix") -> Signal:
    """Return a tensor whose elements each depend on all elements along some axes, as after a norm or a softmax.

    A neuron for each group of neurons reads all of them; an element reads its own neuron and that of its group.
    """
    (small,) = collapsed(signal.neurons)
    if all(small.shape[axis] == 1 for axis in axes):  # mixes only the positions of one neuron
        return Signal(value, signal.neurons)
    size = signal.value.abs().amax(dim=tuple(axes), keepdim=True)
    whole = _expanded(_gather(recorder, signal, small, axes, size), signal.value.shape)
    numbers = torch.arange(small.numel()).view(small.shape)
    columns = joined(recorder.read(each, numbers, small.numel()) for each in (signal, whole))
    return recorder.add_layer(kind, value, numbers, columns)


def reduce(recorder: Recorder, signal: Signal, axes: Sequence[int], value: Tensor) -> Signal:
    """Return a mean, a sum or a maximum over some axes: of the positions of a neuron, or of several neurons."""
    (small,) = collapsed(signal.neurons)
    kept = [1 if axis in axes else length for axis, length in enumerate(signal.value.shape)]
    if all(small.shape[axis] == 1 for axis in axes):
        return Signal(value, small.expand(kept).reshape(value.shape))
    found = _gather(recorder, signal, small, axes, value.reshape(kept))
    return Signal(found.value.view(value.shape), found.neurons.reshape(value.shape))


def _gather(recorder: Recorder, signal: Signal, small: Tensor, axes: Sequence[int], value: Tensor) -> Signal:
    """Record a layer with a neuron for each group of neurons along some axes."""
    others = [axis for axis in range(small.ndim) if axis not in axes]
    order = [*sorted(axes), *others]
    shape = [small.shape[axis] for axis in order]
    back = [order.index(axis) for axis in range(small.ndim)]
    places = torch.arange(small.numel()).view(shape).permute(back)
    groups = prod(small.shape[axis] for axis in others)
    numbers = torch.arange(groups).view([1 if axis in axes else small.shape[axis] for axis in range(small.ndim)])
    columns = recorder.read(signal, places, small.numel())
    return recorder.add_layer("mix", value, numbers, columns)


def _expanded(signal: Signal, shape: torch.Size) -> Signal:
    return Signal(signal.value.expand(shape), signal.neurons.expand(shape))


def _move(recorder: Recorder, call: Call, value: Any) -> Any:
    """Move neurons like values; a constant that is joined with signals becomes a layer."""
    if joins(call.operation):
        parts = call.arguments[0] if call.arguments else call.keywords["tensors"]
        parts = [each if isinstance(each, Signal) else constant(recorder, each) for each in parts]
        words = {name: each for name, each in call.keywords.items() if name != "tensors"}
        call = Call(call.operation, call.run, (parts, *call.arguments[1:]), words)
    elif call.operation in SHAPED_LIKE:
        tensor, like = (*call.arguments, *call.keywords.values())
        if not isinstance(tensor, Signal):
            return value
        like = like.value if isinstance(like, Signal) else like
        call = Call(call.operation, call.run, (tensor, like), {})
    elif len(signals_in((call.arguments, call.keywords))) > 1 or signals_in(call.arguments[1:]):
        return None  # moved to places that depend on values
    moved = paired(value, call.apply(lambda signal: signal.neurons.contiguous()))
    if not joins(call.operation):
        (signal,) = signals_in((call.arguments, call.keywords))
        axes = _varying(signal.neurons)
        if any(_varying(each.neurons) > axes for each in signals_in(moved)):  # as in features.view(heads, -1)
            recorder.mark_fixed(signal.neurons)
    return moved


def _varying(neurons: Tensor) -> int:
    """Return along how many axes a tensor of neurons varies."""
    return sum(length > 1 for length in collapsed(neurons)[0].shape)


def constant(recorder: Recorder, value: Tensor) -> Signal:
    """Return a constant as a layer without inputs."""
    (small,) = collapsed(value.detach())
    numbers = torch.arange(small.numel()).view(small.shape)
    found = recorder.add_layer("constant", value, numbers, NO_COLUMNS)
    biased = torch.ones_like(small, dtype=torch.bool) if value.requires_grad else small != 0
    recorder.mark_biased(found.neurons[biased.expand(value.shape)])
    return found


def _pool(recorder: Recorder, call: Call, signal: Signal, value: Tensor) -> Signal | None:
    """Return pooled or padded channels, if each comes from one neuron or becomes one."""
    if pads(call.kind):
        (small,) = collapsed(signal.neurons)
        same = [old == new for old, new in zip(signal.value.shape, value.shape, strict=True)]
        if all(length == 1 or own for length, own in zip(small.shape, same, strict=True)):
            return Signal(value, small.expand(value.shape))
        if not all(same[:2]):
            return None
    dimensions = re.search(r"([123])d", getattr(call.kind, "__name__", str(call.kind)))
    if signal.value.ndim < 3 or (dimensions and signal.value.ndim != int(dimensions[1]) + 2):
        return None
    signal = recorder.along(signal, 1)
    (small,) = collapsed(signal.neurons, except_axis=1)
    value = call.apply(lambda _: signal.value)
    return Signal(value, small.expand(value.shape)) if value.shape[1] == small.shape[1] else None


def _factors(call: Call) -> tuple[str, tuple[Signal, Signal]] | None:
    """Return the equation of a product and its two factors; None if it has others than two signals."""
    names = {"input", "other", "mat2"}.intersection(call.keywords)
    if call.operation is torch.einsum:
        equation, *operands = call.arguments
        operands = list(operands[0]) if operands and isinstance(operands[0], list | tuple) else operands
    else:
        equation, operands = "", [*call.arguments, *(call.keywords[name] for name in sorted(names))]
    if len(names) != len(call.keywords) or [isinstance(each, Signal) for each in operands] != [True, True]:
        return None
    first, second = operands
    return equation or equation_of_matmul(first.value.ndim, second.value.ndim), (first, second)


def _trainable(constant: Any) -> bool:
    return isinstance(constant, Tensor) and constant.requires_grad


def lateral(recorder: Recorder, signal: Signal, size: int, value: Tensor) -> Signal:
    """Return channels, each divided by a norm over ``size`` of its neighbours; zeros stay zeros."""
    signal = recorder.along(signal, 1)
    channels = signal.value.shape[1]
    numbers = numbers_along(1, signal.value)
    distance = torch.arange(channels)[None] - torch.arange(channels)[:, None]
    near = (distance >= -(size // 2)) & (distance <= (size - 1) // 2)
    norm = recorder.add_layer("mix", torch.ones_like(value), numbers, recorder.read(signal, numbers, channels), near)
    return combine(recorder, "product", [signal, norm], value)
