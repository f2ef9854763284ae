"""A pruned dense layer with ``SparseLinear`` and with ``nn.Linear``: at which sizes and densities the former is faster.

    python tests/benchmarks/sparse_layers.py
    python tests/benchmarks/sparse_layers.py --shapes 784x300 256x256 --densities 0.1 0.2 --batches 64 --threads 1

The constants of ``lthprune.training.sparse_linear`` come from this table. The first shape is SparseProp's (Nikdan et
al. 2023): 768 inputs, 3,072 outputs, batches of 2,048. Three layers with the same values take turns in one process: an
``nn.Linear`` without pruning, and the same pruned in the plain form, as ``nn.Linear`` and as ``SparseLinear``. A
forward and a backward pass of the module count everything: hooks, masks, copies between layouts, memory for results.
``kernels`` are the compiled products alone, in one thread, on samples as torch has them. Prints the medians of the
times without pruning, and how many times as long these are as those of the others. No speed is asserted. It takes
minutes. On a machine that other programs use it prints no figures, unless with ``--busy``.
"""

import argparse
import copy
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune import kernels, prune
from lthprune.training import SparseLinear
from lthprune.training.sparse_product import Pattern
from tests.benchmarks.machine import Machine, add_busy

Passes = Mapping[str, tuple[Callable[[], object], Callable[[], object]]]


def module_passes(layer: nn.Module, x: Tensor, deltas: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """A forward pass, and a backward pass of the last one."""
    outputs: list[Tensor] = []

    def forward() -> None:
        x.grad = None
        layer.zero_grad()
        outputs[:] = [layer(x)]

    def backward() -> None:
        outputs.pop().backward(deltas)

    return forward, backward


def kernel_passes(layer: nn.Linear, x: Tensor, deltas: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same in the compiled products alone, into arrays that are there already; in one thread."""
    weight = layer.weight.detach()
    pattern = Pattern.of(weight)
    flat, panels = weight.numpy().ravel(), -(-len(x) // kernels.LANES)
    samples, own = x.detach().numpy(), deltas.numpy()
    out, under = np.empty_like(own), np.empty_like(samples)
    values, gradient, biases = (
        flat[pattern.places],
        np.zeros(len(pattern.places), flat.dtype),
        np.zeros(len(weight), flat.dtype),
    )
    layer_of, tiles = (values, pattern.starts, pattern.columns, biases, samples), pattern.tiles
    back = (flat[tiles.places], *tiles[1:], samples, own, gradient, biases, under)
    return (
        lambda: kernels.sparse_forward(*layer_of, out, 0, panels),
        lambda: kernels.sparse_backward(*back, 0, panels),
    )


def medians(passes: Passes, repeats: int) -> dict[str, tuple[float, float]]:
    """The median seconds of both passes of each, taking turns; the first two rounds set up libraries."""
    times: dict[str, list[list[float]]] = {name: [[], []] for name in passes}
    for repeat in range(repeats + 2):
        for name, both in passes.items():
            for work, found in zip(both, times[name], strict=True):
                start = time.perf_counter()
                work()
                if repeat >= 2:
                    found.append(time.perf_counter() - start)
    return {name: tuple(map(statistics.median, found)) for name, found in times.items()}  # type: ignore[misc]


def measure(into: int, out: int, density: float, batch: int, repeats: int) -> dict[str, tuple[float, float]]:
    torch.manual_seed(0)
    dense, x, deltas = (
        nn.Sequential(nn.Linear(into, out)),
        torch.randn(batch, into, requires_grad=True),
        torch.randn(batch, out),
    )
    masked = copy.deepcopy(dense)
    prune(masked, 1 - density, scope="layerwise", form="plain")
    sparse = copy.deepcopy(masked)
    sparse[0].__class__ = SparseLinear
    torch.testing.assert_close(sparse(x), masked(x), rtol=1e-4, atol=1e-4)
    layers = {"dense": dense, "masked": masked, "sparse": sparse}
    passes = {name: module_passes(layer, x, deltas) for name, layer in layers.items()}
    return medians(passes | {"kernels": kernel_passes(masked[0], x, deltas)}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["768x3072"], help="inputs x outputs (768x3072)")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 0.2, 0.1, 0.05, 0.02, 0.01])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 2048])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=9, help="rounds for each median (9)")
    parser.add_argument("--json", type=Path, help="write the medians to this file as well, in seconds")
    add_busy(parser)
    options = parser.parse_args()
    machine, report = Machine(busy=options.busy), []
    for threads in options.threads:
        torch.set_num_threads(threads)
        table = Table(box=box.SIMPLE)
        for column in ("in x out", "batch", "density", "dense, ms", "masked", "sparse", "kernels"):
            table.add_column(column, justify="right")
        for shape, batch, density in itertools.product(options.shapes, options.batches, options.densities):
            into, out = map(int, shape.split("x"))
            found = measure(into, out, density, batch, options.repeats)
            report.append({"threads": threads, "shape": [into, out], "batch": batch, "density": density, **found})
            base = found.pop("dense")
            ratios = [" / ".join(f"{a / b:.1f}" for a, b in zip(base, both, strict=True)) for both in found.values()]
            table.add_row(
                shape, f"{batch:,}", f"{density:g}", " / ".join(f"{1e3 * each:.2f}" for each in base), *ratios
            )
        table.title = f"times as fast as without pruning, forward / backward; {machine.describe()}"
        Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine.describe(), "medians": report}, indent=2) + "\n")


if __name__ == "__main__":
    main()
