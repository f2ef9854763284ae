"""The verb that runs a grid of recipes: ``sweep``; and the table of its cells."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from lthprune_cli.clusters import Address, OnCluster, check_cluster, connected, words_again
from lthprune_cli.consoles import Console
from lthprune_cli.failures import count_failures
from lthprune_cli.options import SWEEPS, DataDir, Device, RecipeArgument, Settings, Threads, make_importable

if TYPE_CHECKING:
    from lthprune.experiments import Cell, CellSummary, Spread, Sweep, Watcher

_OUTCOME_WIDTH = 62  # columns that a row takes beside its axes


def sweep(
    recipe: RecipeArgument,
    over: Annotated[
        list[str],
        typer.Option(
            metavar="TABLE.KEY=VALUES",
            help="An axis of the grid, as in model.hidden=[8,10] or run.seed=0..3. The values of run.seed become the "
            "trials of every cell. Repeatable.",
        ),
    ],
    settings: Settings = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder for the sweep's folder.")] = SWEEPS,
    device: Device = "cpu",
    threads: Threads = None,
    engine: OnCluster = None,
    address: Address = None,
) -> None:
    """Run a recipe over a grid of settings, cell by cell. Each cell has a run directory in the sweep's folder."""
    from lthprune.experiments import begin_sweep, parse_axes

    on_cluster = check_cluster(engine, address)
    make_importable(recipe)
    try:
        begun = begin_sweep(
            recipe, parse_axes(over), settings or [], data_dir=data_dir, out=out, device=device, threads=threads
        )
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped before anything was written.")
        raise typer.Exit(130) from None
    run_watched(begun, on_cluster, address)


