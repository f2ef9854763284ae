"""Small runs of networks that torchvision and timm build, and of one that analysis cannot follow."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from lthprune.experiments.recipe import Recipe, parse_recipe
from tests.tiny import write_npz

QUIET = "shufflenet_v2_x0_5"
DROPPING = "squeezenet1_1"  # has dropout
UNFOLLOWED = "tests.named:unfollowed"


def colours(path: Path) -> Path:
    """A data set of 60 and 20 colour images of 24x24 bytes, three classes."""
    generator = np.random.default_rng(0)
    images = {
        f"x_{split}": generator.integers(0, 256, (size, 24, 24, 3), dtype=np.uint8)
        for split, size in (("train", 60), ("test", 20))
    }
    return write_npz(path, **images)


class Cumulative(nn.Module):
    """Sums its hidden units up one after another: an operation whose effect on neurons is unknown."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3)
        self.dense = nn.Linear(8, outputs)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.dense(self.conv(images).relu().mean((2, 3)).cumsum(1))
        return found


def unfollowed(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Cumulative(input_shape[0], outputs)


def recipe(images: Path, name: str = QUIET, kind: str = "torchvision", **tables: Any) -> Recipe:
    """Three steps at each of two levels and the dense one; ``tables`` replaces some of the keys."""
    own: dict[str, Any] = {
        "model": {"kind": kind} if ":" in kind else {"kind": kind, "name": name},
        "data": {"name": str(images), "validation": 20},
        "train": {"optimizer": "sgd", "lr": 0.05, "batch_size": 8, "steps": 3, "evaluate_every": 2},
        "prune": {"levels": 2, "rate": 0.5, "min_survivors": 8},
        "run": {"trials": 1},
    }
    return parse_recipe({table: values | tables.get(table, {}) for table, values in own.items()}, "mine")
