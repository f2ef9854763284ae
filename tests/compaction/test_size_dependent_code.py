"""Layers keep their neurons if the model's code relies on their number or positions, whatever random inputs show."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from lthprune import PruningError, compact, neuron_states
from tests.compaction.checked import check, mask, sizes


def _traces_lists() -> bool:
    """Whether torch.fx traces calls whose list or number comes from another call; that of torch 2.6 does not."""
    try:
        fx.symbolic_trace(lambda x: torch.cat(x.chunk(2)))
    except TypeError:
        return False
    return True


TRACES_LISTS = _traces_lists()
NEEDS_LISTS = ("chunk", "split", "split into halves", "unbind", "sum of two with the number", "chunk and cat")


class Between(nn.Module):
    """Three dense layers with some code after the first one; neuron 2 of the first layer and 1 of the second go."""

    def __init__(self, code: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.code = code
        self.first, self.second, self.third = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        self.register_buffer("order", torch.tensor([3, 2, 1, 0]))
        mask(self.second, [[1, 0, 0, 1], [1, 1, 0, 1], [0, 0, 0, 1], [1, 1, 0, 1]])
        mask(self.third, [[1, 0, 0, 1], [0, 0, 1, 1]])

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.third(self.second(self.code(self, self.first(x).relu())).relu())
        return output


def repeated(model: Any, x: Tensor) -> Tensor:
    for _ in range(model.first.out_features):
        x = x * 0.9
    return x


RELIES_ON_SIZE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "view": lambda model, x: x.view(-1, 4),
    "reshape to a constant": lambda model, x: torch.reshape(x, (-1, 2, 2)).flatten(1),
    "unflatten": lambda model, x: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1),
    "chunk": lambda model, x: torch.cat(x.chunk(2, dim=1)[::-1], dim=1),
    "split": lambda model, x: torch.cat(x.split(2, dim=1)[::-1], dim=1),
    "split into halves": lambda model, x: torch.cat(x.split(x.shape[1] // 2, dim=1)[::-1], dim=1),
    "slice": lambda model, x: torch.cat([x[:, 2:], x[:, :2]], dim=1),
    "slice by size": lambda model, x: torch.cat([x[:, x.size(1) // 4 :], x[:, : x.size(1) // 4]], dim=1),
    "narrow": lambda model, x: torch.cat([x.narrow(1, 1, 3), x.narrow(1, 0, 1)], dim=1),
    "constants beside neurons": lambda model, x: torch.cat([x, torch.zeros_like(x[:, :1])], dim=1)[:, :4],
    "unbind": lambda model, x: torch.stack(x.unbind(1)[::-1], dim=1),
    "index": lambda model, x: x[:, model.order],
    "divide by shape": lambda model, x: x / x.shape[1],
    "divide by size": lambda model, x: x / math.sqrt(4) * (1 / x.size(1)),
    "divide by features": lambda model, x: x / math.sqrt(model.first.out_features),
    "divide by rows of the weight": lambda model, x: x / model.first.weight.shape[0],
    "add the number": lambda model, x: x + x.size(-1),
    "clamp at the number": lambda model, x: x.clamp(max=x.shape[1]),
    "activation with the number": lambda model, x: F.leaky_relu(x - 5, 1 / x.shape[1]),
    "sum of two with the number": lambda model, x: torch.add(x, x, alpha=x.shape[1]),
    "parameter by position": lambda model, x: x * model.scale[: x.shape[1]],
    "parameter of that size": lambda model, x: x * model.scale,
    "bound by position": lambda model, x: x.clamp(max=model.scale[: x.shape[1]]),
    "numbers by position": lambda model, x: x * torch.arange(model.first.out_features),
    "mean of the weights": lambda model, x: x * model.first.weight.mean(),
    "loop": repeated,
    "branch": lambda model, x: x * 2 if model.first.out_features > 3 else x,
}
FITS_EVERY_SIZE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "flatten": lambda model, x: x.flatten(1),
    "view by shape": lambda model, x: x.view(x.size(0), -1),
    "view by both sizes": lambda model, x: x.view(-1, x.shape[1]),
    "view by features": lambda model, x: x.view(-1, model.first.out_features),
    "the layer's bias again": lambda model, x: x + model.first.bias,
    "the same constant everywhere": lambda model, x: x * model.scale[1:2].expand(x.shape[1]),
    "a constant": lambda model, x: x * 0.5 + 1 - x,
}


@pytest.mark.parametrize("bias", [1, -100], ids=["active", "silent"])  # silent on inputs as large as random ones
@pytest.mark.parametrize("code", RELIES_ON_SIZE)
def test_a_layer_keeps_all_neurons_if_code_relies_on_their_number_or_positions(code: str, bias: float) -> None:
    model = Between(RELIES_ON_SIZE[code]).double()
    model.first.bias.data.fill_(bias)
    if code in NEEDS_LISTS and not TRACES_LISTS:
        with pytest.raises(PruningError, match=r"torch\.fx cannot trace this Between"):
            compact(model, torch.zeros(1, 3).double())
        return
    compacted = check(model, torch.zeros(1, 3).double(), scale=1000)
    assert sizes(compacted) == {"first": 4, "second": 3, "third": 2}
    assert compacted.report.whole == ("first",)


class Summed(nn.Module):
    """The last layer does not read neuron 2 of the first, whose weights code reads as well; silent for small inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), mask(nn.Linear(4, 1), [[1, 1, 0, 1]])

    def forward(self, x: Tensor) -> Tensor:
        gate = F.linear(x, self.first.weight.sum(0, keepdim=True)) - 1000
        output: Tensor = self.last(self.first(x)) + gate.relu()
        return output


