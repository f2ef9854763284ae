"""What layers with weights, norms and embeddings do to neurons."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lthprune.analysis.effects import mix
from lthprune.analysis.graph import LayerKind
from lthprune.analysis.recorder import Recorder, numbers_along
from lthprune.analysis.signals import Signal


def name_of(recorder: Recorder, weight: Tensor) -> str | None:
    """Return the name of a layer with these weights: that of their module, or their own if some or transposed."""
    part = recorder.part_of(weight)
    if part is None or part.transposed:
        return None if part is None else part.name
    rows = "" if part.rows == slice(0, part.shape[0]) else f"[{part.rows.start}:{part.rows.stop}]"
    return f"{part.name.removesuffix('.weight')}{rows}"


def dense(recorder: Recorder, signal: Signal, weight: Tensor, bias: Tensor | None) -> Signal:
    """Record a dense layer, which reads the features along the last axis at every position.

    A layer whose weights the network computes connects every feature with every other.
    """
    signal = recorder.along(signal, -1)
    columns = recorder.read(signal, torch.arange(weight.shape[1]), weight.shape[1])
    value, name, numbers = F.linear(signal.value, weight, bias), name_of(recorder, weight), torch.arange(len(weight))
    kind: LayerKind = "mix" if name is None else "dense"
    found = recorder.add_layer(kind, value, numbers, columns, recorder.mask_of(weight), name=name)
    own = found.neurons[(0,) * (found.neurons.ndim - 1)]
    recorder.add_place(weight, own[:, None], columns.sources[None])
    if bias is not None:
        recorder.add_biases(bias, own)
    return found


def convolution(
    recorder: Recorder,
    signal: Signal,
    weight: Tensor,
    bias: Tensor | None,
    *,
    groups: int,
    transposed: bool,
    run: Callable[[Tensor], Tensor],
) -> Signal:
    """Record a convolution, which reads channels."""
    signal = recorder.along(signal, 1)
    columns = recorder.read(signal, numbers_along(1, signal.neurons), signal.neurons.shape[1])
    kernels = recorder.mask_of(weight).flatten(2).any(dim=2)  # (out, in / groups), or (in, out / groups)
    edges = torch.block_diag(*kernels.chunk(groups))  # type: ignore[no-untyped-call]
    edges = edges.t() if transposed else edges
    value = run(signal.value)
    numbers = numbers_along(1, value)
    found = recorder.add_layer("conv", value, numbers, columns, edges, name=name_of(recorder, weight))
    own = _channels(found)
    first, second = (columns.sources, own) if transposed else (own, columns.sources)  # axes 0 and 1 of the weights
    second = second.view(groups, -1).repeat_interleave(len(first) // groups, dim=0)
    neurons, sources = (second, first[:, None]) if transposed else (first[:, None], second)
    recorder.add_place(weight, neurons, sources)
    if bias is not None:
        recorder.add_biases(bias, own)
    return found


def batch_norm(
    recorder: Recorder, signal: Signal, weight: Tensor | None, bias: Tensor | None, run: Callable[[Tensor], Tensor]
) -> Signal:
    """Record a norm that maps each channel on its own, as batch norms with running statistics and instance norms."""
    signal = recorder.along(signal, 1)
    channels = _channels(signal)
    recorder.mark_biased(channels)
    for parameter in (weight, bias):
        if parameter is not None:
            recorder.add_place(parameter, channels)
    return Signal(run(signal.value), signal.neurons)


def layer_norm(
    recorder: Recorder, signal: Signal, shape: Any, weight: Tensor | None, bias: Tensor | None, value: Tensor
) -> Signal:
    """Record a norm over the last axes, of which each feature depends on all."""
    axes = range(signal.value.ndim - len(shape), signal.value.ndim)
    found = mix(recorder, signal, axes, value)
    _add_affine(recorder, found.neurons.reshape(-1, *shape), weight, bias)
    return found


def rms_norm(recorder: Recorder, signal: Signal, shape: Any, weight: Tensor | None, value: Tensor) -> Signal:
    """Record a division by the root of the mean square over the last axes, which maps zeros to zeros."""
    axes = range(signal.value.ndim - len(shape), signal.value.ndim)
    found = mix(recorder, signal, axes, value, "product")
    _add_affine(recorder, found.neurons.reshape(-1, *shape), weight, None)
    return found


def group_norm(
    recorder: Recorder, signal: Signal, groups: int, weight: Tensor | None, bias: Tensor | None, value: Tensor
) -> Signal:
    """Record a norm over the channels of each group."""
    shape = (len(value), groups, -1, *value.shape[2:])
    grouped = Signal(signal.value.reshape(shape), signal.neurons.reshape(shape))
    found = mix(recorder, grouped, range(2, grouped.value.ndim), value.view(grouped.value.shape))
    found = Signal(found.value.view(value.shape), found.neurons.reshape(value.shape))
    _add_affine(recorder, found.neurons.transpose(0, 1).flatten(1).t(), weight, bias)
    return found


def _add_affine(recorder: Recorder, neurons: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """Record the scales and biases of a norm, once for each set of neurons that they are applied to (sets, ...)."""
    for each in torch.unique(neurons, dim=0):
        if weight is not None:
            recorder.add_place(weight, each)
        if bias is not None:
            recorder.add_biases(bias, each)


def embedding(recorder: Recorder, signal: Signal, weight: Tensor, value: Tensor) -> Signal:
    """Record an embedding: a dimension reads all tokens if it has an unpruned entry."""
    size = signal.neurons.numel()
    columns = recorder.read(signal, torch.arange(size).view(signal.neurons.shape), size)
    edges = recorder.mask_of(weight).any(dim=0)[:, None].expand(-1, size)
    name = name_of(recorder, weight)
    found = recorder.add_layer("embedding", value, torch.arange(weight.shape[1]), columns, edges, name=name)
    recorder.add_place(weight, found.neurons[(0,) * (found.neurons.ndim - 1)][None])
    return found


def _channels(signal: Signal) -> Tensor:
    """Return the neurons of channels, each of which is one neuron."""
    return signal.neurons[0].flatten(1)[:, 0] if signal.neurons.ndim > 2 else signal.neurons[0]
