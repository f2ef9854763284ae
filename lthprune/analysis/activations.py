"""Activations of a network's layers, by name."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lthprune.arguments import check_module, described
from lthprune.errors import PruningError, suggestion
from lthprune.pruning import modes_restored

_CHUNK = 1000  # samples that pass through the network at a time


def weighted_layers(model: nn.Module) -> tuple[str, ...]:
    """Return the names of a model's dense layers and convolutions.

    Examples:
        >>> weighted_layers(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        ('0', '2')
    """
    return tuple(name for name, module in model.named_modules() if _is_weighted(module))


def layer_activations(model: nn.Module, inputs: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Return what layers of a model compute for some inputs, (samples, features), in evaluation mode.

    For a dense layer or convolution this is the value after the normalisation, activation and dropout modules that
    follow directly, for any other module its output; of a module that is called several times, that of the last call.
    Functions called in ``forward``, such as ``F.relu``, are not modules, so they do not count as following.

    Args:
        model: dense or pruned; its mode does not change.
        inputs: (samples, ...), on the model's device.
        layers: names of modules; by default those of all dense layers and convolutions.

    Raises:
        PruningError: a module is unknown, is not called, or returns something other than one tensor; or the model is a
            single layer.

    Examples:
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
        >>> _ = model[0].weight.data.copy_(torch.eye(2))
        >>> found = layer_activations(model, torch.tensor([[3.0, -1.0]]))
        >>> found["0"], found["2"].shape
        (tensor([[3., 0.]]), torch.Size([1, 1]))
    """
    check_module(model)
    if _is_weighted(model):
        raise PruningError("a model that is a single layer has no layers by name. Wrap it: nn.Sequential(layer).")
    names = tuple(weighted_layers(model) if layers is None else layers)
    check_layers(model, names)
    chunks: dict[str, list[Tensor]] = {name: [] for name in names}
    watch = _Watch({module: name for name, module in model.named_modules() if name in names})
    handles = [module.register_forward_hook(watch) for name, module in model.named_modules() if name]
    try:
        with modes_restored(model), torch.no_grad():
            model.eval()
            for chunk in torch.split(inputs, _CHUNK):
                watch.values.clear()
                model(chunk)
                for name in names:
                    if name not in watch.values:
                        raise PruningError(f"the model does not call its module {name!r}, so it has no activations.")
                    chunks[name].append(watch.values[name])
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(chunks.pop(name)) for name in list(chunks)}  # so that both exist of one layer at a time


def check_layers(model: nn.Module, layers: Sequence[str]) -> None:
    """Raise a PruningError unless all names are those of modules of a model."""
    known = [name for name, _ in model.named_modules() if name]
    for name in layers:
        if name not in known:
            raise PruningError(
                f"the model has no layer {name!r}{suggestion(name, known)} Its dense layers and convolutions: "
                f"{', '.join(weighted_layers(model))}."
            )


class _Watch:
    """A forward hook that keeps the values of some modules, and of those that follow them directly."""

    def __init__(self, names: dict[nn.Module, str]) -> None:
        self.values: dict[str, Tensor] = {}
        self._names = names
        self._last: dict[str, Tensor] = {}  # the very tensor that a following module would read

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        for name in filter(None, (self._names.get(module), self._followed(module, inputs, output))):
            if not isinstance(output, Tensor):
                raise PruningError(f"layer {name!r} returns {described(output)}; activations are those of one tensor.")
            self.values[name] = output.flatten(1).clone()  # which later operations may change in place
            if _is_weighted(module) or name != self._names.get(module):
                self._last[name] = output

    def _followed(self, module: nn.Module, inputs: tuple[Any, ...], output: object) -> str | None:
        """Return the name of the weighted layer that a module follows with an output of the same shape, if any."""
        if _is_weighted(module) or any(True for _ in module.children()) or not inputs:
            return None
        return next(
            (
                name
                for name, last in self._last.items()
                if inputs[0] is last and isinstance(output, Tensor) and output.shape == last.shape
            ),
            None,
        )


def _is_weighted(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | _ConvNd)
