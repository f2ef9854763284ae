"""Residual networks for images of CIFAR's size: He et al. (2016), and wider ones by Zagoruyko & Komodakis (2016)."""

from collections import OrderedDict
from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from lthprune.models.spec import RESIDUAL, ModelSpec

BLOCK_ARGUMENTS = ("in_channels", "hidden", "out_channels", "stride", "projects", "biases")


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: what both kinds of blocks have in common.

    The shortcut is the identity or, where the number of channels or the image changes, a 1x1 convolution.

    Args:
        in_channels: channels that the block reads.
        hidden: channels between its convolutions.
        out_channels: channels that it returns.
        stride: of the first convolution and of the shortcut.
        projects: whether the shortcut is a convolution.
        biases: which of ``conv1``, ``conv2`` and ``shortcut`` have a bias. None has before compaction.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        stride: int = 1,
        *,
        projects: bool = False,
        biases: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, hidden, 3, stride=stride, padding=1, bias="conv1" in biases)
        self.conv2 = nn.Conv2d(hidden, out_channels, 3, padding=1, bias="conv2" in biases)
        self.activation1, self.activation2 = nn.ReLU(), nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if projects:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias="shortcut" in biases)

    @property
    def in_channels(self) -> int:
        """The number of channels that the block reads."""
        return self.conv1.in_channels

    @property
    def hidden(self) -> int:
        """The number of channels between its convolutions."""
        return self.conv1.out_channels

    @property
    def out_channels(self) -> int:
        """The number of channels that the block returns."""
        return self.conv2.out_channels

    @property
    def stride(self) -> int:
        """The stride of the first convolution and of the shortcut."""
        return self.conv1.stride[0]

    @property
    def projects(self) -> bool:
        """Whether the shortcut is a convolution."""
        return isinstance(self.shortcut, nn.Conv2d)

    @property
    def biases(self) -> list[str]:
        """The names of the convolutions that have a bias."""
        named = self.named_children()
        return [name for name, module in named if isinstance(module, nn.Conv2d) and module.bias is not None]


class ResidualBlock(_Block):
    """A block of He et al. (2016), section 4.2: conv, norm, ReLU, conv, norm, add the shortcut, ReLU.

    Where the shape changes, the shortcut is a 1x1 convolution with batch norm (option B of the paper's section 4.1).
    The networks for CIFAR in that paper pad with zeros instead (option A). Those of the lottery-ticket papers have
    option B, as in open_lth: Frankle & Carbin (2019) count 2,560 weights that "downsample residual connections".

    Examples:
        >>> import torch
        >>> block = ResidualBlock(16, 32, 32, stride=2, projects=True)
        >>> block(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.norm1, self.norm2 = nn.BatchNorm2d(self.hidden), nn.BatchNorm2d(self.out_channels)
        self.shortcut_norm = nn.BatchNorm2d(self.out_channels) if self.projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (batch, out_channels, H/stride, W/stride) for inputs (batch, in_channels, H, W)."""
        y = self.activation1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        returned: Tensor = self.activation2(y + self.shortcut_norm(self.shortcut(x)))
        return returned


class PreActivationBlock(_Block):
    """A block of Zagoruyko & Komodakis (2016), "basic": norm, ReLU, conv, norm, ReLU, conv, add the shortcut.

    Where the shape changes, the shortcut is a 1x1 convolution of the activations, as in the authors' code.

    Examples:
        >>> import torch
        >>> block = PreActivationBlock(16, 32, 32, stride=2, projects=True)
        >>> block(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.norm1, self.norm2 = nn.BatchNorm2d(self.in_channels), nn.BatchNorm2d(self.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (batch, out_channels, H/stride, W/stride) for inputs (batch, in_channels, H, W)."""
        active = self.activation1(self.norm1(x))
        y = self.conv2(self.activation2(self.norm2(self.conv1(active))))
        returned: Tensor = y + self.shortcut(active if self.projects else x)
        return returned


def residual_layers(spec: ModelSpec, channels: int) -> tuple[OrderedDict[str, nn.Module], tuple[int, ...]]:
    """Return the layers of a residual network before its output layer, and the shape of what they return.

    A convolution, three stages of n blocks with 1, 2 and 4 times the channels, each at half the image size of the one
    before, and the mean over all positions.

    Args:
        spec: a table of ``kind = "resnet"`` (depth 6n + 2) or ``"wide-resnet"`` (depth 6n + 4).
        channels: of the images.

    Examples:
        >>> layers, shape = residual_layers(ModelSpec(kind="resnet", depth=20), 3)
        >>> [name for name in layers if name.startswith("block")][-1], shape
        ('block9', (64, 1, 1))
    """
    wide = spec.kind == "wide-resnet"
    blocks = ((spec.depth or 0) - RESIDUAL[spec.kind]) // 6
    first = 16 if wide else spec.width or 16
    widths = [first * (spec.widen or 1 if wide else 1) * factor for factor in (1, 2, 4)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(channels, first, 3, padding=1, bias=False)
    if not wide:
        layers |= {"norm1": nn.BatchNorm2d(first), "activation1": nn.ReLU()}
    block, read = PreActivationBlock if wide else ResidualBlock, first
    for stage, width in enumerate(widths):
        for place in range(blocks):
            stride = 2 if stage and not place else 1
            projects = stride == 2 or read != width
            layers[f"block{stage * blocks + place + 1}"] = block(read, width, width, stride, projects=projects)
            read = width
    if wide:
        layers |= {"norm1": nn.BatchNorm2d(read), "activation1": nn.ReLU()}
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    return layers, (read, 1, 1)
