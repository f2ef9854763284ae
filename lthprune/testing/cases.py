"""Cases that scores and methods are called on: small tensors, with ties, zeros and constants among them."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lthprune.errors import PruningError
from lthprune.pruning import Candidate

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

DIMS = (1, 2, 4)
"""The numbers of dimensions of vectors, dense layers and images' convolutions."""
_LAYERS: dict[int, type[nn.Module]] = {1: nn.Linear, 2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_MANY = 24  # values of which a message shows the first ones only
_FRACTIONS = (0.5, 0.2, 0.9, 0.05, 0.0, 1.0)
_FLOATS = (torch.float32, torch.float64, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class ScoreCase:
    """A tensor to score.

    Attributes:
        final: trained weights.
        initial: weights at initialisation, of the same shape and type.
        seed: of the generator for random scores.
    """

    final: Tensor
    initial: Tensor
    seed: int

    def candidate(self, *, seed: int | None = None) -> Candidate:
        """Return copies, with a generator of the case's seed or another one."""
        generator = torch.Generator().manual_seed(self.seed if seed is None else seed)
        return Candidate("layer.weight", self.final.clone(), self.initial.clone(), generator)

    def __str__(self) -> str:
        return f"the final weights {shown(self.final)} and the initial weights {shown(self.initial)}"


@dataclass(frozen=True, eq=False)
class LayerCase:
    """A tensor of a layer to prune in one or more rounds.

    Attributes:
        weights: the tensor: a bias if it has one dimension, otherwise a weight.
        mask: boolean, of the same shape; unless all true, the layer has been pruned to it before.
        amounts: how many weights each round prunes: a number, or a fraction of the remaining ones.
    """

    weights: Tensor
    mask: Tensor
    amounts: tuple[int | float, ...]

    @property
    def name(self) -> str:
        """The name of the tensor in its layer."""
        return "bias" if self.weights.ndim == 1 else "weight"

    def layer(self) -> nn.Module:
        """Return a new, unpruned layer with the weights and a gradient of ones."""
        shape = self.weights.shape
        inputs, outputs, kernel = (1, shape[0], ()) if len(shape) == 1 else (shape[1], shape[0], tuple(shape[2:]))
        layer = _LAYERS[len(shape)](inputs, outputs, *([kernel] if kernel else []), dtype=self.weights.dtype)
        setattr(layer, self.name, nn.Parameter(self.weights.clone()))
        for parameter in layer.parameters():
            parameter.grad = torch.ones_like(parameter)
        return layer

    def __str__(self) -> str:
        before = "" if bool(self.mask.all()) else f", pruned to the mask {shown(self.mask)} before"
        amounts = ", then ".join(f"amount={amount}" for amount in self.amounts)
        kind = _LAYERS[self.weights.ndim].__name__
        return f"a {kind} whose {self.name} is {shown(self.weights)}{before}, with {amounts}"


def shown(tensor: Tensor) -> str:
    """Return the values of a tensor, the first ones of many, and its type and order in memory if they are unusual.

    Examples:
        >>> shown(torch.zeros(1, 2)), shown(torch.tensor([True])), shown(torch.ones(1).double())
        ('[[0.0, 0.0]]', '[1]', '[1.0] (float64)')
    """
    values = tensor.int() if tensor.dtype == torch.bool else tensor
    unusual = [] if tensor.dtype in (torch.float32, torch.bool) else [str(tensor.dtype).removeprefix("torch.")]
    unusual += [] if tensor.is_contiguous() else ["not contiguous in memory"]
    if values.numel() > _MANY:
        unusual = [f"the first of shape {tuple(values.shape)}", *unusual]
        values = values.flatten()[:6]
    return f"{values.tolist()} ({', '.join(unusual)})" if unusual else str(values.tolist())


def check_dims(dims: Collection[int]) -> None:
    """Raise a PruningError unless there are numbers of dimensions, from 1 to 5."""
    if not dims or not set(dims) <= _LAYERS.keys():
        raise PruningError(f"dims = {dims!r}: these must be numbers of dimensions from 1 to 5, as in (2, 4).")


def score_cases(dims: Collection[int]) -> "SearchStrategy[ScoreCase]":
    """Return a strategy for tensors to score."""
    from hypothesis import strategies as st

    @st.composite
    def cases(draw: "DrawFn") -> ScoreCase:
        final = _tensor(draw, dims)
        initial = _repeated(draw(_quarters()), final.shape).to(final.dtype) / 4
        return ScoreCase(final, initial, draw(st.integers(0, 9)))

    return cases()


def layer_cases(dims: Collection[int], *, fractions_only: bool) -> "SearchStrategy[LayerCase]":
    """Return a strategy for layers to prune; no round is asked for more weights than remain."""
    from hypothesis import strategies as st

    @st.composite
    def cases(draw: "DrawFn") -> LayerCase:
        weights = _tensor(draw, dims)
        pruned = draw(st.just([False]) | st.lists(st.booleans(), min_size=1, max_size=16))
        mask = ~_repeated(pruned, weights.shape)
        left, amounts = int(mask.sum()), list[int | float]()
        fractions = st.sampled_from(_FRACTIONS)
        for _ in range(draw(st.integers(1, 3))):
            amount = draw(fractions if fractions_only else st.integers(0, left) | fractions)
            amounts.append(amount)
            left -= amount if isinstance(amount, int) else math.ceil(amount * left)
        return LayerCase(weights, mask, tuple(amounts))

    return cases()


def _tensor(draw: "DrawFn", dims: Collection[int]) -> Tensor:
    """Draw a tensor of few different values, all exact in bfloat16; images may have the channels last in memory."""
    from hypothesis import strategies as st

    number = draw(st.sampled_from(sorted(dims)))
    sizes = st.integers(1, 4 if number <= 2 else 3)
    shape = tuple(draw(st.lists(sizes, min_size=number, max_size=number)))
    tensor = _repeated(draw(_quarters()), shape).to(draw(st.sampled_from(_FLOATS))) / 4
    return tensor.to(memory_format=torch.channels_last) if number == 4 and draw(st.booleans()) else tensor


def _quarters() -> "SearchStrategy[list[int]]":
    from hypothesis import strategies as st

    return st.lists(st.integers(-8, 8), min_size=1, max_size=16)


def _repeated(values: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Return values as a tensor, over and over until it is full: hypothesis can then shrink them without the shape."""
    return torch.tensor([values[place % len(values)] for place in range(math.prod(shape))]).view(shape)
