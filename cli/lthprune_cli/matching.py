"""The verb ``compare``: several runs at matched densities."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from lthprune_cli.comparing import in_points
from lthprune_cli.consoles import Console
from lthprune_cli.options import RunsArgument, TrustCode

if TYPE_CHECKING:
    from lthprune.analysis import Cost
    from lthprune.experiments import Estimate, MatchedLevel, MatchedRun, Overlap

_Start = tuple[str, str, str]  # a run, its level and its density
COMPARISONS = Path("comparisons")  # the default folder of figures of several runs


def compare(
    runs: RunsArgument,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder that the figure is written to.")
    ] = COMPARISONS,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Show the overlap of masks, between trials and with the first run.")
    ] = False,
    cost: Annotated[bool, typer.Option("--cost", help="Show parameters and multiply-adds beside accuracies.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Compare runs with the first one at matched densities, in tables and a figure."""
    from lthprune.experiments import Run, compare_runs, mask_overlaps, save_runs

    found = [Run(folder, trust_code=trust_code) for folder in runs]
    matched = compare_runs(found)
    within = [mask_overlaps(run) for run in found] if overlap else []
    between = [mask_overlaps(found[0], run) for run in found[1:]] if overlap else []
    costs = [[run.costs(trial) for trial in run.tickets.trials(0)] for run in found] if cost else []
    _print_runs(matched)
    _print_accuracies(matched)
    if cost:
        _print_costs(matched, costs)
    if overlap:
        _print_overlaps(matched, within, between)
    for path in save_runs(found, out):
        Console().print(str(path), soft_wrap=True)


def _print_runs(matched: "Sequence[MatchedRun]") -> None:
    console = Console()
    for number, each in enumerate(matched, 1):
        console.print(f"{number}: {each.run.folder}", soft_wrap=True)
        text = f"   {each.run.recipe_name}, {each.trials} trial{'' if each.trials == 1 else 's'}"
        if number > 1 and each.unlike:
            text += f"; differs from run 1 in {each.unlike}: unpaired"
        elif number > 1:
            text += "; paired with run 1 by trial"
        console.print(text)


def _print_accuracies(matched: "Sequence[MatchedRun]") -> None:
    table = _table("Test accuracy and early-stopping step at matched densities")
    for column in ("test acc %", "minus run 1, points ", "early stop"):
        table.add_column(column, justify="right", no_wrap=True)
    for _, number, level, start in _rows(table, matched):
        difference = "" if number == 1 else in_points(level.differences["test_acc"])
        step = level.estimates["early_stop"]
        table.add_row(*start, _percent(level.estimates["test_acc"]), difference, _with_half(step, 0))
    console = Console()
    console.print(table)
    paired = "Paired: 95 % bootstrap interval over the trials; *: it excludes zero, and so does a paired t-test at 5 %."
    unpaired = "Unpaired: Welch's 95 % interval; *: it excludes zero."
    parts = ["±: half the 95 % interval of the mean over the trials (Student's t)."]
    parts += [paired] if any(each.unlike is None for each in matched[1:]) else []
    parts += [unpaired] if any(each.unlike for each in matched[1:]) else []
    console.print(" ".join([*parts, "Each level is tested on its own."]))


def _print_costs(matched: "Sequence[MatchedRun]", costs: "Sequence[Sequence[Sequence[Cost]]]") -> None:
    """Print what the networks of each run cost, given the costs by run, trial and level."""
    table = _table("Test accuracy, parameters and multiply-adds")
    for column in ("test acc %", "parameters", "multiply-adds"):
        table.add_column(column, justify="right", no_wrap=True)
    for _, number, level, start in _rows(table, matched):
        trials = [trial[level.level] for trial in costs[number - 1] if level.level < len(trial)]
        means = (round(sum(values) / len(trials)) for values in zip(*trials, strict=True))
        table.add_row(*start, _percent(level.estimates["test_acc"]), *(f"{mean:,}" for mean in means))
    console = Console()
    console.print(table)
    console.print(
        "Means over the trials. Multiply-adds: for one sample, of the remaining weights of dense layers and "
        "convolutions at all positions.",
    )


def _print_overlaps(
    matched: "Sequence[MatchedRun]",
    within: "Sequence[Sequence[Overlap | None]]",
    between: "Sequence[Sequence[Overlap | None]]",
) -> None:
    """Print the overlap of masks between the trials of each run, and between each run and the first one."""
    table = _table("Overlap of masks in % (weights in both over weights in either)")
    for column in ("between its trials", "chance", "with run 1", "chance"):
        table.add_column(column, justify="right", no_wrap=True)
    for place, number, level, start in _rows(table, matched):
        own = _shared(within[number - 1][level.level])
        table.add_row(*start, *own, *(_shared(between[number - 2][place]) if number > 1 else ()))
    console = Console()
    console.print(table)
    console.print(
        "Mean (minimum-maximum) over pairs of trials; with run 1, of the same trials if seeds and data agree. Chance: "
        "expected of random masks with the same number of weights in each layer.",
    )


def _shared(overlap: "Overlap | None") -> tuple[str, str]:
    if overlap is None:
        return "", ""
    mean, low, high, chance = (f"{100 * value:.1f}" for value in overlap[:4])
    return (mean if overlap.pairs == 1 else f"{mean} ({low}-{high})"), chance


def _table(title: str) -> Table:
    """Return a table whose rows begin with a run, its level and its density."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("run", "level", "density"):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _rows(table: Table, matched: "Sequence[MatchedRun]") -> "Iterator[tuple[int, int, MatchedLevel, _Start]]":
    """Yield each level of the first run, and for every run its number, matched level and first cells of its row.

    A run without a level of about this density gets a row without values.
    """
    for place in range(len(matched[0].levels)):
        for number, each in enumerate(matched, 1):
            level = each.levels[place]
            if level is None:
                table.add_row(str(number))
            else:
                yield place, number, level, (str(number), str(level.level), f"{level.density:.2%}")
        table.add_section()


def _percent(estimate: "Estimate") -> str:
    return _with_half(type(estimate)(100 * estimate.mean, 100 * estimate.half), 2)


def _with_half(estimate: "Estimate", decimals: int) -> str:
    """Return a mean with half its interval; the mean alone for a single trial."""
    mean = f"{estimate.mean:,.{decimals}f}"
    return mean if estimate.half != estimate.half else f"{mean} ±{estimate.half:,.{decimals}f}"
