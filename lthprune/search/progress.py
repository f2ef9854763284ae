"""A progress bar over levels on a terminal; nothing in pipes and files."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def levels_with_progress(
    levels: Iterable[T], *, total: int, done: int = 0, title: str = "search", show: bool | None = None
) -> Iterator[T]:
    """Yield the levels, with a bar and the time left on a terminal; ``show=None`` shows it only there.

    ``total`` and ``done`` count the dense level too, so that the last of ``total`` levels is level ``total - 1``.
    """
    console = Console(stderr=True)
    if not (console.is_terminal if show is None else show):
        yield from levels
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("passed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(_description(title, done, total), total=total, completed=done)
        for number, level in enumerate(levels, start=done + 1):
            progress.update(task, completed=number, description=_description(title, number, total))
            yield level


def _description(title: str, trained: int, total: int) -> str:
    last = total - 1
    return f"{title}: {'finished' if trained == total else f'training level {trained} of {last}'}"
