"""Modules of one's own, written into a folder that Python looks in for the length of a test."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from lthprune.experiments.axes import Axes
from lthprune.experiments.sweep import Sweep, begin_sweep, run_sweep

PARTS = """
    import numpy as np
    import torch
    from torch import nn

    def by_power(candidate, *, power=1.0):
        return candidate.final.abs() ** power

    def build(input_shape, outputs, *, width=6):
        features = int(np.prod(input_shape))
        return nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, outputs))

    def points(data_dir, *, classes=3):
        draws = np.random.default_rng(0)
        splits = [(draws.standard_normal((size, 4)), np.arange(size) % classes) for size in (60, 20)]
        return tuple(part for split in splits for part in split)
"""


BLOCKS = """
    import torch

    def blocks(candidate):
        rows, columns = (torch.arange(size) * 2 // size for size in candidate.final.shape)
        apart = (rows[:, None] == columns).float()
        if candidate.name == "output.weight":
            apart[:, -1] = 0  # nothing reads the last unit of the second layer
        if candidate.name == "dense2.weight":
            apart[-1] /= 2  # so that its weights are pruned next
        return apart
"""


DENSITIES: Axes = {"prune.densities": [[30, 25], [19, 18], [19, 16]], "run.seed": [0, 1]}


def separated_sweep(folder: Path, over: Axes = DENSITIES, setting: str = "model.hidden=4") -> Sweep:
    """Return a finished sweep over moons and circles, alike on every machine.

    With four hidden units and 19 of 40 weights networks are separated, and 17 are active: the last unit of the second
    layer reads two, and nothing reads it. With 18 weights they are still separated, with 16 degraded.
    """
    write_module(folder, "separating", BLOCKS)
    words = ["train.steps=4", "data.validation=200", "prune.levels=2", "prune.score=separating:blocks", setting]
    with imports_restored("separating"):
        sys.path.insert(0, str(folder))
        return run_sweep(begin_sweep("moons-circles", over, words, out=folder / "sweeps"))


def write_module(folder: Path, name: str, text: str = PARTS) -> Path:
    """Write a module into a folder and return its path."""
    path = folder / f"{name}.py"
    path.write_text(dedent(text), "utf-8")
    return path


@contextmanager
def imports_restored(*names: str) -> Iterator[None]:
    """Restore Python's search path afterwards, and forget the modules of these names before and afterwards."""
    path = list(sys.path)
    forget(*names)
    try:
        yield
    finally:
        sys.path[:] = path
        forget(*names)


def forget(*names: str) -> None:
    """Take modules out of those that Python has imported."""
    for name in names:
        sys.modules.pop(name, None)


def register(folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, **references: str) -> None:
    """Install a package's metadata, with these entry points, into a folder, and let Python look there."""
    metadata = folder / f"{group.replace('.', '_')}_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {metadata.name.partition('-')[0]}\nVersion: 1.0\n"
    )
    lines = [f"{name} = {reference}" for name, reference in references.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]) + "\n")
    monkeypatch.syspath_prepend(folder)
