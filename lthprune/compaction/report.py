"""What a network weighs, before and after."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


class Size(NamedTuple):
    """What a layer, or a network, comes to.

    Attributes:
        neurons: features of dense layers and channels of convolutions.
        weights: how many are stored, zeros included; without biases.
        left: how many of them are not zero.
        flops: floating-point operations for one sample: two for every weight (a product and a sum) at every position
            that the layer puts it to. Biases, activations, pooling and batch norms are not counted, zeros are.
    """

    neurons: int
    weights: int
    left: int
    flops: int


@dataclass(frozen=True)
class LayerChange:
    """A dense layer or a convolution before and after."""

    name: str
    before: Size
    after: Size


@dataclass(frozen=True)
class CompactionReport:
    """What became of a network's layers.

    Attributes:
        layers: in the order in which signals pass them.
        inputs: the number of input features that are read, before and after.
        whole: layers of which all neurons stay, because the network's own code counts on their number.
        difference: the largest absolute difference between the outputs before and after, on random inputs of which
            every element is drawn from a normal distribution, and on the same ones ten times as large.
    """

    layers: tuple[LayerChange, ...]
    inputs: tuple[int, int]
    whole: tuple[str, ...]
    difference: float

    @property
    def before(self) -> Size:
        """All layers together, before."""
        return Size(*map(sum, zip(*(layer.before for layer in self.layers), strict=True)))

    @property
    def after(self) -> Size:
        """All layers together, after."""
        return Size(*map(sum, zip(*(layer.after for layer in self.layers), strict=True)))


def sizes_of(model: nn.Module, examples: Sequence[Tensor]) -> dict[str, Size]:
    """Return the sizes of a network's dense layers and convolutions, in the order in which they are run."""
    names = {module: name for name, module in model.named_modules()}
    sizes: dict[str, Size] = {}

    def count(module: nn.Module, arguments: Any, output: Tensor) -> None:
        assert isinstance(module, nn.Linear | _ConvNd)
        neurons = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        weights, left = module.weight.numel(), int(module.weight.count_nonzero())
        positions = (arguments[0] if isinstance(module, _ConvTransposeNd) else output).shape[2:].numel()
        flops = 2 * weights * positions
        if names[module] in sizes:  # a layer that is run again
            flops += sizes[names[module]].flops
        sizes[names[module]] = Size(neurons, weights, left, flops)

    hooks = [module.register_forward_hook(count) for module in names if isinstance(module, nn.Linear | _ConvNd)]
    try:
        with torch.no_grad():
            model(*examples)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes
