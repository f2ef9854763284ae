"""Modules without the neurons that are removed."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lthprune.analysis import WEIGHTED, NetworkStates, NeuronState
from lthprune.compaction.survivors import foldable, module_of


def cut(model: nn.Module, states: NetworkStates, kept: Tensor) -> None:
    """Remove all neurons but the kept ones (neurons,) from dense layers, convolutions, embeddings and batch norms.

    The model is changed in place.

    Constants of removed neurons are added to the biases of their readers; a layer without biases gets them if needed.
    """
    modules = dict(model.named_modules())
    comatose = torch.from_numpy(states.functional) >= NeuronState.COMATOSE
    for layer in states.graph.layers:
        if layer.kind in WEIGHTED:
            rows, columns = kept[layer.span], kept[layer.sources]
            if rows.all() and columns.all():
                continue
            module = module_of(layer, modules)
            if isinstance(module, nn.Embedding):
                _cut_embedding(module, rows.nonzero()[:, 0])
                continue
            assert isinstance(module, nn.Linear | _ConvNd)
            if isinstance(module, nn.Linear) or module.groups == 1:  # a group is removed together with its readers
                constant = ~columns & ~comatose[layer.sources] & foldable(layer, module)
                _fold(module, torch.where(constant, layer.value, 0))
            _cut_layer(module, rows.nonzero()[:, 0], columns.nonzero()[:, 0])
    for place in states.graph.places:
        name, _, attribute = place.name.rpartition(".")
        module = model.get_submodule(name)
        if isinstance(module, _BatchNorm) and attribute == "weight" and not kept[place.neurons].all():
            _cut_norm(module, kept[place.neurons].nonzero()[:, 0])


def _fold(module: nn.Linear | _ConvNd, values: Tensor) -> None:
    """Add the contribution of constant inputs (columns,) to the bias."""
    if not values.any():
        return
    weight = module.weight.detach().double()
    bias = weight.reshape(*weight.shape[:2], -1).sum(dim=2) @ values.to(weight.device)
    if module.bias is not None:
        bias += module.bias.detach()
    module.bias = _like(module.weight if module.bias is None else module.bias, bias)


def _cut_layer(module: nn.Linear | _ConvNd, rows: Tensor, columns: Tensor) -> None:
    """Keep some outputs (rows) and some inputs (columns) of a layer; of a grouped convolution whole groups."""
    weight = module.weight.detach()
    rows, columns = rows.to(weight.device), columns.to(weight.device)
    first, second = (columns, rows) if isinstance(module, _ConvTransposeNd) else (rows, columns)
    weight = weight[first]
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = len(rows), len(columns)
        weight = weight[:, second]
    else:
        if module.groups > 1:
            module.groups = module.groups * len(rows) // module.out_channels
        else:
            weight = weight[:, second]
        module.out_channels, module.in_channels = len(rows), len(columns)
    module.weight = _like(module.weight, weight)
    if module.bias is not None:
        module.bias = _like(module.bias, module.bias.detach()[rows])


def _cut_embedding(module: nn.Embedding, dimensions: Tensor) -> None:
    module.embedding_dim = len(dimensions)
    module.weight = _like(module.weight, module.weight.detach()[:, dimensions.to(module.weight.device)])


def _cut_norm(module: _BatchNorm, channels: Tensor) -> None:
    channels = channels.to(module.weight.device)
    module.num_features = len(channels)
    for name in ("weight", "bias"):
        parameter = getattr(module, name)
        if parameter is not None:
            setattr(module, name, _like(parameter, parameter.detach()[channels]))
    for name in ("running_mean", "running_var"):
        buffer = getattr(module, name)
        if buffer is not None:
            setattr(module, name, buffer[channels])


def _like(parameter: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.to(parameter).contiguous(), requires_grad=parameter.requires_grad)
