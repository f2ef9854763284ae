"""Small runs of networks that torchvision and timm build."""

from pathlib import Path
from typing import Any

import numpy as np

from lthprune.experiments.recipe import Recipe, parse_recipe
from tests.tiny import write_npz

QUIET = "shufflenet_v2_x0_5"
DROPPING = "squeezenet1_1"  # has dropout
UNTRACEABLE = "mobilenet_v3_small"  # multiplies channels by others, of which lthprune finds no neuron states


def colours(path: Path) -> Path:
    """A data set of 60 and 20 colour images of 24x24 bytes, three classes."""
    generator = np.random.default_rng(0)
    images = {
        f"x_{split}": generator.integers(0, 256, (size, 24, 24, 3), dtype=np.uint8)
        for split, size in (("train", 60), ("test", 20))
    }
    return write_npz(path, **images)


def recipe(images: Path, name: str = QUIET, kind: str = "torchvision", **tables: Any) -> Recipe:
    """Three steps at each of two levels and the dense one; ``tables`` replaces some of the keys."""
    own: dict[str, Any] = {
        "model": {"kind": kind, "name": name},
        "data": {"name": str(images), "validation": 20},
        "train": {"optimizer": "sgd", "lr": 0.05, "batch_size": 8, "steps": 3, "evaluate_every": 2},
        "prune": {"levels": 2, "rate": 0.5, "min_survivors": 8},
        "run": {"trials": 1},
    }
    return parse_recipe({table: values | tables.get(table, {}) for table, values in own.items()}, "mine")
