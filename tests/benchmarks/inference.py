"""Inference with a ticket of a multilayer perceptron: masked, dense, compacted and in compressed sparse rows.

    lthprune run lenet-mnist-tanh --trials 1 --set prune.levels=24 --set train.steps=2000
    python tests/benchmarks/inference.py runs/lenet-mnist-tanh-... --level 15

In one process, the networks take turns on random inputs. Prints the median time of each over the rounds, and that time
divided by the time of the fastest. ``masked`` is the network with torch's pruning hooks, ``dense`` the same without
hooks, with zeros for pruned weights; ``compacted`` leaves out unused neurons and inputs; ``csr`` is ``to_csr`` of that.
The outputs are compared first. No speed is asserted. On a machine that other programs use it prints no figures, unless
with ``--busy``.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune import Run, compact
from lthprune.compaction import measure_latency, to_csr
from lthprune.data.loading import shape_of_data
from lthprune.pruning.forms import without_pruning
from tests.benchmarks.machine import Machine, add_busy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--level", type=int, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--rounds", type=int, default=31, help="measurements for each median (31)")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    add_busy(parser)
    options = parser.parse_args()
    machine = Machine(busy=options.busy)
    run = Run(options.run)
    ticket = run.tickets.level(options.level)[0]
    shape, _ = shape_of_data(run.recipe().data)
    masked = ticket.apply(run.model(), "trained").eval()
    compacted = compact(masked, torch.zeros(1, *shape), drop_inputs=True)
    dense, sparse = without_pruning(masked), to_csr(compacted.model)
    report = {
        "density": ticket.density,
        "before": [*compacted.report.before, compacted.report.inputs[0]],
        "after": [*compacted.report.after, compacted.report.inputs[1]],
        "batches": {},
    }
    table = Table()
    for column in ("batch", "masked", "dense", "compacted", "csr", "difference"):
        table.add_column(column, justify="right")
    for batch in options.batches:
        inputs = torch.randn(batch, *shape)
        (kept,) = compacted.select(inputs)
        calls = {
            "masked": lambda: masked(inputs),  # noqa: B023
            "dense": lambda: dense(inputs),  # noqa: B023
            "compacted": lambda: compacted.model(kept),  # noqa: B023
            "csr": lambda: sparse(kept),  # noqa: B023
        }
        outputs = {name: call() for name, call in calls.items()}
        difference = max(float((each - outputs["dense"]).detach().abs().max()) for each in outputs.values())
        seconds = measure_latency(calls, rounds=options.rounds)
        fastest = min(seconds.values())
        cells = [f"{1e6 * each:,.0f} ({each / fastest:.1f}x)" for each in seconds.values()]
        table.add_row(f"{batch:,}", *cells, f"{difference:.0e}")
        report["batches"][batch] = seconds | {"difference": difference}
    report["machine"] = machine.describe()
    table.title = f"{ticket.density:.2%} of the weights, {report['machine']}, microseconds"
    Console().print(table)
    Console().print(f"neurons, weights, not zero, FLOPs, inputs: {report['before']} before, {report['after']} after")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
