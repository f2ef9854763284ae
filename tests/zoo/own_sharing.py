"""Models that use one weight in several places, and models that compute a weight from other parameters."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from tests.zoo.specimen import Specimen, normal

WIDTH, HIDDEN = 6, 8


class TiedAutoencoder(nn.Module):
    """The decoder uses the encoder's weight, transposed, without a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.bias = nn.Linear(WIDTH, HIDDEN), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x).tanh()
        return F.linear(code, self.encoder.weight.t(), self.bias), code


class TiedLayers(nn.Module):
    """Two layers with one weight between them, and a bias each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.second(self.first(x).tanh())
        return output


class UsedTwice(nn.Module):
    """Calls the same layer twice in a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.layer(self.layer(x).tanh()).tanh())
        return output


def registered_twice() -> nn.Module:
    """One layer under two names."""
    layer = nn.Linear(WIDTH, WIDTH)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(WIDTH, 3))


def reparametrised(change: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    """Build a network and change its first two layers."""

    def make() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the hooks of old are deprecated, and still in use
            return nn.Sequential(
                change(nn.Conv1d(2, 4, 3)), nn.ReLU(), nn.Flatten(), change(nn.Linear(4 * 4, 5)), nn.Linear(5, 3)
            )

    return make


REPARAMETRISATIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight-norm": parametrizations.weight_norm,
    "weight-norm-by-hook": nn.utils.weight_norm,
    "spectral-norm": parametrizations.spectral_norm,
    "spectral-norm-by-hook": nn.utils.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
}

SPECIMENS = [
    Specimen("own/tied-autoencoder", TiedAutoencoder, normal(WIDTH)),
    Specimen("own/tied-layers", TiedLayers, normal(WIDTH)),
    Specimen("own/used-twice", UsedTwice, normal(WIDTH)),
    Specimen("own/registered-twice", registered_twice, normal(WIDTH)),
    *(Specimen(f"own/{name}", reparametrised(change), normal(2, WIDTH)) for name, change in REPARAMETRISATIONS.items()),
]
