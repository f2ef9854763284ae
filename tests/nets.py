"""Small models that all read the same batch, and a training loop that repeats bit for bit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthprune.errors import LthpruneError
from lthprune.pruning.masks import Masks
from lthprune.pruning.prunable import PrunableTensor, select
from lthprune.pruning.state import State
from lthprune.search.rewinding import Rewinder

CLASSES = 3

FORMS: dict[str, Callable[[int, bool], list[nn.Module]]] = {
    "dense": lambda width, bias: [
        nn.Flatten(),
        nn.Linear(16, width, bias),
        nn.Tanh(),
        nn.Linear(width, width + 1, bias),
        nn.ReLU(),
        nn.Linear(width + 1, CLASSES),
    ],
    "convolutional": lambda width, bias: [
        nn.Conv2d(1, width, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2, 1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    ],
    "transposed": lambda width, bias: [
        nn.ConvTranspose2d(1, width, 2, stride=2, bias=bias),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(4 * width, CLASSES),
    ],
    "normalised": lambda width, bias: [
        nn.Conv2d(1, width, 3, padding=1, bias=bias),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * width, 5, bias),
        nn.BatchNorm1d(5),
        nn.Tanh(),
        nn.Linear(5, CLASSES),
    ],
    "mixed": lambda width, bias: [
        nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=bias), nn.BatchNorm2d(width), nn.ReLU()),
        nn.ConvTranspose2d(width, 2, 1),
        nn.Flatten(2),
        nn.Conv1d(2, 1, 3),
        nn.Flatten(),
        nn.Sequential(nn.Linear(14, width, bias), nn.ReLU(), nn.Linear(width, CLASSES)),
    ],
}


@dataclass(frozen=True)
class Architecture:
    """A kind of model; ``build`` makes fresh ones, the same for the same seed."""

    form: str = "dense"
    width: int = 6
    bias: bool = True
    dtype: torch.dtype = torch.float32

    def build(self, seed: int = 0) -> nn.Sequential:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(*FORMS[self.form](self.width, self.bias)).to(self.dtype)


def net(form: str = "dense", seed: int = 0) -> nn.Sequential:
    return Architecture(form).build(seed)


def tensor_named(model: nn.Module, name: str) -> PrunableTensor:
    return next(tensor for tensor in select(model, bias=True) if tensor.name == name)


def batch(model: nn.Module, seed: int = 0, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 1, 4, 4, generator=generator).to(next(model.parameters()).dtype)
    return inputs, torch.randint(CLASSES, (size,), generator=generator)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, 0.05, weight_decay=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.05, weight_decay=0.1),
}


def steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, number: int = 4, rewinder: Rewinder | None = None
) -> Iterator[Tensor]:
    """Train for a number of steps, the same batches every time; yields the outputs of each forward pass."""
    model.train()
    for step in range(number):
        inputs, labels = batch(model, seed=step)
        scores = model(inputs)
        optimizer.zero_grad()
        cross_entropy(scores, labels).backward()
        optimizer.step()
        if rewinder is not None:
            rewinder.step(model)
        yield scores.detach()


def train(model: nn.Module, *, rewinder: Rewinder | None = None, number: int = 4) -> dict[str, Any]:
    losses = [float(scores.sum()) for scores in steps(model, OPTIMIZERS["sgd"](model.parameters()), number, rewinder)]
    return {"sum": losses[-1], "history": torch.tensor(losses)}


def outputs(model: nn.Module) -> Tensor:
    """The model's outputs of a batch in evaluation mode."""
    mode = model.training
    with torch.no_grad():
        computed: Tensor = model.eval()(batch(model)[0])
    model.train(mode)
    return computed


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    """A tensor's dtype, shape and bytes."""
    flat = tensor.detach().contiguous().reshape(-1)
    return tensor.dtype, tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()


def all_bits(state: State | Masks) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    return {name: bits(tensor) for name, tensor in state.items()}


def anatomy(model: nn.Module) -> Any:
    """Everything that pruning could change in a model: the bits and identities of its tensors, and its hooks."""
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    hooks = {name: [*module._forward_pre_hooks.values()] for name, module in model.named_modules()}
    return {name: (id(tensor), _bits_if_any(tensor)) for name, tensor in tensors.items()}, hooks


def _bits_if_any(tensor: Tensor) -> object:
    return None if isinstance(tensor, nn.UninitializedParameter) else bits(tensor)


@contextmanager
def refused(match: str, *models: nn.Module, error: type[LthpruneError] = LthpruneError) -> Iterator[None]:
    """Expect a clear error that leaves the models unchanged."""
    before = [anatomy(model) for model in models]
    with pytest.raises(error, match=match):
        yield
    assert [anatomy(model) for model in models] == before
