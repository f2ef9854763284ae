"""The verb ``stability``: from which step on copies of a run's networks end in one basin."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from lthprune_cli.consoles import Console
from lthprune_cli.options import DataDir, RunArgument, RunDevice, Threads, TrustCode
from lthprune_cli.spreads import mean_and_range

if TYPE_CHECKING:
    from lthprune.analysis import Pair, Stability


def stability(
    run: RunArgument,
    at: Annotated[
        str, typer.Option(metavar="K,K,...", help="The steps at which copies are made, as in 0,100,500,1000.")
    ],
    level: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N", help="A level whose masks the copies have. Repeatable. Without it 0 and the last finished one."
        ),
    ] = None,
    copies: Annotated[int, typer.Option(metavar="N", help="Copies of each network; each two of them are a pair.")] = 2,
    points: Annotated[
        int, typer.Option(metavar="N", help="Networks to measure between the two copies of a pair.")
    ] = 30,
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Training samples for training errors and batch-norm statistics. Without it all."
        ),
    ] = None,
    data_dir: DataDir = None,
    device: RunDevice = None,
    threads: Threads = None,
    trust_code: TrustCode = False,
) -> None:
    """Measure from which step on copies, trained with other data orders, are connected by a line of low error.

    Measurements are kept in the run's directory. Those that exist are not made again.
    """
    from lthprune.errors import PruningError
    from lthprune.experiments import Run, run_stability, save_stability

    try:
        steps = [int(step) for step in at.split(",")]
    except ValueError:
        raise PruningError(f"--at {at}: list steps with commas between them, as in --at 0,100,500.") from None
    whole, console = Run(run, trust_code=trust_code), Console()
    try:
        measured = run_stability(
            whole,
            steps,
            levels=level or None,
            copies=copies,
            points=points,
            samples=samples,
            data_dir=data_dir,
            device=device,
            threads=threads,
            on_measured=_print_measured,
        )
    except KeyboardInterrupt:
        errors = Console(stderr=True)
        errors.print("Stopped. What is measured is saved; the same command goes on from there.")
        raise typer.Exit(130) from None
    _print_table(measured)
    for each in measured:
        console.print(_sentence(each))
    for path in save_stability(whole):
        console.print(str(path), soft_wrap=True)


def _print_measured(level: int, step: int, pairs: "Sequence[Pair]") -> None:
    means = (100 * sum(pair.path.barrier(data) for pair in pairs) / len(pairs) for data in ("test", "train"))
    test, train = (f"{mean:.2f}" for mean in means)
    Console().print(
        f"step {step:6,}  level {level:2d}  trial {pairs[0].trial}  barrier {test} points, {train} on training data",
    )


def _print_table(measured: "Sequence[Stability]") -> None:
    """Print barriers, distances and angles, a row for each level and step."""
    table = Table(title="Error barriers between copies", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("level", "density", "step k", "test, points", "training, points", "distance", "angle"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in measured:
        barriers = [100 * each.barriers(data) for data in ("test", "train")]
        for place, step in enumerate(each.steps):
            table.add_row(
                "" if place else str(each.level),
                "" if place else f"{each.density:.2%}",
                f"{step:,}",
                *(mean_and_range(own[place]) for own in barriers),
                f"{each.distances()[place].mean():.2f}",
                _degrees(each.angles()[place].mean()),
            )
        table.add_section()
    console = Console()
    console.print(table)
    pairs = max(len(own) for each in measured for own in each.pairs)
    what = f"Means (minimum-maximum) over {pairs} pairs of copies. " if pairs > 1 else ""
    console.print(
        f"{what}Barrier: highest error on the line between two copies minus the mean error at its ends; stable below 2 "
        "points. Distance: L2, over all parameters. Angle: between the ways of the copies from step k, in degrees.",
    )


def _sentence(stability: "Stability") -> str:
    network = "The dense network" if stability.level == 0 else f"The ticket of level {stability.level}"
    if not stability.moving_steps():
        return f"{network}: unknown, since no copy moved. Measure earlier steps."
    return f"{network}: {_stable(stability, 'test')} by test error; {_stable(stability, 'train')} by training error."


def _stable(stability: "Stability", data: str) -> str:
    step = stability.earliest_stable(data)
    if step is not None:
        return f"stable from step {step:,}"
    return f"not yet stable at step {stability.moving_steps()[-1]:,}"


def _degrees(angle: float) -> str:
    return f"{angle:.0f}" if angle == angle else ""
