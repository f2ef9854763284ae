"""Figures of a sweep over data of several tasks: which networks separate, and at how many weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lthprune.analysis import Outcome, Status, outcome
from lthprune.plots.style import FULL_WIDTH, MARKERS, Look, shades, styled

_OUTCOMES: dict[Outcome, Look] = {  # in the order of the stack: those that separate are at the bottom
    "separated": {"facecolor": "#009E73", "hatch": "////"},
    "separated then degraded": {"facecolor": "#F0E442", "hatch": "...."},
    "interconnected": {"facecolor": "#C8C8C8", "hatch": ""},
    "degraded": {"facecolor": "#D55E00", "hatch": "\\\\\\\\"},
}
_MOST_COUNTS, _MOST_CHARACTERS = 16, 100  # labels on an axis
_STATUSES: tuple[Status, ...] = ("separated", "interconnected", "degraded")
_BESIDE = 1.02  # the distance of points beside each other, as a factor
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


class LevelStatus(NamedTuple):
    """A network at one level: remaining weights, those of them that are active, and how far it has split."""

    left: int
    active: int
    status: Status


@dataclass(frozen=True)
class CellNetworks:
    """The networks of one cell of a sweep.

    Attributes:
        label: the values of the axes in this cell.
        networks: for each trial its levels, in ascending order.
    """

    label: str
    networks: Sequence[Sequence[LevelStatus]]

    @property
    def separated(self) -> list[LevelStatus]:
        """The first separated level of each network that separates."""
        found = [[level for level in network if level.status == "separated"] for network in self.networks]
        return [levels[0] for levels in found if levels]


@styled
def plot_outcomes(cells: Sequence[CellNetworks], axis: str = "", title: str = "") -> Figure:
    """Plot how many networks of each cell separate, degrade or stay interconnected, as stacked bars.

    Args:
        cells: the networks of the cells.
        axis: what differs between the cells.
        title: of the figure.
    """
    figure, axes = _canvas(title, 2.7)
    axes.grid(axis="y")
    ends = [[outcome([level.status for level in network]) for network in cell.networks] for cell in cells]
    bottom = np.zeros(len(cells))
    for end in _OUTCOMES:
        counts = np.array([own.count(end) for own in ends])
        axes.bar(np.arange(len(cells)), counts, bottom=bottom, width=0.8, label=end, **_look(end))
        bottom += counts
    axes.set_xticks(range(len(cells)), [cell.label for cell in cells])
    if sum(len(cell.label) + 2 for cell in cells) > _MOST_CHARACTERS:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_xlabel(axis)
    axes.set_ylabel("networks")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [Patch(label=end, **_look(end)) for end in _OUTCOMES]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


@styled
def plot_active_weights(cells: Sequence[CellNetworks], axis: str = "", title: str = "") -> Figure:
    """Plot the active over the remaining weights of every network at the first level at which it is separated.

    Active weights are on a path from an input to an output. On the diagonal all remaining weights are active. Points
    of several cells at one number of remaining weights are drawn beside each other.

    Args:
        cells: the networks of the cells.
        axis: what differs between the cells.
        title: of the figure.
    """
    shown = [cell for cell in cells if cell.separated]
    figure, axes = _canvas(title, _beside_legend(len(shown)))
    axes.grid()
    counts = sorted({at.left for cell in shown for at in cell.separated})
    present = {left: [cell for cell in shown if any(at.left == left for at in cell.separated)] for left in counts}
    handles = []
    for place, (cell, colour) in enumerate(zip(shown, shades(len(shown)), strict=True)):
        look: Look = {"color": colour, "marker": MARKERS[place % len(MARKERS)], "linestyle": ""}
        beside = [at.left * _BESIDE ** _from_middle(present[at.left], cell) for at in cell.separated]
        axes.plot(beside, [at.active for at in cell.separated], alpha=0.8, **look)
        handles.append(Line2D([], [], label=cell.label, **look))
    if counts:
        ends = [counts[0] / 1.3, counts[-1] * 1.3]
        axes.plot(ends, ends, color="black", lw=0.8, linestyle="--", zorder=1)
        handles.append(Line2D([], [], color="black", lw=0.8, linestyle="--", label="all weights"))
        _label_counts(axes, counts)
        axes.set_xlim(*ends)
        axes.set_yscale("log")
        axes.set_ylim(min(at.active for cell in shown for at in cell.separated) / 1.3, ends[1])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(_THOUSANDS)
    else:
        axes.text(0.5, 0.5, "no network separates", ha="center", transform=axes.transAxes)
    axes.set_xlabel("remaining weights when the tasks are first separated")
    axes.set_ylabel("active weights")
    figure.legend(handles=handles, title=axis, loc="outside right center")
    return figure


@styled
def plot_statuses(cells: Sequence[CellNetworks], axis: str = "", title: str = "") -> Figure:
    """Plot the shares of interconnected, separated and degraded networks, a row for each cell, over the weights.

    Each bar is a level of a cell, at its number of remaining weights; its parts are shares of the cell's networks. A
    row ends where the run of its cell does. Levels without weights have no place on the logarithmic axis.

    Args:
        cells: the networks of the cells.
        axis: what differs between the cells.
        title: of the figure.
    """
    figure, axes = _canvas(title, 1.3 + 0.24 * len(cells))
    rows = [_by_count(cell) for cell in cells]
    counts = sorted({left for row in rows for left in row})
    gap = float(np.median(np.diff(np.log(counts)))) if len(counts) > 1 else 0.5
    for place, row in enumerate(rows):
        for left, statuses in row.items():
            nearest = min([abs(np.log(left / other)) for other in row if other != left], default=gap)
            half = np.exp(0.4 * min(gap, nearest))  # half the width of a bar, as a factor
            bottom = place - 0.42
            for status in _STATUSES:
                height = 0.84 * statuses.count(status) / len(statuses)
                axes.bar(left / half, height, (half - 1 / half) * left, bottom, align="edge", **_look(status))
                bottom += height
    _label_counts(axes, counts)
    axes.set_xlim(counts[-1] * np.exp(0.6 * gap), counts[0] / np.exp(0.6 * gap))
    axes.set_xlabel("remaining weights")
    axes.set_yticks(range(len(cells)), [cell.label for cell in cells])
    axes.set_ylim(-0.6, len(cells) - 0.4)
    axes.set_ylabel(axis)
    handles = [Patch(label=f"{status} networks", **_look(status)) for status in _STATUSES]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


@styled
def plot_accuracy_of_cells(cells: Mapping[str, Sequence[tuple[int, float]]], axis: str = "", title: str = "") -> Figure:
    """Plot the mean test accuracy at early stopping over the remaining weights, with a line for each cell of a sweep.

    Levels without weights have no place on the logarithmic axis.

    Args:
        cells: for each cell, by its label, the remaining weights and the mean accuracy, in [0, 1], of every level.
        axis: what differs between the cells.
        title: of the figure.
    """
    figure, axes = _canvas(title, _beside_legend(len(cells)))
    axes.grid()
    shown = {label: [level for level in levels if level[0]] for label, levels in cells.items()}
    for place, ((label, levels), colour) in enumerate(zip(shown.items(), shades(len(shown)), strict=True)):
        look: Look = {"color": colour, "marker": MARKERS[place % len(MARKERS)], "label": label}
        axes.plot([left for left, _ in levels], [100 * mean for _, mean in levels], **look)
    counts = sorted({left for levels in shown.values() for left, _ in levels})
    _label_counts(axes, counts)
    axes.set_xlim(counts[-1] * 1.3, counts[0] / 1.2)
    axes.set_xlabel("remaining weights")
    axes.set_ylabel("mean test accuracy (%)")
    figure.legend(title=axis, loc="outside right center")
    return figure


def _by_count(cell: CellNetworks) -> Mapping[int, list[Status]]:
    """Return the statuses of a cell's networks by the number of remaining weights, if there are any."""
    found: dict[int, list[Status]] = {}
    for network in cell.networks:
        for level in network:
            if level.left:
                found.setdefault(level.left, []).append(level.status)
    return found


def _from_middle(cells: Sequence[CellNetworks], cell: CellNetworks) -> float:
    """Return the place of a cell among others, counted from their middle."""
    return cells.index(cell) - (len(cells) - 1) / 2


def _look(end: Outcome) -> Look:
    return {"edgecolor": "#333333", "lw": 0.2, **_OUTCOMES[end]}


def _beside_legend(entries: int) -> float:
    """Return the height in inches of a figure that has a legend with so many entries beside it."""
    return max(3.2, 0.8 + 0.145 * entries)


def _canvas(title: str, height: float) -> tuple[Figure, Axes]:
    """Return a figure of a height in inches, with one panel."""
    figure = Figure(figsize=(FULL_WIDTH, height))
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def _label_counts(axes: Axes, counts: Sequence[int]) -> None:
    """Make a logarithmic axis of numbers of weights, in ascending order; those with a label are not too close."""
    gap = np.log(counts[-1] / counts[0]) / _MOST_COUNTS
    ticks = [counts[0]]
    for count in counts[1:]:
        if np.log(count / ticks[-1]) >= gap:
            ticks.append(count)
    axes.set_xscale("log")
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_THOUSANDS)
