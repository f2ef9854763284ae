"""What the zoo holds: a model to build, inputs that it takes, and a loss to call ``backward`` on."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
Draw = Callable[[Generator], Inputs]

BATCH = 2
CLASSES = 10


def leaves(output: object) -> Iterator[Tensor]:
    """All floating-point or complex tensors in a model's output, however nested."""
    if isinstance(output, Tensor):
        if output.is_floating_point() or output.is_complex():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from leaves(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from leaves(value)
    elif is_dataclass(output):
        for field in fields(output):
            yield from leaves(getattr(output, field.name))


def distance(output: object) -> Tensor:
    """The mean squared distance of each tensor in the output from a fixed wave, summed."""
    total = torch.zeros(())
    for tensor in leaves(output):
        flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).flatten()
        # A constant target would give no gradient through a final normalisation layer.
        wave = torch.arange(flat.numel(), device=flat.device).sin()
        total = total.to(flat.device) + (flat - wave.to(flat.dtype)).square().mean()
    return total


def classification(output: object) -> Tensor:
    """Cross-entropy of the class scores; auxiliary classifiers count with weight 0.4."""
    losses = [cross_entropy(scores, torch.arange(len(scores)) % scores.size(1)) for scores in leaves(output)]
    return losses[0] + 0.4 * sum(losses[1:], torch.zeros(()))


def own_loss(output: Any) -> Tensor:
    """The loss that the model itself computed from the labels."""
    loss: Tensor = output.loss
    return loss


@dataclass(frozen=True)
class Specimen:
    """A kind of model. Its family is the first part of its name.

    ``make`` and ``draw`` are called by ``build`` and ``inputs``, which fix the seed. ``large`` marks more than 150
    million parameters. ``needs`` names the packages that building imports, besides torch. ``warning`` is how a warning
    begins that torch raises in the forward pass.
    """

    name: str
    make: Callable[[], nn.Module]
    draw: Draw
    loss: Callable[[Any], Tensor] = distance
    large: bool = False
    needs: tuple[str, ...] = ()
    warning: str | None = None

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    def build(self, seed: int = 0) -> nn.Module:
        """A new model in training mode, the same for the same seed."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make().train()

    def inputs(self, seed: int = 0) -> Inputs:
        """Positional and keyword arguments for a batch of two, the same for the same seed."""
        return self.draw(torch.Generator().manual_seed(seed))

    def run(self, model: nn.Module, seed: int = 0) -> Tensor:
        """The loss of one forward pass; the seed fixes the batch and the dropout."""
        args, kwargs = self.inputs(seed)
        with torch.random.fork_rng(), warnings.catch_warnings():
            if self.warning is not None:
                warnings.filterwarnings("ignore", self.warning)
            torch.manual_seed(seed)
            return self.loss(model(*args, **kwargs))


def normal(*shape: int) -> Draw:
    """Draw one tensor of a batch of two from the normal distribution; ``shape`` is that of one sample."""
    return lambda generator: ((torch.randn(BATCH, *shape, generator=generator),), {})


def image(size: int) -> Draw:
    """Draw a batch of two square images with three channels."""
    return normal(3, size, size)


def tokens(vocabulary: int, length: int, generator: Generator) -> Tensor:
    """A batch of two sequences of tokens; none is 0 or 1, which often mark padding."""
    return torch.randint(2, vocabulary, (BATCH, length), generator=generator)
