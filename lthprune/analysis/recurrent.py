"""What recurrent layers do to neurons: their hidden units read features, and each other through time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.analysis.recorder import Columns, Recorder
from lthprune.analysis.signals import Signal
from lthprune.errors import PruningError


def recurrent(recorder: Recorder, module: nn.RNNBase, arguments: Sequence[Any]) -> Any:
    """Record an ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` that starts from zeros; return its outputs, or None if another.

    A hidden unit is one neuron at all positions. It reads a feature or a unit if one of its gates does.
    """
    signal, *rest = arguments
    if any(each is not None for each in rest) or module.proj_size or signal.value.ndim != 3:
        return None  # of two axes the first is time
    if not module.batch_first:
        check_time(module, signal)
    directions = ["", "_reverse"] if module.bidirectional else [""]
    final: list[Tensor] = []
    for layer in range(module.num_layers):
        signal = recorder.along(signal, -1)
        value, _ = _one_layer(module, layer)(signal.value)
        units = [_units(recorder, module, signal, value, f"l{layer}{way}", way) for way in directions]
        final += units
        signal = recorder.leaf(value, torch.cat(units).expand(value.shape))
    _, states = module(arguments[0].value)
    last = torch.stack(final)[:, None]  # (layers x directions, 1, units)
    several = states if isinstance(states, tuple) else (states,)
    ends = tuple(recorder.leaf(each, last.expand(each.shape)) for each in several)
    return signal, ends if isinstance(states, tuple) else ends[0]


def check_time(module: nn.Module, signal: Signal) -> None:
    """Refuse a module whose first axis is time if it sees one step only: that axis may be cut like a batch."""
    if len(signal.value) == 1:
        raise PruningError(
            f"this {type(module).__name__} has its steps on the first axis of a tensor of shape "
            f"{tuple(signal.value.shape)}, and sees only one: the analysis reads one sample, the first along the first "
            "axis of each input. Set batch_first=True and pass inputs (batch, steps, ...)."
        )


def _one_layer(module: nn.RNNBase, layer: int) -> nn.RNNBase:
    """Return one of a module's layers as a module."""
    words = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
    make: Any = type(module)
    size = module.input_size if layer == 0 else module.hidden_size * (1 + module.bidirectional)
    alone: nn.RNNBase = make(
        size,
        module.hidden_size,
        bias=module.bias,
        batch_first=module.batch_first,
        bidirectional=module.bidirectional,
        **words,
    )
    for name, _ in list(alone.named_parameters()):
        setattr(alone, name, getattr(module, name.replace("l0", f"l{layer}")))
    return alone


def _units(
    recorder: Recorder, module: nn.RNNBase, signal: Signal, value: Tensor, suffix: str, direction: str
) -> Tensor:
    """Record the units of one layer and direction; return the neurons that read them (units,).

    Three layers stand for the cycle: what a unit reads by itself, the unit with what other units hand on to it over
    time, and the unit with what it hands on to others.
    """
    size = module.hidden_size
    by_input, by_units = (getattr(module, f"weight_{each}_{suffix}") for each in ("ih", "hh"))
    reads, hears = (recorder.mask_of(each).view(-1, size, each.shape[1]).any(dim=0) for each in (by_input, by_units))
    reach = _closure(hears)
    features = recorder.read(signal, torch.arange(by_input.shape[1]), by_input.shape[1])
    own = value[..., -size:] if direction else value[..., :size]
    drives = recorder.add_neurons("mix", size, features, reads)
    seen = recorder.read_units(drives, own)
    others = reach & ~torch.eye(size, dtype=torch.bool)
    columns = Columns(*(torch.cat(pair) for pair in zip(features, seen, strict=True)))
    part = recorder.part_of(by_input)
    name = None if part is None else part.name.replace("weight_ih_", "")
    start = recorder.add_neurons("recurrent", size, columns, torch.cat([reads, others], dim=1), name=name)
    units = torch.arange(start, start + size)
    gates = by_input.shape[0] // size
    recorder.add_place(by_input, units.repeat(gates)[:, None], features.sources[None])
    recorder.add_place(by_units, units.repeat(gates)[:, None], units[None])
    for each in ("ih", "hh") if module.bias else ():
        bias = getattr(module, f"bias_{each}_{suffix}")
        recorder.add_place(bias, units.repeat(gates))
        biased = recorder.mask_of(bias).view(gates, size).any(dim=0)
        recorder.mark_biased(units[biased])
        recorder.mark_biased(torch.arange(drives, drives + size)[biased])
    ends = recorder.add_neurons("mix", size, recorder.read_units(start, own), reach)
    return torch.arange(ends, ends + size)


def _closure(reads: Tensor) -> Tensor:
    """Return which units (units, units) a unit depends on, itself included, over any number of steps."""
    reach = reads | torch.eye(len(reads), dtype=torch.bool)
    while True:
        further = (reach.float() @ reach.float()) > 0
        if torch.equal(further, reach):
            return reach
        reach = further
