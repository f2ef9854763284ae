"""The figures of a sweep, by name, and how they are saved."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lthprune.arguments import check_word
from lthprune.errors import PruningError
from lthprune.experiments.axes import in_toml
from lthprune.experiments.figures import write_figure
from lthprune.experiments.subject import NotApplicableError
from lthprune.experiments.sweep import Sweep
from lthprune.experiments.sweep_summary import CellSummary, summarise_sweep
from lthprune.reading import expanded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lthprune.plots import CellNetworks

_LONGEST = 12  # characters of a cell's label


def plot_sweep(sweep: Sweep, name: str = "outcomes") -> "Figure":
    """Return one of a sweep's figures.

    Args:
        sweep: a sweep of which some levels are finished.
        name: ``accuracy-of-cells``; or, for data of several tasks, ``outcomes``, ``statuses`` or ``active-weights``.

    Raises:
        PruningError: the name is unknown, or the figure does not apply to this sweep.
        StorageError: a file of the sweep is damaged.
    """
    check_word("figure", name, SWEEP_FIGURES)
    return SWEEP_FIGURES[name](sweep.name, summarise_sweep(sweep))


def save_sweep_figures(sweep: Sweep, *, out: str | Path | None = None) -> list[Path]:
    """Write all figures that apply to a sweep as PNG, SVG and PDF, and return their paths.

    Args:
        sweep: a sweep of which some levels are finished.
        out: the folder; ``figures`` in the sweep's folder by default.

    Raises:
        PruningError: no level is finished.
        StorageError: a file of the sweep is damaged, or the folder cannot be written.
    """
    rows, paths = summarise_sweep(sweep), []
    _begun(rows)
    folder = sweep.folder / "figures" if out is None else expanded(out)
    for name, draw in SWEEP_FIGURES.items():
        try:
            figure = draw(sweep.name, rows)
        except NotApplicableError:
            continue
        paths += write_figure(figure, folder, name)
    return paths


def _accuracy_of_cells(title: str, rows: Sequence[CellSummary]) -> "Figure":
    from lthprune.plots import plot_accuracy_of_cells

    axis, labels = _labels(rows)
    begun = _begun(rows)
    cells = {labels[place]: [(level.left, level.test_acc.mean) for level in row.levels] for place, row in begun.items()}
    return plot_accuracy_of_cells(cells, axis, title)


def _outcomes(title: str, rows: Sequence[CellSummary]) -> "Figure":
    from lthprune.plots import plot_outcomes

    return plot_outcomes(*_networks(rows), title)


def _statuses(title: str, rows: Sequence[CellSummary]) -> "Figure":
    from lthprune.plots import plot_statuses

    return plot_statuses(*_networks(rows), title)


def _active_weights(title: str, rows: Sequence[CellSummary]) -> "Figure":
    from lthprune.plots import plot_active_weights

    return plot_active_weights(*_networks(rows), title)


def _networks(rows: Sequence[CellSummary]) -> "tuple[list[CellNetworks], str]":
    """Return the networks of all cells of which a level is finished, and what differs between the cells."""
    from lthprune.plots import CellNetworks, LevelStatus

    axis, labels = _labels(rows)
    found = [
        CellNetworks(
            labels[place],
            [[LevelStatus(at.left, at.active, at.splitting.status) for at in trial] for trial in row.splittings],
        )
        for place, row in _begun(rows).items()
        if all(row.splittings)
    ]
    if not found:
        raise NotApplicableError("figures of splitting need data of several tasks; those of this sweep are one task.")
    return found, axis


def _begun(rows: Sequence[CellSummary]) -> dict[int, CellSummary]:
    begun = {place: row for place, row in enumerate(rows) if row.levels}
    if not begun:
        raise PruningError("no level of this sweep is finished yet, so there is nothing to draw.")
    return begun


def _labels(rows: Sequence[CellSummary]) -> tuple[str, list[str]]:
    """Return the names of the axes, and the values of every cell, or its number where they are long."""
    labels = [", ".join(in_toml(value).strip('"') for value in row.cell.values.values()) for row in rows]
    if any(len(label) > _LONGEST or not label for label in labels):
        return "cell", [str(place + 1) for place in range(len(rows))]
    return ", ".join(rows[0].cell.values), labels


SWEEP_FIGURES: dict[str, Callable[[str, Sequence[CellSummary]], "Figure"]] = {
    "accuracy-of-cells": _accuracy_of_cells,
    "outcomes": _outcomes,
    "statuses": _statuses,
    "active-weights": _active_weights,
}
