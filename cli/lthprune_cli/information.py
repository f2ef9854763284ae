"""The verb ``information``: mutual information between layers, inputs and labels."""

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lthprune_cli.consoles import Console
from lthprune_cli.options import DataDir, RunArgument, Threads, TrustCode
from lthprune_cli.spreads import mean_and_range

if TYPE_CHECKING:
    from lthprune.analysis import LevelInformation


def information(
    run: RunArgument,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A:B",
            help="Two of: layers, input, labels. Repeatable. Without it each dense layer or convolution with the one "
            "before it, with input and with labels.",
        ),
    ] = None,
    levels: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="The levels. Without it all finished ones.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Steps of the training of each level, too; each level is trained again."),
    ] = None,
    precise: Annotated[
        bool,
        typer.Option("--precise", help="MINE without noise, which comes closer to the truth."),
    ] = False,
    samples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The number of training samples. Without it all.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="The epochs of MINE. Without it those of the settings.")
    ] = None,
    data_dir: DataDir = None,
    threads: Threads = None,
    trust_code: TrustCode = False,
) -> None:
    """Estimate the mutual information between layers, inputs and labels of a run, level by level.

    Estimates are kept in the run's directory. Those that exist are not made again.
    """
    from lthprune.analysis import PRECISE, Mine
    from lthprune.experiments import InformationWatcher, Run, run_information, save_information

    whole, console = Run(run, trust_code=trust_code), Console()
    settings = PRECISE if precise else Mine()
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    bar = progress.add_task("steps of MINE", total=None)

    def show(own: "LevelInformation") -> None:
        console.print(_table(own))

    try:
        with progress if console.is_terminal else nullcontext():
            run_information(
                whole,
                [_pair(each) for each in pair or ()],
                levels=None if levels is None else _numbers("levels", levels),
                at=[] if at is None else _numbers("at", at),
                samples=samples,
                settings=settings,
                data_dir=data_dir,
                threads=threads,
                watcher=InformationWatcher(
                    on_step=lambda made, steps: progress.update(bar, completed=made, total=steps), on_level=show
                ),
            )
    except KeyboardInterrupt:
        errors = Console(stderr=True)
        errors.print("Stopped. What is estimated is saved; the same command goes on from there.")
        raise typer.Exit(130) from None
    what = ", means (minimum-maximum) over the trials" if whole.recipe().run.trials > 1 else ""
    console.print(
        f"In nats{what}. MINE: a lower bound, on samples that its networks were not "
        "trained on, and on those they were trained on. Neighbours: Kraskov et al., with labels Ross; both estimates "
        "are too low for strong dependence.",
    )
    for path in save_information(whole):
        console.print(str(path), soft_wrap=True)


def _table(own: "LevelInformation") -> Table:
    """Return the estimates of one level, a row for each pair: means over the trials, with ranges."""
    when = "" if own.step is None else f", step {own.step:,}"
    table = Table(
        title=f"Level {own.level}, density {own.density:.2%}{when}",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("variables")
    for column in ("MINE", "trained on", "neighbours"):
        table.add_column(column, justify="right", no_wrap=True)
    for pair in own.pairs:
        estimates = (own.nats(pair, name) for name in ("mine", "mine_trained", "neighbours"))
        table.add_row(" and ".join(pair), *map(mean_and_range, estimates))
    return table


def _numbers(option: str, text: str) -> list[int]:
    from lthprune.errors import LthpruneError

    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise LthpruneError(f"--{option} {text}: give whole numbers with commas, as in --{option} 0,5,10.") from None


def _pair(text: str) -> tuple[str, str]:
    from lthprune.errors import LthpruneError

    one, colon, other = text.partition(":")
    if not (one and colon and other):
        raise LthpruneError(f"--pair {text}: give two names with a colon, as in --pair dense1:labels.")
    return one, other
