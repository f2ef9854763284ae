"""Which neurons a smaller network needs to compute the same."""

from collections import Counter
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lthprune.analysis import WEIGHTED, Graph, Layer, NetworkStates, NeuronState


def survivors(model: nn.Module, states: NetworkStates, *, inputs: bool, whole: Collection[str]) -> Tensor:
    """Return which neurons (neurons,) stay: those that matter, and those that the ones that matter are tied to.

    What does not matter is comatose, or hears no input, so that it is a constant that who hears it can do without.
    A constant stays where it cannot be folded (``foldable``). Neurons that are added to each other go together or not
    at all, as do those of a group of a grouped convolution. Every layer keeps a neuron.

    Args:
        model: the network that the states are of.
        states: its neurons' states.
        inputs: whether all inputs stay.
        whole: names of layers of which all neurons stay.
    """
    graph = states.graph
    functional = torch.from_numpy(states.functional)
    kept = functional == NeuronState.ALIVE
    for layer in graph.layers:
        if layer.kind in ("output", "mix"):
            kept[layer.heard] = True
        if layer.kind in ("output", "mix") or layer.name in whole or (inputs and layer.kind == "input"):
            kept[layer.own] = True
    for place in _shared(graph):
        kept[place] = True
    speaks = functional < NeuronState.COMATOSE
    while True:
        before = int(kept.sum())
        for layer in reversed(graph.layers):
            _keep_ties(kept, layer, model)
            _keep_what_cannot_be_folded(kept, layer, model, speaks)
        if int(kept.sum()) == before and not _keep_one(kept, graph):
            return kept


def module_of(layer: Layer, model: nn.Module) -> nn.Module:
    """Return the module of a layer, which has the name of its node besides where the module is called again."""
    return model.get_submodule(layer.name.partition(" (")[0])


def foldable(layer: Layer, module: nn.Module) -> Tensor:
    """Return which columns (in,) of a layer can be replaced by a part of the bias, were they constant.

    Zeros can, and any constant that a dense layer hears; of a convolution those that are the same at all positions,
    if no zeros are padded around them.
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


def _shared(graph: Graph) -> list[Tensor]:
    """Return who belongs to parameters that are used in several places; there every use would have to agree."""
    uses = Counter(place.name for place in graph.places)
    shared = [place for place in graph.places if uses[place.name] > 1]
    return [place.to for place in shared] + [place.of for place in shared if place.of is not None]


def _keep_ties(kept: Tensor, layer: Layer, model: nn.Module) -> None:
    """Keep all that are tied to one that is kept."""
    own = torch.arange(layer.neurons.start, layer.neurons.stop)
    if layer.kind == "sum":
        ties = torch.cat([layer.heard.view(-1, len(own)), own[None]]).t()
    elif layer.kind == "conv" and isinstance(module := module_of(layer, model), _ConvNd) and module.groups > 1:
        ties = torch.cat([layer.heard.view(module.groups, -1), own.view(module.groups, -1)], dim=1)
    else:
        return
    kept[ties[kept[ties].any(dim=1)]] = True


def _keep_what_cannot_be_folded(kept: Tensor, layer: Layer, model: nn.Module, speaks: Tensor) -> None:
    """Keep the constants that a layer's kept neurons hear, unless they can be folded into its bias."""
    if layer.edges is not None and layer.kind in WEIGHTED:
        heard = layer.edges[(kept & speaks)[layer.own]].any(dim=0)
        kept[layer.heard[heard & ~foldable(layer, module_of(layer, model))]] = True


def _keep_one(kept: Tensor, graph: Graph) -> bool:
    """Keep a neuron of the first layer that would be left with none; say whether there was one."""
    for layer in graph.layers:
        if len(layer.neurons) and not kept[layer.own].any():
            kept[layer.neurons.start] = True
            return True
    return False
