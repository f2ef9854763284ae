"""A progress bar over levels, for those who watch; silent in pipes and files."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def levels_with_progress(
    levels: Iterable[T], *, total: int, done: int = 0, title: str = "levels", show: bool | None = None
) -> Iterator[T]:
    """Yield the levels, with a bar and the time left on the terminal; ``show=None`` looks whether there is one."""
    console = Console(stderr=True)
    if not (console.is_terminal if show is None else show):
        yield from levels
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, completed=done)
        for level in levels:
            progress.advance(task)
            yield level
