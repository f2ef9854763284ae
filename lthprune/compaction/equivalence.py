"""Whether a smaller network computes the same as the original."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.analysis import Graph, Operation

_SAMPLES = 16  # random inputs that outputs are compared on, and as many
_LARGE = 10.0  # times as large, which activate neurons that are silent for small ones


def same_operations(graph: Graph, original: Graph, kept: Tensor) -> bool:
    """Return whether a smaller network's code does the same with each kept neuron as the original's code.

    This does not depend on inputs. Both networks have to run the same operations, with the same constants, on the same
    neurons in the same order. So it notices code that depends on the number of neurons or on their positions: a slice,
    a number computed from a shape, a parameter that is applied by position, a loop over neurons.

    Args:
        graph: of the smaller network.
        original: of the original network.
        kept: (neurons of the original,), which of them the smaller network has.
    """
    number = kept.cumsum(0) - 1  # of the original's neurons in the smaller network
    if [(layer.name, layer.kind) for layer in graph.layers] != [(layer.name, layer.kind) for layer in original.layers]:
        return False
    if len(graph.operations) != len(original.operations) or graph.size != int(kept.sum()):
        return False
    columns = [(now.sources, was.sources) for now, was in zip(graph.layers, original.layers, strict=True)]
    names = {place.name for place in original.places}  # not those of biases that absorb constants
    places = [each for each in graph.places if each.name in names]
    if [place.name for place in places] != [place.name for place in original.places]:
        return False
    pairs = zip(places, original.places, strict=True)
    owners = [(now.neurons.flatten(), was.neurons.flatten()) for now, was in pairs if was.sources is None]
    return all(torch.equal(now, number[was[kept[was]]]) for now, was in columns + owners) and all(
        _same_operation(now, was, kept, number) for now, was in zip(graph.operations, original.operations, strict=True)
    )


def _same_operation(now: Operation, was: Operation, kept: Tensor, number: Tensor) -> bool:
    sizes = [(len(each.neurons), len(each.constants)) for each in (now, was)]
    if (now.name, now.target) != (was.name, was.target) or sizes[0] != sizes[1]:
        return False
    for ours, theirs in zip(now.neurons, was.neurons, strict=True):
        if not torch.equal(ours.flatten(), number[theirs[kept[theirs]]]):
            return False
    shapes = (now.neurons[0], was.neurons[0]) if len(now.neurons) == 1 else None
    return all(
        _same_constant(ours, theirs, shapes, kept) for ours, theirs in zip(now.constants, was.constants, strict=True)
    )


def _same_constant(now: Any, was: Any, neurons: tuple[Tensor, Tensor] | None, kept: Tensor) -> bool:
    """Return whether two constants are the same for each element that comes from a kept neuron."""
    if not isinstance(now, Tensor) or not isinstance(was, Tensor):
        return type(now) is type(was) and bool(now == was)
    if neurons is not None:
        try:
            smaller, larger = now.expand(neurons[0].shape), was.expand(neurons[1].shape)
        except RuntimeError:  # the constant is not applied to elements one by one
            return torch.equal(now, was)
        return torch.equal(smaller.flatten(), larger[kept[neurons[1]]])
    return torch.equal(now, was)


def output_difference(
    original: nn.Module, smaller: nn.Module, inputs: Sequence[Tensor], smaller_inputs: Sequence[Tensor]
) -> tuple[float, bool]:
    """Return the largest difference between the outputs of two networks, and whether rounding explains it.

    Rounding may change an output tensor by its largest finite magnitude times the root of the precision of its type.
    """
    # Code may overwrite its inputs.
    own, others = ([each.clone() for each in several] for several in (inputs, smaller_inputs))
    with torch.no_grad():
        pairs = list(zip(_tensors(original(*own)), _tensors(smaller(*others)), strict=True))
    dtype = torch.finfo(next(original.parameters()).dtype)
    differences, close = [0.0], True
    for was, now in ((was.double(), now.double()) for was, now in pairs if was.numel()):
        same = (was == now) | (was.isnan() & now.isnan())
        differences.append(float((was - now).abs().masked_fill(same, 0).max()))
        scale = float(was.abs().masked_fill(~was.isfinite(), 0).max())
        close &= differences[-1] <= max(dtype.eps**0.5 * scale, dtype.tiny)
    return max(differences), close


def random_inputs(model: nn.Module, examples: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return inputs of the examples' shapes: drawn from a normal distribution, and the same ones ten times as large.

    Integers are drawn from those that every embedding of the model has.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]

    def drawn(example: Tensor) -> Tensor:
        shape = example.shape[1:]
        if example.is_floating_point():
            some = torch.randn(_SAMPLES, *shape, generator=generator).to(example)
            return torch.cat([some, _LARGE * some])
        return torch.randint(min(sizes, default=2), (2 * _SAMPLES, *shape), generator=generator).to(example)

    return tuple(drawn(example) for example in examples)


def _tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors of nested outputs."""
    if isinstance(outputs, Tensor):
        return [outputs]
    packed = outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, Sequence) else ()
    return [tensor for each in packed for tensor in _tensors(each)]
