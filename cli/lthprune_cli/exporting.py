"""The verb ``export``: a ticket's network as files for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from lthprune_cli.consoles import Console
from lthprune_cli.options import RunArgument, TrustCode

if TYPE_CHECKING:
    from lthprune.compaction import Compacted, CompactionReport, Export, Size

_BATCHES = (1, 1000)  # batch sizes at which latency is measured


class Weights(StrEnum):
    """Which weights of a ticket."""

    TRAINED = "trained"
    REWOUND = "rewound"


def export(
    run: RunArgument,
    level: Annotated[
        int | None,
        typer.Option(metavar="N", help="The level of the ticket. Without it the last that the trial has finished."),
    ] = None,
    trial: Annotated[
        int | None, typer.Option(metavar="N", help="The trial of the ticket. Without it the first.")
    ] = None,
    weights: Annotated[
        Weights, typer.Option(help="The trained weights, or the rewound ones that training started from.")
    ] = Weights.TRAINED,
    compact: Annotated[
        bool, typer.Option("--compact", help="Remove the neurons that do not affect the outputs.")
    ] = False,
    drop_inputs: Annotated[
        bool, typer.Option("--drop-inputs", help="With --compact: remove inputs that no neuron reads, too.")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx, too.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The folder to write to. Without it exports/level-NN-trial-N in the run."),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Write the network of a ticket as safetensors with a description; optionally compacted, or as ONNX."""
    from lthprune.experiments import Run

    done = Run(run, trust_code=trust_code).export(
        level,
        trial=trial,
        weights=weights.value,
        compact=compact,
        drop_inputs=drop_inputs,
        onnx=onnx,
        out=out,
    )
    console = Console()
    if done.compacted is not None:
        console.print(_table(f"Level {done.ticket['level']}, trial {done.ticket['trial']}", done.compacted.report))
        _print_facts(done.compacted.report, console)
        _print_latency(done, done.compacted, console)
    for file in done.files:
        path = done.folder / file
        console.print(f"{path} ({path.stat().st_size:,} bytes)", soft_wrap=True)


def _table(title: str, report: "CompactionReport") -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0), show_footer=True)
    rows = [(layer.name, layer.before, layer.after) for layer in report.layers]
    totals = _cells(report.before, report.after)
    for column, total in zip(
        ("layer", "neurons", "now", "weights", "now", "FLOPs", "now"), ("all", *totals), strict=True
    ):
        table.add_column(column, total, justify="left" if column == "layer" else "right", no_wrap=column != "layer")
    for name, before, after in rows:
        table.add_row(name, *_cells(before, after))
    return table


def _cells(before: "Size", after: "Size") -> list[str]:
    pairs = [(before.neurons, after.neurons), (before.weights, after.weights), (before.flops, after.flops)]
    return [f"{number:,}" for pair in pairs for number in pair]


def _print_facts(report: "CompactionReport", console: Console) -> None:
    console.print(
        f"Of the stored weights, {report.after.left:,} are not zero. FLOPs are two per weight and position, for one "
        "sample.",
    )
    before, after = report.inputs
    if after < before:
        console.print(f"Inputs: {after:,} of {before:,} are read; architecture.json lists them.")
    if report.whole:
        console.print(f"Not changed, because the code of the model relies on their size: {', '.join(report.whole)}.")
    console.print(f"Largest difference between the outputs on random inputs: {report.difference:.1e}.")


def _print_latency(export: "Export", compacted: "Compacted", console: Console) -> None:
    """Print how much faster the smaller network is than the dense one with zeros."""
    import torch

    ratios = [compacted.speedup(export.dense, torch.randn(batch, *export.input_shape)) for batch in _BATCHES]
    shown = ", ".join(f"{ratio:.2f} at batch {batch:,}" for batch, ratio in zip(_BATCHES, ratios, strict=True))
    console.print(f"Latency before / after, without masks, threads {torch.get_num_threads()}: {shown}.")
