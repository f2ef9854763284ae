"""Searches of large models: peak memory, and the time of a level's bookkeeping beside writing the model to disk once.

    python tests/benchmarks/large_models.py
    python tests/benchmarks/large_models.py --weights 100_000_000 --levels 3 --masks 1_000_000_000 --json large.json

Runs ``imp`` and ``osp`` with a training that only multiplies every weight by a constant, on a model of ten
``nn.Linear`` layers or of one, with a store and without. Every case runs in a new process. Peak memory is the peak
resident memory of the search minus the resident memory before it, when only the model is there, as multiples of the
model's size. Bookkeeping is the median time from the end
of one training to the start of the next: verifying, hashing and writing the ticket, choosing masks and rewinding.
Writing the model is the median time of safetensors' ``save_file`` to a new file, flushed to the disk, in turns with
the searches. ``--masks`` also measures one global pruning of so many weights, on tensors, without a model. No figure is
asserted.

A billion weights take about 8 GB of memory. Run it on an idle machine.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune.pruning.pruner import Pruning, choose_masks
from lthprune.pruning.schedules import Pool
from lthprune.search.drivers import imp, osp
from tests.benchmarks.global_pruning import in_fresh_process, peak, reset_peak
from tests.benchmarks.machine import describe_machine

SEARCHES: dict[str, dict[str, Any]] = {
    "imp": {"driver": imp},
    "imp, one layer": {"driver": imp, "layers": 1},
    "imp, rewind lr": {"driver": imp, "rewind": "lr"},
    "osp": {"driver": osp},
}


def build_model(weights: int, layers: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(weights // layers // 1000, 1000, bias=False) for _ in range(layers)))


def write_model(weights: int, folder: Path) -> float:
    """Return the seconds that writing a model's weights to a new file takes, until they are on the disk."""
    state = build_model(weights, 10).state_dict()
    start = time.perf_counter()
    save_file(state, folder / "model.safetensors")
    for path in (folder / "model.safetensors", folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    seconds = time.perf_counter() - start
    (folder / "model.safetensors").unlink()
    return seconds


def search(name: str, weights: int, levels: int, store: Path | None) -> dict[str, Any]:
    """Return the peak memory of a search in models, its seconds, and those between its trainings."""
    words = {"layers": 10} | SEARCHES[name]
    driver, model = words.pop("driver"), build_model(weights, words.pop("layers"))
    begun: list[float] = []
    ended: list[float] = []

    def train(model: nn.Module) -> None:
        begun.append(time.perf_counter())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.01)
        ended.append(time.perf_counter())

    before, start = reset_peak(), time.perf_counter()
    driver(model, train, levels=levels, form="plain", store=store, progress=False, **words)
    return {
        "models": (peak() - before) / (4 * weights),
        "seconds": time.perf_counter() - start,
        "level": statistics.median(b - e for e, b in zip(ended[:-1], begun[1:], strict=True)),
    }


def choose(weights: int) -> dict[str, float]:
    """Return the seconds that one global pruning of so many weights takes, and its extra memory in models."""
    names = [f"{layer}.weight" for layer in range(10)]
    final = {name: torch.randn(weights // 10) for name in names}
    masks = {name: torch.ones(weights // 10, dtype=torch.bool) for name in names}
    pool = Pool(tuple(names), ("dense",) * 10, left=weights, total=weights)
    before, start = reset_peak(), time.perf_counter()
    choose_masks(Pruning(), [pool], [int(0.8 * weights)], masks=masks, final=final)
    return {"seconds": time.perf_counter() - start, "models": (peak() - before) / (4 * weights)}


def run(weights: int, levels: int, masks: int, repeats: int) -> dict[str, Any]:
    """Measure everything and return it as plain data: medians."""
    report: dict[str, Any] = {"weights": weights, "levels": levels, "machine": describe_machine(), "searches": {}}
    writing = []
    for name in SEARCHES:
        for stored in (False, True):
            runs = []
            for _ in range(repeats):
                with tempfile.TemporaryDirectory() as folder:
                    writing.append(in_fresh_process(write_model, weights, Path(folder)))
                    place = Path(folder) / "store" if stored else None
                    runs.append(in_fresh_process(search, name, weights, levels, place))
            row = {unit: statistics.median(one[unit] for one in runs) for unit in ("models", "seconds", "level")}
            report["searches"][f"{name}, {'store' if stored else 'no store'}"] = row
    report["writing"] = statistics.median(writing)
    if masks:
        report["masks"] = {"weights": masks} | in_fresh_process(partial(choose, masks))
    return report


def table(report: dict[str, Any]) -> Table:
    shown = Table("search", title=f"{report['weights']:,} weights, {report['levels']} levels, {report['machine']}")
    for column in ("peak memory in models", "seconds", "bookkeeping of a level, s", "in times of writing the model"):
        shown.add_column(column, justify="right")
    for name, row in report["searches"].items():
        times = f"{row['level'] / report['writing']:.2f}"
        shown.add_row(name, f"{row['models']:.2f}", f"{row['seconds']:.2f}", f"{row['level']:.3f}", times)
    shown.add_section()
    shown.add_row("writing the model", "", "", f"{report['writing']:.3f}", "1.00")
    if "masks" in report:
        row = report["masks"]
        shown.add_row(f"masks of {row['weights']:,} weights", f"{row['models']:.2f}", f"{row['seconds']:.2f}", "", "")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=int, default=25_000_000, help="a multiple of 10,000 (25,000,000)")
    parser.add_argument("--levels", type=int, default=10, help="levels after the dense one (10)")
    parser.add_argument("--masks", type=int, default=0, help="weights of one more pruning, without a model (none)")
    parser.add_argument("--repeats", type=int, default=1, help="processes for each median (1)")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    options = parser.parse_args()
    if min(options.weights, options.levels, options.repeats) < 1 or options.weights % 10_000 or options.masks % 10:
        parser.error("give positive numbers, and --weights as a multiple of 10,000")
    report = run(options.weights, options.levels, options.masks, options.repeats)
    Console().print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
