"""The forms of a layer's weights in the compiled engine: at which sizes and densities storing only what remains wins.

    python tests/benchmarks/layer_forms.py

The constants of ``lthprune.training.formed`` and ``lthprune.training.layout`` come from these tables. The first gives
how many times as long a forward and a backward pass of a layer take with the remaining weights alone as with a dense
product: below 1, the former is faster. The second gives the same for the first layer of LeNet-300-100 read only where
inputs differ from their background, by the share of inputs that do. Panels have 64 samples. The forms take turns in one
process, in one thread, and minima over the repeats are compared. No speed is asserted. It takes a minute; on a machine
that other programs use it prints no figures, unless with ``--busy``.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune.kernels import LANES
from lthprune.kernels.inputs import Inputs, by_column, count_differences, find_differences
from lthprune.kernels.products import (
    dense_backward,
    dense_forward,
    dense_gradient,
    rows_forward,
    rows_gradient,
    wide_forward,
    wide_gradient,
)
from lthprune.kernels.teams import Team, new_gate
from tests.benchmarks.machine import Machine, add_busy

SIZES = ((4, 64), (16, 64), (64, 64), (300, 100), (784, 300), (1000, 1000))  # (in, out)
DENSITIES = (1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1)
SHARES = (0.5, 0.4, 0.3, 0.2, 0.1)
ALONE = Team(0, 1, new_gate())
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def shortest(ways: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the shortest time of each way; they take turns."""
    found = {name: float("inf") for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            found[name] = min(found[name], time.perf_counter() - begun)
    return found


def dense(into: int, out: int) -> Callable[[], None]:
    weights, x, deltas = normal(out, into), normal(into, LANES), normal(out, LANES)
    sums, gradient, below, turned = (np.zeros_like(each) for each in (deltas, weights, x, x.T.copy()))

    def both() -> None:
        dense_forward(weights.ravel(), x, sums, ALONE)
        dense_gradient(gradient.ravel(), turned, deltas, ALONE)
        dense_backward(weights.ravel(), deltas, below, ALONE)

    return both


def rows(into: int, out: int, density: float) -> Callable[[], None]:
    mask = RANDOM.random((out, into)) < density
    row, column = (places.astype(np.int32) for places in mask.nonzero())
    order = np.argsort(column, kind="stable")
    starts, back = (
        np.concatenate([[0], np.bincount(places, minlength=size).cumsum()]).astype(np.int32)
        for places, size in ((row, out), (column, into))
    )
    weights, x, deltas = normal(len(row)), normal(into, LANES), normal(out, LANES)
    sums, gradient, below, back_rows = np.zeros_like(deltas), np.zeros_like(weights), np.zeros_like(x), row[order]

    def both() -> None:
        rows_forward(weights, starts, column, x, sums, ALONE)
        rows_gradient(gradient, row, column, x, deltas, ALONE)
        rows_forward(weights[order], back, back_rows, deltas, below, ALONE)

    return both


def wide(into: int, out: int, share: float) -> Callable[[], None]:
    x = normal(LANES, into) * (RANDOM.random((LANES, into)) < share)
    background, samples = np.zeros(into, np.float32), np.arange(LANES)
    starts = count_differences(x, background)
    none = np.zeros((0, into, LANES), np.float32)
    inputs = Inputs(x, True, background, starts, *find_differences(x, background, starts), none)
    blocks = -(-out // LANES)
    weights, base, deltas = normal(blocks, into, LANES), normal(blocks, LANES), normal(out, LANES)
    sums, gradient = np.zeros_like(deltas), np.zeros_like(weights)

    def both() -> None:
        wide_forward(weights, base, inputs, samples, sums, ALONE)
        wide_gradient(gradient, background, by_column(inputs, samples), deltas, ALONE)

    return both


def dense_first(into: int, out: int) -> Callable[[], None]:
    """A first layer, whose inputs need no gradient."""
    weights, x, deltas = normal(out, into), normal(into, LANES), normal(out, LANES)
    sums, gradient, turned = (np.zeros_like(each) for each in (deltas, weights, x.T.copy()))

    def both() -> None:
        dense_forward(weights.ravel(), x, sums, ALONE)
        dense_gradient(gradient.ravel(), turned, deltas, ALONE)

    return both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30, help="turns for each minimum (30)")
    add_busy(parser)
    options = parser.parse_args()
    machine = Machine(busy=options.busy)
    torch.set_num_threads(1)
    forms = []
    for into, out in SIZES:
        ways = {"dense": dense(into, max(out, 1))} if into >= 16 else {}
        ways |= {f"{density:g}": rows(into, out, density) for density in DENSITIES}
        found = shortest(ways, options.repeats)
        forms.append((f"{into} x {out}", found.pop("dense", float("nan")), found))
    inputs = shortest(
        {"dense": dense_first(784, 300)} | {f"{share:g}": wide(784, 300, share) for share in SHARES}, options.repeats
    )
    described = machine.describe()
    by_density = Table(title=f"Remaining weights beside a dense product, by density; {described}", box=box.SIMPLE)
    for column in ("in x out", "dense, us", *(f"{density:g}" for density in DENSITIES)):
        by_density.add_column(column, justify="right")
    for size, base, found in forms:
        by_density.add_row(size, f"{1e6 * base:.1f}", *(f"{each / base:.2f}" for each in found.values()))
    by_share = Table(title="Inputs that differ from a background, by their share", box=box.SIMPLE)
    base = inputs.pop("dense")
    for column in ("in x out", "dense, us", *inputs):
        by_share.add_column(column, justify="right")
    by_share.add_row("784 x 300", f"{1e6 * base:.1f}", *(f"{each / base:.2f}" for each in inputs.values()))
    console = Console()
    console.print(by_density)
    console.print(by_share)


if __name__ == "__main__":
    main()
