"""Experiments small enough to be run by the dozen, and what their directories hold to the last bit."""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lthprune.data.dataset import Dataset, Task
from lthprune.experiments.recipe import Recipe, load_recipe
from tests.nets import all_bits

SETTINGS = (
    'model.kind="mlp"',
    "model.dense=[8]",
    "train.steps=6",
    "train.evaluate_every=2",
    "train.batch_size=100",
    "prune.levels=2",
    "run.trials=2",
)
REWINDS = ("init", "lr", "none", "3")
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}  # nobody answers
BITS = dict[str, object]
Made = TypeVar("Made")


def tiny(*settings: str) -> Recipe:
    """The digits recipe with a network of eight hidden units, two trials, two levels and six steps."""
    return load_recipe("lenet-digits", [*SETTINGS, *settings])


def noise(
    shape: tuple[int, ...] = (1, 4, 4),
    classes: int = 3,
    sizes: tuple[int, int, int] = (40, 12, 15),
    seed: int = 0,
    tasks: tuple[Task, ...] = (),
) -> Dataset:
    """Random inputs and labels in three splits; of one task with so many classes, or of these tasks."""
    generator = torch.Generator().manual_seed(seed)
    tasks = tasks or (Task("noise", range(math.prod(shape)), range(classes)),)

    def labels(size: int) -> torch.Tensor:
        columns = [torch.randint(max(2, len(task.outputs)), (size,), generator=generator) for task in tasks]
        return columns[0] if len(tasks) == 1 else torch.stack(columns, dim=1)

    parts = [part for size in sizes for part in (torch.randn(size, *shape, generator=generator), labels(size))]
    return Dataset(*parts, tasks=tasks, fingerprint="")


def several(outputs: Sequence[int], features: int = 16) -> tuple[Task, ...]:
    """Tasks with so many outputs each, which all read all the inputs."""
    stops = accumulate(outputs)
    return tuple(
        Task(f"task{place}", range(features), range(stop - size, stop))
        for place, (size, stop) in enumerate(zip(outputs, stops, strict=True))
    )


def joined(*settings: str, name: str = "moons+circles") -> Recipe:
    """The tiny recipe on data sets side by side."""
    return tiny(f"data.name={name}", "data.validation=200", "train.lr=0.05", *settings)


def toys(*settings: str) -> Recipe:
    """Moons and circles side by side for six and six hidden units, pruned until two weights are left."""
    words = ("model.dense=[6, 6]", "prune.scope=global", "prune.target=2", "prune.levels=8")
    return joined(*words, *settings)


def write_npz(path: Path, seed: int = 0, **replaced: object) -> Path:
    """A data set of one's own: 60 and 20 grey images of 4x4 bytes, three classes."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, object] = {}
    for split, size in (("train", 60), ("test", 20)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (size, 4, 4), dtype=np.uint8)
        arrays[f"y_{split}"] = generator.integers(0, 3, size)
    arrays |= replaced
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]
    return path


def copied_before_writes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, go: Callable[[Path], Made]
) -> tuple[Made, list[Path]]:
    """Do something in a folder of its own, and copy what is there whenever a file is about to take its place."""
    copies: list[Path] = []
    replace = os.replace

    def spy(source: Path, target: Path) -> None:
        if Path(target).is_relative_to(folder):  # numba keeps what it compiles elsewhere
            (out,) = (folder / "whole").iterdir()
            copies.append(folder / f"{len(copies)}" / out.name)
            shutil.copytree(out, copies[-1])
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", spy)
        done = go(folder / "whole")
    return done, copies


def contents(folder: Path) -> BITS:
    """Every tensor of every ticket and every array of the histories, to the bit."""
    found: BITS = {
        str(path.relative_to(folder)): (path.read_bytes(), all_bits(load_file(path)))
        for path in sorted(folder.rglob("*.safetensors"))
    }
    with np.load(folder / "histories.npz", allow_pickle=False) as file:
        found |= {name: (file[name].dtype, file[name].shape, file[name].tobytes()) for name in file}
    return found


def command(*arguments: str | Path) -> list[str]:
    """The ``lthprune`` command in a process of its own."""
    return [sys.executable, "-c", "from lthprune_cli.main import main; main()", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """An environment with one thread, as in the tests' own process, and a terminal of 80 columns."""
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"} | more


def lthprune(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(**more), timeout=120, check=False
    )
