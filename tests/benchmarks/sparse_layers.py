"""Dense layers of a population as batched and as sparse matrices: at which sizes and densities the latter are faster.

    python tests/benchmarks/sparse_layers.py

The constants of ``lthprune.training.dispatch`` come from this table. Each figure is how many times as long a forward
and a backward pass of one layer take as sparse matrices as in a batched product: below 1, sparse is faster. Batches
have 60 samples. The two take turns in one process, and medians over the repeats are printed. No speed is asserted. It
takes less than a minute on two cores. On a machine that other programs use it prints no figures, unless with
``--busy``.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune.training.sparse import SparseLayer

from lthprune.training.lowering import DenseLayer
from lthprune.training.stacked import StackedLayer
from tests.benchmarks.machine import Machine, add_busy

SHAPES = ((5, 300, 784), (5, 100, 300), (5, 10, 100), (50, 64, 64), (200, 64, 64), (200, 16, 16))  # (trials, out, in)
DENSITIES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02)
BATCH = 60
KINDS = (StackedLayer, SparseLayer)


def bound(kind: type[StackedLayer | SparseLayer], layer: DenseLayer) -> StackedLayer | SparseLayer:
    """Return a layer with random values of its own."""
    made, generator = kind(layer), torch.Generator().manual_seed(0)
    weight, bias = torch.randn(layer.weight_mask.shape, generator=generator), torch.zeros(layer.bias_mask.shape)
    values = made.pack(weight * layer.weight_mask, bias)
    made.bind(values, torch.zeros_like(values))
    return made


def ratio(shape: tuple[int, int, int], density: float, repeats: int) -> float:
    """Return how many times as long the sparse layer takes as the stacked one."""
    trials, out, features = shape
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(shape, generator=generator) < density
    mask[:, 0, 0] = True
    layer = DenseLayer("layer", mask, torch.ones(trials, out, dtype=torch.bool), None)
    layers = [bound(kind, layer) for kind in KINDS]
    x = torch.randn(trials * features, BATCH, generator=generator)
    gradient = torch.randn(trials * out, BATCH, generator=generator)
    times: list[list[float]] = [[] for _ in layers]
    for repeat in range(repeats + 2):
        for each, found in zip(layers, times, strict=True):
            start = time.perf_counter()
            each.forward(x)
            each.backward(x, gradient, to_inputs=True)
            if repeat >= 2:  # the first two set up libraries
                found.append(time.perf_counter() - start)
    stacked, sparse = (statistics.median(found) for found in times)
    return sparse / stacked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=51, help="pairs for each median (51)")
    add_busy(parser)
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    machine, table = Machine(busy=options.busy), Table(box=box.SIMPLE)
    for column in ("trials", "out x in", "weights", *(f"{density:g}" for density in DENSITIES)):
        table.add_column(column, justify="right")
    for shape in SHAPES:
        trials, out, features = shape
        cells = [f"{ratio(shape, density, options.repeats):.2f}" for density in DENSITIES]
        table.add_row(str(trials), f"{out} x {features}", f"{trials * out * features:,}", *cells)
    table.title = f"time of sparse / stacked by density; {machine.describe()}"
    Console().print(table)


if __name__ == "__main__":
    main()
