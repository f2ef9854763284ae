"""Models whose parameters or buffers change in the first forward pass."""

import warnings

import torch
from torch import Tensor, nn

from tests.zoo.specimen import Specimen, normal

WIDTH, LENGTH = 6, 5


class RegistersBuffer(nn.Module):
    """Stores the mean of its first batch in a buffer that did not exist before."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "center"):
            self.register_buffer("center", x.detach().mean(0))
        output: Tensor = self.out(self.fc(x - self.get_buffer("center")).relu())
        return output


class GrowsBuffer(nn.Module):
    """Caches positions, and lengthens the cache for a longer sequence."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.register_buffer("positions", torch.empty(0, WIDTH))

    def forward(self, x: Tensor) -> Tensor:  # x: (batch, length, width)
        if self.positions.size(0) < x.size(1):
            steps, rates = torch.arange(x.size(1)), torch.arange(WIDTH) + 1
            self.positions = torch.outer(steps.to(x), 1 / rates.to(x)).sin()
        output: Tensor = self.out(self.fc(x + self.positions[: x.size(1)]).relu())
        return output


class InitialisedByData(nn.Module):
    """Normalises with statistics that only the first forward pass in training mode sets (ActNorm)."""

    initialised: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.scale = nn.Parameter(torch.zeros(WIDTH)), nn.Parameter(torch.ones(WIDTH))
        self.register_buffer("initialised", torch.tensor(False))
        self.fc = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.initialised:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.scale.copy_(1 / (x.std(0) + 1e-3))
            self.initialised.fill_(True)
        output: Tensor = self.fc((x + self.shift) * self.scale)
        return output


def lazy() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns that lazy modules are new
        return nn.Sequential(
            nn.LazyConv2d(4, 3),
            nn.LazyBatchNorm2d(),
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(WIDTH),
            nn.ReLU(),
            nn.LazyLinear(3),
        )


SPECIMENS = [
    Specimen("own/registers-buffer", RegistersBuffer, normal(WIDTH)),
    Specimen("own/grows-buffer", GrowsBuffer, normal(LENGTH, WIDTH)),
    Specimen("own/initialised-by-data", InitialisedByData, normal(WIDTH)),
    Specimen("own/lazy", lazy, normal(2, 6, 6)),
]
