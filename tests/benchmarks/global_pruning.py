"""Global magnitude pruning in one call: ``lthprune.prune`` beside ``torch.nn.utils.prune.global_unstructured``.

    python tests/benchmarks/global_pruning.py
    python tests/benchmarks/global_pruning.py --weights 10_000_000 --repeats 5 --json global_pruning.json

Prunes 20 % of a model of ten large ``nn.Linear`` layers, for the first time and once more, and prints medians over
the repeats. Every measurement runs in a new process, and the two libraries take turns. Seconds are those of the
pruning call. Extra memory is the peak resident memory during the call minus the resident memory before it, so it
includes the masks and masked weights that pruning creates. First, both libraries prune the same weights in one process,
and the script fails unless they keep equally many and their masks differ in ties only. No speed is asserted.

100 million weights take about 6 GB of memory and a few minutes. On a machine that other programs use it prints no
figures, unless with ``--busy``: they slow the threads of lthprune more than torch's pruning, which hardly uses threads.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.utils import prune as torch_prune

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune.pruning.pruner import prune
from tests.benchmarks.machine import Machine, add_busy

AMOUNT = 0.2
LAYERS = 10
ROUNDS = {"first": 1, "second": 2}


def prune_with_lthprune(model: nn.Sequential) -> None:
    prune(model, AMOUNT, scope="global")


def prune_with_torch(model: nn.Sequential) -> None:
    torch_prune.global_unstructured([(layer, "weight") for layer in model], torch_prune.L1Unstructured, amount=AMOUNT)


LIBRARIES = {"lthprune": prune_with_lthprune, "torch": prune_with_torch}


def build_model(weights: int) -> nn.Sequential:
    torch.manual_seed(0)
    rows = 1000
    model = nn.Sequential(*(nn.Linear(weights // LAYERS // rows, rows, bias=False) for _ in range(LAYERS)))
    for layer in model:
        nn.init.normal_(layer.weight)
    return model


def measure(library: str, rounds: int, weights: int) -> dict[str, float]:
    """Return the seconds and the extra GB of the last of several pruning rounds."""
    model = build_model(weights)
    for _ in range(rounds - 1):
        LIBRARIES[library](model)
    before = reset_peak()
    start = time.perf_counter()
    LIBRARIES[library](model)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "extra_gb": (peak() - before) / 1e9}


def check_agreement(weights: int) -> list[int]:
    """Prune with both libraries and return how many weights each round leaves; exit if they disagree."""
    ours, theirs = build_model(weights), build_model(weights)
    left = []
    for which in ROUNDS:
        prune_with_lthprune(ours)
        prune_with_torch(theirs)
        counts = [sum(int(layer.weight_mask.count_nonzero()) for layer in model) for model in (ours, theirs)]
        contested = torch.cat(
            [
                own.weight_orig.detach()[own.weight_mask.bool() != other.weight_mask.bool()].abs()
                for own, other in zip(ours, theirs, strict=True)
            ]
        )
        if counts[0] != counts[1] or len(contested.unique()) > 1:
            sys.exit(f"{which} round: {counts} weights left, and {len(contested):,} masked differently, not all tied")
        left.append(counts[0])
    return left


def reset_peak() -> int:
    """Return the resident bytes and, where the system can (Linux), start to measure their peak afresh.

    Elsewhere the peak of a second round includes that of the first.
    """
    if not Path("/proc/self/clear_refs").exists():
        return peak()
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Return the peak of the resident bytes since the last reset."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def run(weights: int, repeats: int, machine: Machine) -> dict[str, Any]:
    """Measure everything and return it as plain data: medians, and ratios of medians."""
    report: dict[str, Any] = {
        "weights": weights,
        "repeats": repeats,
        "left": in_fresh_process(check_agreement, weights),
        "rounds": {},
    }
    for which, rounds in ROUNDS.items():
        runs: dict[str, list[dict[str, float]]] = {library: [] for library in LIBRARIES}
        for _ in range(repeats):
            for library, measured in runs.items():
                measured.append(in_fresh_process(measure, library, rounds, weights))
        medians = {
            library: {unit: statistics.median(one[unit] for one in measured) for unit in ("seconds", "extra_gb")}
            for library, measured in runs.items()
        }
        ratios = {unit: medians["torch"][unit] / medians["lthprune"][unit] for unit in ("seconds", "extra_gb")}
        report["rounds"][which] = {**medians, "torch / lthprune": ratios}
    report["machine"] = machine.describe()
    return report


def table(report: dict[str, Any]) -> Table:
    shown = Table(
        "round",
        "library",
        title=f"{AMOUNT:.0%} of {report['weights']:,} weights, {report['machine']}, medians of {report['repeats']}",
        caption="masks agree except for ties; left: " + ", then ".join(f"{left:,}" for left in report["left"]),
    )
    shown.add_column("seconds", justify="right")
    shown.add_column("extra GB", justify="right")
    for which, rows in report["rounds"].items():
        for name, row in rows.items():
            shown.add_row(which, name, f"{row['seconds']:.2f}", f"{row['extra_gb']:.2f}")
        shown.add_section()
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=int, default=100_000_000, help="a multiple of 10,000 (100,000,000)")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each median (3)")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    add_busy(parser)
    options = parser.parse_args()
    if options.weights < 10_000 or options.weights % 10_000 or options.repeats < 1:
        parser.error("--weights must be a positive multiple of 10,000 and --repeats at least 1")
    report = run(options.weights, options.repeats, Machine(busy=options.busy))
    Console().print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