def run_watched(
    sweep: "Sweep",
    on_cluster: bool = False,
    address: str | None = None,
    *,
    data_dir: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Run the unfinished cells of a sweep with progress shown, here or on a cluster, then print its table."""
    from lthprune.experiments import run_sweep, run_sweep_on
    from lthprune_cli.progress import JobsProgress, RunProgress

    console = Console()
    console.print(f"Sweep: {sweep.folder}", soft_wrap=True)
    numbers = {cell.run.folder: number for number, cell in enumerate(sweep.cells(), start=1)}
    words: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}

    @contextmanager
    def watch(cell: "Cell") -> "Iterator[Watcher]":
        console.print(f"\nCell {numbers[cell.run.folder]} of {len(numbers)}: {cell}")
        with RunProgress(cell.recipe, cell.run.tickets.finished) as progress:
            yield progress.watcher()

    try:
        if on_cluster:
            with connected(address) as cluster, JobsProgress() as jobs:
                run_sweep_on(
                    cluster,
                    sweep,
                    watch=lambda cell: jobs.watcher(f"Cell {numbers[cell.run.folder]}", cell.run.recipe()),
                    **words,
                )
        else:
            run_sweep(sweep, watch=watch, **words)
    except KeyboardInterrupt:
        errors = Console(stderr=True)
        errors.print("Stopped. Finished levels are saved; resume with:")
        errors.print(f"  {sweep.resume_command}{words_again(address) if on_cluster else ''}", soft_wrap=True)
        raise typer.Exit(130) from None
    print_sweep(sweep)


def print_sweep(sweep: "Sweep") -> None:
    """Print a row for every cell of a sweep: its settings, remaining weights and accuracies."""
    from lthprune.experiments import summarise_sweep

    rows, console = summarise_sweep(sweep), Console()
    table = Table(title=sweep.name, title_justify="left", box=box.SIMPLE, padding=0)
    axes = _axes(rows, console.width - _OUTCOME_WIDTH)
    for header in axes or {"cell": []}:
        table.add_column(header, justify="right", no_wrap=True)
    for column in ("weights", "levels", "left", "dense\ntest acc %", "at\nlevel", "ticket\ntest acc %", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for at, row in enumerate(rows):
        table.add_row(*[values[at] for values in axes.values()] or [str(at + 1)], *_outcome(row))
    console.print(table)
    if not axes:
        for at, row in enumerate(rows):
            console.print(f"Cell {at + 1}: {row.cell}")
    console.print(
        "Accuracies are means and ranges over the trials at early stopping. * marks the smallest winning ticket, "
        "chosen on validation accuracy. A cell without one shows its last level."
    )
    for at, row in enumerate(rows):
        if row.failures:
            failed = count_failures(row.failures)
            console.print(f"Cell {at + 1}, {row.cell}: of {row.cell.recipe.run.trials} trials {failed}.")
    if any(failure.kind == "diverged" for row in rows for failure in row.failures):
        console.print("Diverged trials have no values from that level on; means are over the others.")
    if any(row.outcomes for row in rows):
        _print_splitting(rows, axes)
    finished = sum(row.cell.finished for row in rows)
    if finished == len(rows):
        console.print("All cells are finished.")
    else:
        console.print(f"{finished} of {len(rows)} cells are finished; resume with:")
        console.print(f"  {sweep.resume_command}", soft_wrap=True)


def _print_splitting(rows: "Sequence[CellSummary]", axes: dict[str, list[str]]) -> None:
    """Print how many networks of every cell separated, and at how many weights."""
    console = Console()
    table = Table(title="Networks by outcome", title_justify="left", box=box.SIMPLE, padding=0)
    for header in axes or {"cell": []}:
        table.add_column(header, justify="right", no_wrap=True)
    for column in ("inter-\nconnected", "sepa-\nrated", "separated,\ndegraded", "\ndegraded"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("separated at\nweights", "active\nweights", "lowest task\ntest acc %"):
        table.add_column(column, justify="right", no_wrap=True)
    for at, row in enumerate(rows):
        lowest = [100 * min(level.test_acc.values()) for level in row.separated]
        table.add_row(
            *[values[at] for values in axes.values()] or [str(at + 1)],
            *(str(number) for number in row.outcomes.values() or [""] * 4),
            _range([level.left for level in row.separated]),
            _range([level.active for level in row.separated]),
            f"{min(lowest):.2f}-{max(lowest):.2f}" if lowest else "",
        )
    console.print(table)
    console.print(
        "Separated, degraded: networks that separated before they degraded. The last three columns are ranges over "
        "the trials that separated, at the first level at which they did: remaining weights; those of them on a path "
        "from an input to an output; the accuracy of the task with the lowest.",
    )


def _range(numbers: "Sequence[int]") -> str:
    return f"{min(numbers):,}-{max(numbers):,}" if numbers else ""


def _axes(rows: "Sequence[CellSummary]", width: int) -> dict[str, list[str]]:
    """Return a column of values for every axis, or none if they do not fit: cells are then numbered."""
    columns = {key.replace(".", ".\n"): [str(row.cell.values[key]) for row in rows] for key in rows[0].cell.values}
    widths = [max(len(part) for text in (key, *texts) for part in text.split("\n")) for key, texts in columns.items()]
    return columns if sum(widths) + len(widths) <= width else {}


def _outcome(row: "CellSummary") -> list[str]:
    levels = row.cell.recipe.prune.levels
    if not row.levels:
        return ["", "0" if levels is None else f"0 of {levels + 1}", "", "", "", "", ""]
    assert levels is not None  # a run that has begun knows its levels
    dense, last, ticket = row.levels[0], row.levels[-1], row.winner or row.levels[-1]
    return [
        f"{dense.left:,}",
        str(levels) if len(row.levels) == levels + 1 else f"{len(row.levels)} of {levels + 1}",
        f"{last.left:,}\n{last.density:.2%}",
        _accuracy(dense.test_acc, row.cell.recipe.run.trials),
        f"{ticket.level}{' *' if row.winner else '  '}",
        _accuracy(ticket.test_acc, row.cell.recipe.run.trials),
        "" if row.seconds is None else f"{row.seconds:,.0f} s",
    ]


def _accuracy(spread: "Spread", trials: int) -> str:
    """Return the mean in percent, and the range below it."""
    mean, low, high = (f"{100 * value:.2f}" for value in spread)
    return f"{mean}\n{low}-{high}" if trials > 1 else mean
