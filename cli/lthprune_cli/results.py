"""Verbs about the results of runs: ``summary`` and ``plot``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from lthprune_cli.comparing import print_comparisons, print_winners
from lthprune_cli.consoles import Console
from lthprune_cli.failures import describe_failures
from lthprune_cli.options import RunsOrSweepsArgument, TrustCode

if TYPE_CHECKING:
    from lthprune.experiments import LevelSummary, Run, Spread

_MOST_TASKS = 3  # that have a column each: more would not fit 80 columns


def summary(runs: RunsOrSweepsArgument, trust_code: TrustCode = False) -> None:
    """Show the accuracies of a run, level by level, and its smallest winning ticket; of a sweep, cell by cell."""
    from lthprune.experiments import Run, Sweep
    from lthprune_cli.sweeping import print_sweep

    for folder in runs:
        if Sweep(folder).exists:
            print_sweep(Sweep(folder, trust_code=trust_code))
        else:
            print_summary(Run(folder))


def plot(
    runs: RunsOrSweepsArgument,
    level: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="The level of figures of one level. Without it the last finished one."),
    ] = None,
    trial: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="The trial of figures of one trial. Without it the first.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder to write to, in a folder named as the run. Without it, figures in the run's directory.",
        ),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Draw the figures of runs as PNG, SVG and PDF: accuracies of all trials, structure and weights of one of them.

    Of a sweep, draw the accuracies of its cells, and for data of several tasks how many networks separate.
    """
    from lthprune.errors import LthpruneError
    from lthprune.experiments import Run, Sweep, save_sweep_figures

    found = [
        Sweep(folder, trust_code=trust_code) if Sweep(folder).exists else Run(folder, trust_code=trust_code)
        for folder in runs
    ]
    for each in found:
        if isinstance(each, Run):
            each.recipe()  # so that nothing is drawn if one of them is no run
        elif level is not None or trial is not None:
            raise LthpruneError(
                f"{each.folder} is a sweep, and its figures show all trials and levels of its cells. Leave out --level "
                "and --trial, or name the run of a cell: a folder in it."
            )
    for each in found:
        folder = None if out is None else out / each.name
        if isinstance(each, Run):
            paths = each.save_figures(trial=trial, level=level, out=folder)
        else:
            paths = save_sweep_figures(each, out=folder)
        for path in paths:
            Console().print(str(path), soft_wrap=True)


def print_summary(run: "Run") -> None:
    """Print a run's levels as a table and name its smallest winning ticket."""
    from lthprune.experiments import name_trials, smallest_winning

    settings, levels, console = run.settings, run.summary(), Console()
    if not levels:
        console.print(f"No level of {run.folder} is finished{'' if run.complete else ' yet'}.", soft_wrap=True)
        for sentence in describe_failures(run.tickets.failures):
            console.print(sentence)
        _print_state(run, 0, settings["prune"]["levels"] + 1)
        return
    winners = (smallest_winning(levels, "accuracy"), "+"), (smallest_winning(levels), "*")
    marks = {level.level: mark for level, mark in winners if level is not None}
    table = Table(title=run.name, title_justify="left", box=box.SIMPLE, padding=0)
    tasks = _task_columns(levels[0])
    trials = len(run.trials)
    some_lack = bool(run.diverged)
    for column in ("level", "density", "weights", "val acc %", "test acc %", *tasks, "early\nstop"):
        table.add_column(column, justify="right", vertical="bottom", no_wrap=True)
    if some_lack:
        table.add_column("trials", justify="right", vertical="bottom", no_wrap=True)
    ranges = trials > 1 and not tasks  # for which a table of several tasks has no room
    for level in levels:
        table.add_row(
            f"{level.level} {marks.get(level.level, ' ')}",
            f"{level.density:.2%}",
            f"{level.left:,}",
            *(_accuracy(each, ranges) for each in (level.val_acc, level.test_acc, *_task_accuracies(level))),
            f"{level.early_stop.mean:,.0f}",
            *([f"{level.trials} of {trials}"] if some_lack else []),
            style="bold green" if marks.get(level.level) == "*" else None,
        )
    console.print(table)
    what = f"Mean{' (minimum-maximum)' if ranges else ''} over the trials at" if trials > 1 else "At"
    console.print(f"{what} early stopping: the step of lowest validation loss.")
    for sentence in describe_failures(run.tickets.failures):
        console.print(sentence)
    if some_lack:
        console.print("Diverged trials have no values from that level on; means are over the others.")
    if tasks:
        console.print("Accuracies are means over the tasks; those of a task alone are on test data.")
    print_winners(run, levels)
    if run.piece:
        console.print(f"This is a piece of a run: {name_trials(run.trials)} of {settings['run']['trials']}.")
    _print_state(run, len(levels), settings["prune"]["levels"] + 1)
    if comparisons := run.comparisons():
        console.print()
        print_comparisons(comparisons)


def _print_state(run: "Run", finished: int, levels: int) -> None:
    """Print how many levels are finished, and how to resume an unfinished run."""
    console = Console()
    if finished == levels:
        console.print(f"All {levels} levels are finished, the dense one included.")
    elif run.complete:
        console.print(
            f"The run ended after {finished} of {levels} levels, the dense one included: {run.tickets.ended}.",
        )
    else:
        console.print(f"{finished} of {levels} levels are finished, the dense one included; resume with:")
        console.print(f"  {run.resume_command}", soft_wrap=True)


def _accuracy(spread: "Spread", with_range: bool) -> str:
    """Return the mean and the range in percent; rounded alike, the one never lies outside the other."""
    mean, low, high = (f"{100 * value:.2f}" for value in spread)
    return f"{mean} ({low}-{high})" if with_range else mean


def _task_columns(level: "LevelSummary") -> list[str]:
    """Return the titles of the columns that tell the tasks apart; three at most, else one for the lowest."""
    if len(level.task_test_acc) > _MOST_TASKS:
        return ["lowest\ntask %"]
    return [name.replace("-", "-\n") + " %" for name in level.task_test_acc]


def _task_accuracies(level: "LevelSummary") -> "list[Spread]":
    accuracies = list(level.task_test_acc.values())
    return [min(accuracies)] if len(accuracies) > _MOST_TASKS else accuracies
