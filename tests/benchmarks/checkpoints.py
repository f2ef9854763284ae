"""What checkpoints cost: the seconds that they take, as a share of a training's.

    python tests/benchmarks/checkpoints.py --data-dir ~/datasets
    python tests/benchmarks/checkpoints.py --recipes conv4-cifar10 --set train.steps=2000 --every 60

Trains the dense level of recipes with checkpoints at the default interval, or at another, and prints for each the
engine, the seconds of the training, the size of the file, the number of checkpoints, the median seconds for writing
one, and the share of the training's seconds that all of them took; at last the share that one takes of the default
interval.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune import load_recipe
from lthprune.experiments.experiment import prepare
from lthprune.pruning import State
from lthprune.training import Checkpoint, checkpoint, train_population
from tests.benchmarks.machine import Machine, add_busy


class Timed(Checkpoint):
    """A checkpoint that notes how long each of its files took to write."""

    def __init__(self, path: Path, training: str) -> None:
        super().__init__(path, training)
        self.seconds: list[float] = []

    def write(self, tensors: State) -> None:
        begun = time.perf_counter()
        super().write(tensors)
        self.seconds.append(time.perf_counter() - begun)


def measure(name: str, settings: list[str], data_dir: str | None, folder: Path) -> tuple[str, int, list[float], float]:
    """Train the dense level of a recipe; return engine, size of the file, seconds of its writes, and all seconds."""
    experiment = prepare(load_recipe(name, settings), data_dir=data_dir)
    recipe, trials, kept = experiment.recipe, range(len(experiment.models)), list[Timed]()

    def checkpoints(trial: int, trainer: str) -> Timed:
        kept.append(Timed(folder / f"{name}-{trial}.safetensors", trainer))
        return kept[-1]

    orders, noises, augmenters = (
        [recipe.run.generator(stream, trial) for trial in trials] for stream in ("order", "noise", "augment")
    )
    begun = time.perf_counter()
    done = train_population(
        experiment.models,
        experiment.data,
        recipe.train,
        orders,
        noises=noises,
        augmenters=augmenters,
        checkpoints=checkpoints,
    )
    seconds = time.perf_counter() - begun
    written = list(folder.glob(f"{name}-*"))
    if not written:
        sys.exit(f"{name} trained for {seconds:.0f} s, too short for a checkpoint. Lower --every.")
    return (
        done[0].engine,
        max(path.stat().st_size for path in written),
        [s for each in kept for s in each.seconds],
        seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["lenet-mnist", "conv4-cifar10"])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings on top of the recipes")
    parser.add_argument("--every", type=float, default=checkpoint.EVERY, help="seconds between checkpoints (180)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir", help="the data root")
    add_busy(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    usual, checkpoint.EVERY = checkpoint.EVERY, options.every
    machine, table = Machine(busy=options.busy), Table(box=box.SIMPLE)
    for column in ("recipe", "engine", "seconds", "MB", "number", "each, s", "share", f"every {usual:g} s"):
        table.add_column(column, justify="left" if column in ("recipe", "engine") else "right")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.recipes:
            engine, size, written, seconds = measure(name, options.set, options.data_dir, Path(folder))
            each = statistics.median(written)
            table.add_row(
                name,
                engine,
                f"{seconds:.0f}",
                f"{size / 1e6:.1f}",
                str(len(written)),
                f"{each:.3f}",
                f"{sum(written) / seconds:.2%}",
                f"{each / usual:.2%}",
            )
    table.title = f"{options.threads} threads, a checkpoint every {options.every:g} s; {machine.describe()}"
    Console().print(table)


if __name__ == "__main__":
    main()
