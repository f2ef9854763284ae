"""Attention and convolution built from torch.nn, with skip connections, and from transformers' Conv1D."""

import torch
from torch import Generator, Tensor, nn

from tests.zoo.specimen import Draw, Inputs, Specimen, normal

WIDTH, LENGTH, KEYS, VALUES = 8, 5, 6, 4


class UNet(nn.Module):
    """Down twice, up twice by transposed convolutions, with a skip connection at each size."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([self.block(2, 4), self.block(4, 6)])
        self.middle = self.block(6, 8)
        self.up = nn.ModuleList([nn.ConvTranspose2d(8, 6, 2, stride=2), nn.ConvTranspose2d(6, 4, 2, stride=2)])
        self.merge = nn.ModuleList([self.block(12, 6), self.block(8, 4)])
        self.out, self.pool = nn.Conv2d(4, 2, 1), nn.MaxPool2d(2)

    @staticmethod
    def block(channels: int, out: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        skipped = []
        for block in self.down:
            x = block(x)
            skipped.append(x)
            x = self.pool(x)
        x = self.middle(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([up(x), skipped.pop()], dim=1))
        output: Tensor = self.out(x)
        return output


class Concatenating(nn.Module):
    """Each convolution reads the input and the outputs of all before it, normalised first (DenseNet)."""

    def __init__(self, layers: int = 3, growth: int = 2) -> None:
        super().__init__()
        sizes = [3 + growth * layer for layer in range(layers)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(size), nn.ReLU(), nn.Conv2d(size, growth, 3, padding=1)) for size in sizes
        )
        self.out = nn.Linear(sizes[-1] + growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        output: Tensor = self.out(x.mean((2, 3)))
        return output


class Residual(nn.Module):
    """Grouped and depthwise convolutions around a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped, self.norm = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.GroupNorm(2, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.norm(self.grouped(self.depthwise(x).relu()))
        output: Tensor = self.out(x.mean((2, 3)))
        return output


def volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.ConvTranspose3d(4, 2, 2, stride=2),
        nn.Flatten(1),
    )


def conv1d() -> nn.Module:
    """Two layers of GPT-2's kind: their weights are (in, out)."""
    from transformers.pytorch_utils import Conv1D

    return nn.Sequential(Conv1D(12, WIDTH), nn.GELU(), Conv1D(3, 12))  # type: ignore[no-untyped-call]


def encoder() -> nn.Module:
    # In evaluation mode and without gradients, torch reads the weights in one fused call.
    layer = nn.TransformerEncoderLayer(WIDTH, 2, dim_feedforward=12, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 2)


def decoder() -> nn.Module:
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, 2, 12, dropout=0.0, batch_first=True), 2)


def transformer() -> nn.Module:
    return nn.Transformer(WIDTH, 2, 2, 2, dim_feedforward=12, dropout=0.0, batch_first=True)


def attention() -> nn.Module:
    return nn.MultiheadAttention(WIDTH, 2, batch_first=True)


def attention_of_other_widths() -> nn.Module:
    """Three projections instead of one, and two more parameters for ``bias_kv``."""
    return nn.MultiheadAttention(WIDTH, 2, add_bias_kv=True, kdim=KEYS, vdim=VALUES, batch_first=True)


def sequences(*widths: int) -> Draw:
    def draw(generator: Generator) -> Inputs:
        return tuple(torch.randn(2, LENGTH, width, generator=generator) for width in widths), {}

    return draw


SPECIMENS = [
    Specimen("own/transformer", transformer, sequences(WIDTH, WIDTH)),
    Specimen("own/transformer-encoder", encoder, sequences(WIDTH)),
    Specimen("own/transformer-decoder", decoder, sequences(WIDTH, WIDTH)),
    Specimen("own/attention", attention, sequences(WIDTH, WIDTH, WIDTH)),
    Specimen("own/attention-of-other-widths", attention_of_other_widths, sequences(WIDTH, KEYS, VALUES)),
    Specimen("own/u-net", UNet, normal(2, 8, 8)),
    Specimen("own/dense-net", Concatenating, normal(3, 6, 6)),
    Specimen("own/grouped-residual", Residual, normal(3, 6, 6)),
    Specimen("own/volume", volume, normal(1, 4, 4, 4)),
    Specimen("own/conv1d-of-transformers", conv1d, normal(WIDTH), needs=("transformers",)),
]