def test_a_layer_keeps_all_neurons_if_code_computes_other_weights_from_its_weights() -> None:
    compacted = check(Summed().double(), torch.zeros(1, 3).double(), scale=1000)
    assert sizes(compacted)["first"] == 4
    assert compacted.report.whole == ("first",)


@pytest.mark.parametrize("code", FITS_EVERY_SIZE)
def test_a_layer_loses_neurons_if_code_fits_every_size(code: str) -> None:
    model = Between(FITS_EVERY_SIZE[code]).double()
    compacted = check(model, torch.zeros(1, 3).double(), scale=1000)
    assert sizes(compacted) == {"first": 3, "second": 3, "third": 2}
    assert compacted.report.whole == ()


class Channels(nn.Module):
    """A convolution of four channels, of which a dense layer does not read the third, with some code between them."""

    def __init__(self, code: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.code = code
        self.conv, self.dense = nn.Conv2d(1, 4, 3), nn.Linear(16, 2)
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1))
        mask(self.dense, [[1] * 8 + [0] * 4 + [1] * 4] * 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.dense(self.code(self, self.conv(x).relu()).flatten(1))
        return output


@pytest.mark.parametrize("bias", [1, -100], ids=["active", "silent"])
@pytest.mark.parametrize(
    ("name", "code", "channels"),
    [
        ("parameter", lambda model, x: x * model.scale[: x.shape[1]], 4),
        ("divide", lambda model, x: x / x.shape[1], 4),
        ("chunk and cat", lambda model, x: torch.cat(x.chunk(2, dim=1), dim=1), 3),
        ("slice of all", lambda model, x: x.flatten(1)[:, : 4 * x.shape[1]], 3),
        ("image size", lambda model, x: F.max_pool2d(x, 1) * x.shape[2], 3),
    ],
)
def test_channels_are_kept_or_removed_likewise(
    name: str, code: Callable[[Any, Tensor], Tensor], channels: int, bias: float
) -> None:
    model = Channels(code).double()
    model.conv.bias.data.fill_(bias)
    if name in NEEDS_LISTS and not TRACES_LISTS:
        with pytest.raises(PruningError, match=r"torch\.fx cannot trace this Channels"):
            compact(model, torch.zeros(1, 1, 4, 4).double())
        return
    compacted = check(model, torch.zeros(1, 1, 4, 4).double(), scale=1000)
    assert sizes(compacted) == {"conv": channels, "dense": 2}


class Counted(Between):
    """Returns the number of its first layer's neurons, too."""

    def forward(self, x: Tensor) -> tuple[Tensor, int]:  # type: ignore[override]
        x = self.first(x).relu()
        return self.third(self.second(x).relu()), x.shape[1]


def test_a_number_of_neurons_among_the_outputs_stays_the_same() -> None:
    compacted = compact(Counted(repeated), torch.zeros(1, 3))
    assert compacted.report.whole == ("first",)
    assert compacted(torch.zeros(5, 3))[1] == 4


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (lambda model, x: x * x.data, "effect of getattr"),
        (lambda model, x: x.view(-1, 2).repeat_interleave(2, dim=1), "effect of Tensor.repeat_interleave"),
    ],
    ids=["values as an attribute", "repetition"],
)
def test_code_whose_effect_is_unknown_is_refused(code: Callable[[Any, Tensor], Tensor], message: str) -> None:
    with pytest.raises(PruningError, match=message):
        neuron_states(Between(code))
