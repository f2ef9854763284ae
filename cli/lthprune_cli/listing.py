"""The verb ``runs``: which runs and sweeps there are, how far they got and how accurate they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from lthprune_cli.consoles import Console
from lthprune_cli.failures import count_failures
from lthprune_cli.options import RUNS, SWEEPS

if TYPE_CHECKING:
    from lthprune.experiments import Run, Sweep


def runs(
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help=f"List this folder, not {RUNS} and {SWEEPS}.", show_default=False),
    ] = None,
) -> None:
    """List runs and sweeps: how far they got and how accurate they are."""
    from lthprune.experiments import find_runs, find_sweeps

    run_folder, sweep_folder = (RUNS, SWEEPS) if folder is None else (folder, folder)
    # Nobody has to have made the default folders yet.
    found = find_runs(run_folder) if run_folder != RUNS or run_folder.exists() else []
    sweeps = find_sweeps(sweep_folder) if sweep_folder not in (RUNS, SWEEPS) or sweep_folder.exists() else []
    console = Console()
    if not found:
        console.print(f"There are no runs in {run_folder}.", soft_wrap=True)
    else:
        rows = [_row_of(run) for run in found]
        console.print(_runs_table(f"Runs in {run_folder}", rows))
        _explain_states(rows, console)
    if sweeps:
        console.print()
        _print_sweeps(sweep_folder, sweeps, console)


@dataclass(frozen=True)
class _Row:
    """What the list of runs shows of one, why it cannot show more, and how many of its trials failed."""

    run: "Run"
    cells: tuple[str, ...]
    state: str
    fault: str = ""
    failed: str = ""


def _row_of(run: "Run") -> _Row:
    from lthprune.errors import LthpruneError
    from lthprune.experiments import smallest_winning

    try:
        manifest = run.tickets.manifest()
        search, finished = manifest["search"], len(manifest["finished"])
        if "driver" in search:  # of imp() or osp(), not of a recipe
            cells = (f"{search['driver']} x{len(manifest['initial'])}", f"{finished} of {search['levels'] + 1}")
            return _Row(run, (*cells, "", "", ""), "store")
        settings = run.settings
        levels = settings["prune"]["levels"] + 1
        measured = run.summary()
        winner = smallest_winning(measured)
        accuracies = (
            f"{100 * measured[0].test_acc.mean:.2f}" if measured else "",
            f"{100 * winner.test_acc.mean:.2f}" if winner else "",
            f"{winner.density:.2%}" if winner else "",
        )
        trials = f"{settings['prune']['method']} x{len(run.trials)}"
        if run.piece:
            trials += f" of {settings['run']['trials']}"
        failed = count_failures(run.tickets.failures)
        return _Row(run, (trials, f"{finished} of {levels}", *accuracies), run.state, failed=failed)
    except (LthpruneError, KeyError, TypeError) as error:
        return _Row(run, ("", "", "", "", ""), "damaged", str(error))


def _runs_table(title: str, rows: Sequence[_Row]) -> Table:
    table = _table(title)
    table.add_column("\nrun", overflow="fold")
    for column in ("\nsearch", "\nlevels"):
        table.add_column(column, no_wrap=True)
    for column in ("dense\ntest %", "ticket\ntest %", "ticket\nweights"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("\nstate", no_wrap=True)
    for row in rows:
        table.add_row(row.run.name, *row.cells, row.state)
    return table


def _explain_states(rows: Sequence[_Row], console: Console) -> None:
    console.print(
        "Search: the method and the number of trials. Levels include the dense one. Accuracies are means over the "
        "trials; the ticket is the smallest winning one, chosen on validation accuracy.",
    )
    if any(row.state == "store" for row in rows):
        console.print("A store holds the tickets of imp() or osp(), not of a recipe.")
    for row in rows:
        if row.failed:
            console.print(f"Of the trials of {row.run.name}, {row.failed}.")
    _print_faults({row.run.name: row.fault for row in rows if row.fault}, console)


def _print_faults(faults: Mapping[str, str], console: Console) -> None:
    for name, fault in faults.items():
        console.print(f"{name} is damaged: {fault}")


def _print_sweeps(folder: Path, sweeps: "Sequence[Sweep]", console: Console) -> None:
    from lthprune.errors import LthpruneError

    table = _table(f"Sweeps in {folder}")
    table.add_column("sweep", overflow="fold")
    table.add_column("over", overflow="fold")
    for column in ("cells", "state"):
        table.add_column(column, no_wrap=True)
    faults = {}
    for sweep in sweeps:
        try:
            cells = sweep.cells()
            finished = sum(cell.finished for cell in cells)
            state = "finished" if finished == len(cells) else "resumable"
            table.add_row(sweep.name, ", ".join(sweep.declaration()["axes"]), f"{finished} of {len(cells)}", state)
        except LthpruneError as error:
            table.add_row(sweep.name, "", "", "damaged")
            faults[sweep.name] = str(error)
    console.print(table)
    _print_faults(faults, console)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE, padding=0, show_edge=False)
