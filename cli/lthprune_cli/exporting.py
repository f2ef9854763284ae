"""The verb that hands tickets over: ``export``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from lthprune_cli.options import RunArgument, TrustCode

if TYPE_CHECKING:
    from lthprune.compaction import Compacted, CompactionReport, Export, Size

_BATCHES = (1, 1000)  # of which latency is measured


class Weights(StrEnum):
    """Which weights of a ticket."""

    TRAINED = "trained"
    REWOUND = "rewound"


def export(
    run: RunArgument,
    level: Annotated[int | None, typer.Option(help="The ticket's level; the last one if nothing is said.")] = None,
    trial: Annotated[int, typer.Option(help="The ticket's trial.")] = 0,
    weights: Annotated[Weights, typer.Option(help="After training, or as training starts.")] = Weights.TRAINED,
    compact: Annotated[bool, typer.Option("--compact", help="Take out the neurons that do not matter.")] = False,
    drop_inputs: Annotated[
        bool, typer.Option("--drop-inputs", help="With --compact: and the inputs that nobody listens to.")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to; else exports/level-NN-trial-N in the run.")
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Write a ticket's network as safetensors with a description, smaller or as ONNX on request."""
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
        console.print(_table(f"Level {done.ticket['level']}, trial {trial}", done.compacted.report))
        _print_facts(done.compacted.report, console)
        _print_latency(done, done.compacted, console)
    for file in done.files:
        path = done.folder / file
        console.print(f"{path} ({path.stat().st_size:,} bytes)", highlight=False, soft_wrap=True)


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
        f"Of the weights now stored, {report.after.left:,} are not zero. FLOPs are two per weight and position, of "
        "one sample.",
        highlight=False,
    )
    before, after = report.inputs
    if after < before:
        console.print(f"Inputs: {after:,} of {before:,} are read; architecture.json says which.", highlight=False)
    if report.whole:
        console.print(f"Left as they were, for the network counts on their size: {', '.join(report.whole)}.")
    console.print(f"Largest difference between the outputs on random inputs: {report.difference:.1e}.", highlight=False)


def _print_latency(export: "Export", compacted: "Compacted", console: Console) -> None:
    """Print how much longer the dense network with its zeros takes than the smaller one."""
    import torch

    ratios = [compacted.speedup(export.dense, torch.randn(batch, *export.input_shape)) for batch in _BATCHES]
    shown = ", ".join(f"{ratio:.2f} at batch {batch:,}" for batch, ratio in zip(_BATCHES, ratios, strict=True))
    console.print(
        f"Latency before / after, without masks, threads {torch.get_num_threads()}: {shown}.", highlight=False
    )
