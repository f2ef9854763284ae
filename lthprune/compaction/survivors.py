"""Which neurons a smaller network needs to compute the same."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lthprune.analysis import WEIGHTED, Graph, Layer, NetworkStates, NeuronState

Modules = Mapping[str, nn.Module]

# Modules that can lose neurons.
_CUT: dict[str, type[Any]] = {"dense": nn.Linear, "conv": _ConvNd, "embedding": nn.Embedding}


def surviving_neurons(
    model: nn.Module, states: NetworkStates, *, inputs: bool, whole: Collection[str], fixed: bool = False
) -> Tensor:
    """Return which neurons (neurons,) have to be kept: those that matter, and those that must be kept with them.

    A neuron does not matter if it is comatose or unproductive, or if it is a constant that its readers can absorb into
    their biases (``foldable``). Neurons that are added to or multiplied by each other are kept or removed together, as
    are those of a group of a grouped convolution. A norm or a softmax needs all neurons that it reads, and layers of
    other kinds than ``Linear``, convolutions and ``Embedding`` keep their size. Every layer keeps at least one neuron.

    Args:
        model: the network.
        states: the states of its neurons.
        inputs: whether to keep all inputs.
        whole: names of layers that keep all their neurons.
        fixed: whether to keep the neurons whose axis the network's code splits, as ``Graph.fixed`` has them.
    """
    graph, modules = states.graph, dict(model.named_modules())
    functional = torch.from_numpy(states.functional)
    kept = functional == NeuronState.ALIVE
    for layer in graph.layers:
        rigid = layer.kind in ("output", "mix", "recurrent") or (
            layer.kind in WEIGHTED and module_of(layer, modules) is None
        )
        if rigid or layer.kind == "embedding":
            kept[layer.sources] = True
        if rigid or layer.kind == "constant" or layer.name in whole or (inputs and layer.kind == "input"):
            kept[layer.span] = True
    for neurons in _sharing_parameters(graph) + _of_other_modules(graph, modules):
        kept[neurons] = True
    if fixed:
        kept |= graph.fixed
    reaches_output = functional < NeuronState.COMATOSE
    while True:
        before = int(kept.sum())
        for layer in reversed(graph.layers):
            _keep_together(kept, layer, modules)
            _keep_unfoldable(kept, layer, modules, reaches_output)
        if int(kept.sum()) == before and not _keep_one(kept, graph):
            return kept


def module_of(layer: Layer, modules: Modules) -> nn.Module | None:
    """Return the module of a layer among those of the model by name, if the layer has one of its own.

    The name of a layer that is called again ends with its operation in parentheses.
    """
    module = modules.get(layer.name.partition(" (")[0])
    kind = _CUT.get(layer.kind)
    return module if kind is not None and isinstance(module, kind) else None


def foldable(layer: Layer, module: nn.Module | None) -> Tensor:
    """Return which columns (columns,) of a layer its bias can replace, if they are constant.

    A dense layer can absorb any constant, every layer zeros. A convolution can absorb a constant that is the same at
    all positions, unless it pads with zeros.
    """
    if isinstance(module, _ConvNd) and _pads_zeros(module):
        return layer.zero
    return layer.value.isfinite()


def _pads_zeros(module: _ConvNd) -> bool:
    if isinstance(module, _ConvTransposeNd):
        return True  # the windows at its borders reach over less of the input, whatever its padding
    if module.padding_mode != "zeros":
        return False
    return module.padding == "same" or (module.padding != "valid" and any(module.padding))


def _sharing_parameters(graph: Graph) -> list[Tensor]:
    """Return the neurons whose parameters are used in several places; these are never removed."""
    uses = Counter(place.name for place in graph.places)
    shared = [place for place in graph.places if uses[place.name] > 1]
    return [place.neurons for place in shared] + [place.sources for place in shared if place.sources is not None]


def _of_other_modules(graph: Graph, modules: Modules) -> list[Tensor]:
    """Return the neurons of parameters that are not cut, as those of an instance norm."""
    return [
        place.neurons
        for place in graph.places
        if not isinstance(modules.get(place.name.rpartition(".")[0]), (*_CUT.values(), _BatchNorm))
    ]


def _keep_together(kept: Tensor, layer: Layer, modules: Modules) -> None:
    """Keep the neurons that must be kept together with a kept one."""
    own = torch.arange(layer.neurons.start, layer.neurons.stop)
    if layer.kind in ("sum", "product"):
        together = torch.cat([layer.sources.view(-1, len(own)), own[None]]).t()
    elif layer.kind == "conv" and isinstance(module := module_of(layer, modules), _ConvNd) and module.groups > 1:
        together = torch.cat([layer.sources.view(module.groups, -1), own.view(module.groups, -1)], dim=1)
    else:
        return
    kept[together[kept[together].any(dim=1)]] = True


def _keep_unfoldable(kept: Tensor, layer: Layer, modules: Modules, reaches_output: Tensor) -> None:
    """Keep the constants that a layer's kept neurons read, unless its bias can absorb them."""
    if layer.edges is not None and layer.kind in WEIGHTED:
        read = layer.edges[(kept & reaches_output)[layer.span]].any(dim=0)
        kept[layer.sources[read & ~foldable(layer, module_of(layer, modules))]] = True


def _keep_one(kept: Tensor, graph: Graph) -> bool:
    """Keep a neuron of the first layer that would lose all of them; return whether there was such a layer."""
    for layer in graph.layers:
        if len(layer.neurons) and not kept[layer.span].any():
            kept[layer.neurons.start] = True
            return True
    return False
