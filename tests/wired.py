"""Random networks whose every connection is known: a module, pruned at random, and its connections listed by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from lthprune.pruning.methods import write_mask
from tests.walk import Wiring

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardtanh": nn.Hardtanh,
}


class Branches(nn.Module):
    """Two inputs, a sum, a concatenation, two outputs."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 5), nn.Linear(3, 5)
        self.after = nn.Linear(10, 4)
        self.first, self.second = nn.Linear(4, 2), nn.Linear(5, 2)
        self.activation = activation()

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.activation(self.left(a)), self.activation(self.right(b))
        joined = torch.cat([left + right, left], dim=1)
        return self.first(self.activation(self.after(joined))), self.second(right)


class Residual(nn.Module):
    """A residual block of convolutions with batch norm, pooling, and a dense layer over all positions."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.inner, self.outer = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.pool, self.activation = nn.AvgPool2d(2), activation()
        self.dense = nn.Linear(4 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.stem(x)))
        x = x + self.outer(self.activation(self.inner(x)))
        output: Tensor = self.dense(self.pool(x).view(x.size(0), -1))
        return output


class Wired(NamedTuple):
    """A pruned network in double precision, examples of its inputs, and its connections."""

    model: nn.Module
    examples: tuple[Tensor, ...]
    wiring: Wiring

    def inputs(self, seed: int, samples: int = 5) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            2 * torch.randn(samples, *example.shape[1:], generator=generator).double() for example in self.examples
        )

    def outputs(self, inputs: tuple[Tensor, ...]) -> Tensor:
        with torch.no_grad():
            computed = self.model(*inputs)
        return computed if isinstance(computed, Tensor) else torch.cat(computed, dim=1)


@dataclass(frozen=True)
class Recipe:
    """The settings of a random network."""

    form: str
    activation: str
    density: float  # of the weights
    bias_density: float
    seed: int

    def build(self) -> Wired:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model, examples = FORMS[self.form](ACTIVATIONS[self.activation])
            model = model.double().eval()
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                        tensor.data = torch.rand_like(tensor) + 0.5
                elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    write_mask(module, "weight", torch.rand_like(module.weight) < self.density)
                    if module.bias is not None:
                        write_mask(module, "bias", torch.rand_like(module.bias) < self.bias_density)
                        module.bias_orig.data += torch.randn_like(module.bias_orig)
        return Wired(model, tuple(example.double() for example in examples), WIRINGS[self.form](model))


def recipes(forms: tuple[str, ...] = (), activations: tuple[str, ...] = ()) -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        form=st.sampled_from(forms or tuple(FORMS)),
        activation=st.sampled_from(activations or tuple(ACTIVATIONS)),
        density=st.sampled_from([0.1, 0.2, 0.3, 0.5, 1.0]),
        bias_density=st.sampled_from([0.0, 0.5, 1.0]),
        seed=st.integers(0, 2**31),
    )


Form = Callable[[Callable[[], nn.Module]], tuple[nn.Module, tuple[Tensor, ...]]]
FORMS: dict[str, Form] = {
    "dense": lambda activation: (
        nn.Sequential(
            *(nn.Linear(4, 6), activation(), nn.Linear(6, 5), activation(), nn.Linear(5, 4)),
            *(activation(), nn.Linear(4, 2)),
        ),
        (torch.zeros(1, 4),),
    ),
    "convolutional": lambda activation: (
        nn.Sequential(
            *(nn.Conv2d(2, 4, 3, padding=1, groups=2), activation(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), activation()),
            *(nn.ConvTranspose2d(4, 3, 1), nn.Dropout2d(), nn.Flatten(), nn.Linear(12, 3)),
        ),
        (torch.zeros(1, 2, 6, 6),),
    ),
    "residual": lambda activation: (Residual(activation), (torch.zeros(1, 2, 6, 6),)),
    "branches": lambda activation: (Branches(activation), (torch.zeros(1, 4), torch.zeros(1, 3))),
}


def _masks(model: nn.Module, name: str) -> tuple[Tensor, Tensor | None]:
    module = model.get_submodule(name)
    return module.weight_mask, getattr(module, "bias_mask", None)


def _channels(nodes: list[tuple[str, int]], positions: int) -> list[tuple[str, int]]:
    """The neuron of each channel, once for each position."""
    return [node for node in nodes for _ in range(positions)]


def _by_channel(wiring: Wiring, nodes: list[tuple[str, int]], channels: int) -> list[tuple[str, int]]:
    """Combine the values of an image, channel by channel."""
    positions = len(nodes) // channels
    belongs = torch.eye(channels).repeat_interleave(positions, dim=1).bool()
    return wiring.connect("channels", nodes, belongs)


def _dense(model: nn.Module) -> Wiring:
    wiring = Wiring()
    nodes = wiring.read("input_1", 4)
    for name in ("0", "2", "4", "6"):
        nodes = wiring.connect(name, nodes, *_masks(model, name))
    wiring.end(nodes)
    return wiring


def _convolutional(model: nn.Module) -> Wiring:
    wiring = Wiring()
    nodes = _by_channel(wiring, wiring.read("input_1", 72), 2)
    grouped, bias = _masks(model, "0")
    whole = torch.zeros(4, 2, 3, 3)
    whole[:2, :1], whole[2:, 1:] = grouped[:2], grouped[2:]
    nodes = wiring.connect("0", nodes, whole.bool(), bias)
    nodes = wiring.connect("3", nodes, *_masks(model, "3"))
    weights, bias = _masks(model, "5")
    nodes = wiring.connect("5", nodes, weights.transpose(0, 1), bias)
    wiring.end(wiring.connect("8", _channels(nodes, 4), *_masks(model, "8")))
    return wiring


def _residual(model: nn.Module) -> Wiring:
    wiring = Wiring()
    nodes = _by_channel(wiring, wiring.read("x", 72), 2)
    stem = wiring.connect("stem", nodes, _masks(model, "stem")[0], torch.ones(4))  # the batch norm's biases
    inner = wiring.connect("inner", stem, *_masks(model, "inner"))
    outer = wiring.connect("outer", inner, *_masks(model, "outer"))
    wiring.end(wiring.connect("dense", _channels(wiring.add("sum", stem, outer), 9), *_masks(model, "dense")))
    return wiring


def _branches(model: nn.Module) -> Wiring:
    wiring = Wiring()
    left = wiring.connect("left", wiring.read("a", 4), *_masks(model, "left"))
    right = wiring.connect("right", wiring.read("b", 3), *_masks(model, "right"))
    after = wiring.connect("after", [*wiring.add("sum", left, right), *left], *_masks(model, "after"))
    wiring.end(
        wiring.connect("first", after, *_masks(model, "first")),
        wiring.connect("second", right, *_masks(model, "second")),
    )
    return wiring


WIRINGS: dict[str, Callable[[nn.Module], Wiring]] = {
    "dense": _dense,
    "convolutional": _convolutional,
    "residual": _residual,
    "branches": _branches,
}
