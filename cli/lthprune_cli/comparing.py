"""How a run compares with its dense network and with its controls, in words and tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from lthprune_cli.consoles import Console

if TYPE_CHECKING:
    from lthprune.experiments import Comparison, Difference, LevelSummary, Run

_MOST = 2  # comparisons side by side: more would not fit 80 columns


def print_winners(run: "Run", levels: "Sequence[LevelSummary]") -> None:
    """Name the smallest winning ticket, by both conditions and by accuracy alone, and warn if training was short."""
    from lthprune.experiments import against_dense, level_ranges, smallest_winning

    console = Console()
    winner, accurate = smallest_winning(levels), smallest_winning(levels, "accuracy")
    if accurate is None:
        console.print("No pruned level reaches the dense network's mean validation accuracy.")
        return
    gaps = against_dense(run.histories()).differences
    for mark, ticket, words in (
        ("*", winner, "smallest winning ticket"),
        ("+", accurate if accurate is not winner else None, "smallest that is as accurate, but stops later"),
    ):
        if ticket is not None:
            accuracy, step = (gaps[measure][ticket.level] for measure in ("val_acc", "early_stop"))
            console.print(
                f"{mark} {words}: level {ticket.level}, {ticket.density:.2%} of the weights; validation accuracy "
                f"{100 * accuracy.mean:+.2f} points{_interval(100 * accuracy.low, 100 * accuracy.high, 2)}, "
                f"early-stopping step {step.mean:+,.0f}{_interval(step.low, step.high, 0)} against the dense network.",
            )
    if winner is None:
        console.print("No pruned level is both as accurate as the dense network and no later at early stopping.")
    if run.settings["run"]["trials"] > 1:
        console.print("In brackets: 95 % bootstrap intervals over the trials.")
    cut_off = [level.level for level in levels if level.cut_off]
    if cut_off:
        console.print(
            f"At {level_ranges(cut_off)} the validation loss of some trials is lowest at the last step, so early "
            "stopping is cut off there: raise train.steps before comparing steps.",
        )


def print_comparisons(comparisons: "Sequence[Comparison]") -> None:
    """Print by how much the tickets are more accurate than each control, level by level, and say it in sentences."""
    console = Console()
    console.print("Test accuracy of tickets minus control, in points:")
    for at in range(0, len(comparisons), _MOST):
        some = comparisons[at : at + _MOST]
        table = Table(box=box.SIMPLE, padding=0)
        for column in ("level", "density", *(_title(each) for each in some)):
            table.add_column(column, justify="right", vertical="bottom", no_wrap=True)
        for level in range(max(len(each.levels) for each in some)):
            longest = max(some, key=lambda each: len(each.levels))
            cells = [_cell(each, level) for each in some]
            table.add_row(f"{level}  ", f"{longest.density[level]:.2%}", *cells)
        console.print(table)
    console.print(
        "In brackets: 95 % bootstrap intervals over the trials. *: the interval excludes zero, and so does a paired "
        "t-test at 5 %. Each level is tested on its own.",
    )
    for each in comparisons:
        console.print(each.sentence())


def _title(comparison: "Comparison") -> str:
    return f"{comparison.name}\n{comparison.repeats} per trial" if comparison.repeats > 1 else comparison.name


def _cell(comparison: "Comparison", level: int) -> str:
    if level not in comparison.levels:
        return ""
    return in_points(comparison.differences["test_acc"][level])


def in_points(gap: "Difference") -> str:
    """Return a difference of accuracies with its interval, and a star if the interval and the test agree."""
    if gap.low == gap.high == 0:
        return "the same "
    mark = "*" if gap.positive or gap.negative else " "
    return f"{100 * gap.mean:+.2f}{_interval(100 * gap.low, 100 * gap.high, 2)}{mark}"


def _interval(low: float, high: float, decimals: int) -> str:
    """Return an interval in brackets; nothing for a single trial."""
    return "" if low != low else f" ({low:+,.{decimals}f} to {high:+,.{decimals}f})"
