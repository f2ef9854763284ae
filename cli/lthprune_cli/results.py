"""Verbs about results: ``runs``, ``summary`` and ``plot``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from lthprune.runs import Run
    from lthprune.summary import Spread

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def runs(
    folder: Annotated[Path, typer.Option("--out", help="The folder that run directories are in.")] = Path("runs"),
) -> None:
    """List the runs, and how far each got."""
    from lthprune.runs import find_runs

    found = find_runs(folder)
    console = Console()
    if not found:
        console.print(f"There are no runs in {folder}.", highlight=False)
        return
    table = Table(title=f"Runs in {folder}", title_justify="left")
    for column in ("run", "method", "trials", "levels", "state"):
        table.add_column(column, overflow="fold")
    for run in found:
        table.add_row(run.name, *_progress_of(run))
    console.print(table)


def summary(run: RunArgument) -> None:
    """Show what came of a run, level by level, and its smallest winning ticket."""
    from lthprune.runs import Run

    print_summary(Run(run))


def plot(run: RunArgument) -> None:
    """Draw a run: accuracy over steps, accuracy and step of early stopping over density; PNG and SVG."""
    from lthprune.plots import save_figures
    from lthprune.runs import Run

    for path in save_figures(Run(run)):
        Console().print(str(path), highlight=False, soft_wrap=True)


def print_summary(run: "Run") -> None:
    """Print a run's levels as a table and name its smallest winning ticket."""
    from lthprune.summary import smallest_winning, summarise

    levels, console = summarise(run), Console()
    if not levels:
        console.print(f"No level of {run.folder} is finished yet.", highlight=False, soft_wrap=True)
        return
    winner = smallest_winning(levels)
    table = Table(title=run.name, title_justify="left", box=box.SIMPLE, padding=(0, 0, 0, 1))
    for column in ("level", "density", "weights", "val acc %", "test acc %", "early stop"):
        table.add_column(column, justify="right", no_wrap=True)
    for level in levels:
        table.add_row(
            f"{level.level}{' *' if level is winner else '  '}",
            f"{level.density:.2%}",
            f"{level.left:,}",
            _accuracy(level.val_acc),
            _accuracy(level.test_acc),
            f"{level.early_stop.mean:,.0f}",
            style="bold green" if level is winner else None,
        )
    console.print(table)
    console.print("Mean (minimum-maximum) over the trials at early stopping: the step of lowest validation loss.")
    if winner is None:
        console.print("No pruned level reaches the dense network's mean validation accuracy.")
    else:
        console.print(
            f"* smallest winning ticket: level {winner.level}, {winner.density:.2%} of the weights, "
            "chosen on validation accuracy.",
            highlight=False,
        )


def _accuracy(spread: "Spread") -> str:
    return f"{100 * spread.mean:.2f} ({100 * spread.low:.1f}-{100 * spread.high:.1f})"


def _progress_of(run: "Run") -> tuple[str, str, str, str]:
    from lthprune.errors import LthpruneError

    try:
        settings = run.settings
        finished, levels = run.tickets.finished, settings["prune"]["levels"] + 1
        state = "finished" if finished == levels else "resumable"
        return settings["prune"]["method"], str(settings["run"]["trials"]), f"{finished} of {levels}", state
    except (LthpruneError, KeyError) as error:
        return "", "", "", f"damaged: {error}"
