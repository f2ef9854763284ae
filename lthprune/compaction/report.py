"""The sizes of a network before and after compaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lthprune.analysis import layer_positions


class Size(NamedTuple):
    """The size of a layer or of a network.

    Attributes:
        neurons: features of dense layers and channels of convolutions.
        weights: the number of weights stored, zeros included, biases not.
        left: how many of them are not zero.
        flops: floating-point operations for one sample: two for each weight, zeros included, at each position where
            the layer applies it (a product and a sum). Biases, activations, pooling and batch norms are not counted.
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
    """The sizes of a network's layers before and after compaction.

    Attributes:
        layers: in the order of computation.
        inputs: the number of input features that the network reads, before and after.
        whole: layers that keep all neurons because the model's code relies on their number.
        difference: the largest absolute difference between the outputs before and after, on random inputs drawn from a
            normal distribution and on the same inputs multiplied by ten.
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
    """Return the sizes of a network's dense layers and convolutions, in the order of computation."""
    sizes: dict[str, Size] = {}
    for name, positions in layer_positions(model, examples).items():
        module = model.get_submodule(name)
        assert isinstance(module, nn.Linear | _ConvNd)
        neurons = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        weights, left = module.weight.numel(), int(module.weight.count_nonzero())
        sizes[name] = Size(neurons, weights, left, 2 * weights * positions)
    return sizes
