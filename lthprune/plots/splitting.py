"""Figures of splitting: coverage, accuracies and distance to separation, and the neurons that belong to one task."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from lthprune.analysis import Splitting, Status
from lthprune.plots.style import FULL_WIDTH, MARKERS, QUALITATIVE, Look, evenly, shades, styled

_COLUMNS = 7  # panels side by side
_MOST_COMPONENTS = 5  # rows of a panel
_SHADES: dict[Status, tuple[str, str]] = {"separated": ("#009E73", "///"), "degraded": ("#D55E00", "\\\\\\")}


@styled
def plot_coverage(splittings: Sequence[Splitting], left: Sequence[int], title: str = "") -> Figure:
    """Plot how much of each task (columns) each component of the network (rows) covers, level by level.

    A component that covers no task is left out, and so are all but the five largest. A separated network has a
    component for each task, which covers all of that task and nothing of the others.

    Args:
        splittings: the splitting at each level.
        left: the number of remaining weights at each level.
        title: of the figure.
    """
    tasks = splittings[0].tasks
    shown = [np.flatnonzero(split.coverage.any(axis=1))[:_MOST_COMPONENTS] for split in splittings]
    height = max(len(tasks), *map(len, shown))
    rows, columns = -(-len(splittings) // _COLUMNS), min(_COLUMNS, len(splittings))
    figure = Figure(figsize=(FULL_WIDTH, 0.5 + rows * (0.8 + 0.4 * height)))
    figure.suptitle(title)
    figure.supylabel("component")
    figure.supxlabel("task")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, split, components, weights in zip(panels.flat, splittings, shown, left, strict=False):
        matrix = np.full((height, len(tasks)), np.nan)
        matrix[: len(components)] = split.coverage[components]
        axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        _write_numbers(axes, matrix[: len(components)])
        more = int(split.coverage.any(axis=1).sum()) - len(components)
        axes.set_title(f"{weights:,} weights\n{split.status}" + (f"\n{more:,} more components" if more else ""), size=7)
        axes.set_xticks(range(len(tasks)), tasks, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(components)), map(str, components))
    for axes in list(panels.flat)[len(splittings) :]:
        axes.set_axis_off()
    return figure


def _write_numbers(axes: Axes, matrix: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if value > 0.6 else "black"
        number = f"{value:.2f}".removesuffix(".00")
        axes.text(column, row, number, ha="center", va="center", size=7, color=colour)


@styled
def plot_decidedness(splittings: Sequence[Splitting], left: Sequence[int], title: str = "") -> Figure:
    """Plot, for each layer, the share of alive neurons that belong to a single task, over the remaining weights.

    The left panel counts the neurons with paths from the inputs of one task only, the right panel those with paths to
    the outputs of one task only. Levels with a separated or a degraded network are shaded, as the legend says.

    Args:
        splittings: the splitting at each level.
        left: the number of remaining weights at each level.
        title: of the figure.
    """
    figure = Figure(figsize=(FULL_WIDTH, 3))
    figure.suptitle(title)
    layers = [layer.layer for layer in splittings[0].decidedness]
    levels = np.arange(len(splittings))
    for axes, side, what in zip(
        figure.subplots(1, 2, sharey=True), ("by_inputs", "by_outputs"), ("read", "lead to"), strict=True
    ):
        for place, (layer, colour) in enumerate(zip(layers, shades(len(layers)), strict=True)):
            values = [getattr(split.decidedness[place], side) for split in splittings]
            axes.plot(levels, values, color=colour, marker=MARKERS[place % len(MARKERS)], label=layer)
        _over_levels(axes, splittings, left, 5)
        axes.set_title(f"alive neurons that {what} one task only")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_ylim(-0.03, 1.03)
    _explain(figure, axes.get_legend_handles_labels()[0], splittings, "layers and statuses")
    return figure


@styled
def plot_separation(
    splittings: Sequence[Splitting], left: Sequence[int], test_acc: Sequence[Mapping[str, float]], title: str = ""
) -> Figure:
    """Plot the accuracy of each task, the metric of the splitting, and the distance to separation, over the weights.

    The metric counts the splits still needed; it is 0 once the network is separated, and below 0 once it is degraded.
    The distance of a task is that of its coverage to a component of its own; the black line is the distance of all.
    Levels with a separated or a degraded network are shaded.

    Args:
        splittings: the splitting at each level.
        left: the number of remaining weights at each level.
        test_acc: the test accuracy of each task at each level, in [0, 1], by the task's name.
        title: of the figure.
    """
    tasks, levels = splittings[0].tasks, np.arange(len(splittings))
    figure = Figure(figsize=(FULL_WIDTH, 2.9))
    figure.suptitle(title)
    accuracy, metric, distance = figure.subplots(1, 3)
    for place, task in enumerate(tasks):
        look: Look = {"color": QUALITATIVE[place % len(QUALITATIVE)], "marker": MARKERS[place % len(MARKERS)]}
        look |= {"markersize": 5.5 - 2.5 * place / len(tasks)}  # tasks with equal values lie on top of each other
        accuracy.plot(levels, [100 * each[task] for each in test_acc], label=task, **look)
        distance.plot(levels, [split.task_distances[place] for split in splittings], **look)
    for axes, name in ((metric, "metric"), (distance, "distance")):
        axes.plot(
            levels, [getattr(split, name) for split in splittings], color="black", linestyle="--", label="all tasks"
        )
        axes.axhline(0, color="black", lw=0.5, zorder=1)
    for axes, what in ((accuracy, "test accuracy (%)"), (metric, "metric"), (distance, "distance to separation")):
        _over_levels(axes, splittings, left, 4)
        axes.set_title(what)
    handles = [*accuracy.get_legend_handles_labels()[0], *metric.get_legend_handles_labels()[0]]
    _explain(figure, handles, splittings, "tasks and statuses")
    return figure


def _over_levels(axes: Axes, splittings: Sequence[Splitting], left: Sequence[int], ticks: int) -> None:
    """Label the levels by their remaining weights, and shade those with a separated or a degraded network."""
    for level, split in enumerate(splittings):
        if split.status in _SHADES:
            axes.axvspan(level - 0.5, level + 0.5, zorder=0, **_shade(split.status))
    shown = evenly(len(left), ticks)
    axes.set_xticks(shown, [f"{left[level]:,}" for level in shown])
    axes.set_xlabel("weights left")
    axes.grid()


def _explain(figure: Figure, handles: Sequence[Artist], splittings: Sequence[Splitting], title: str) -> None:
    """Add a legend of the lines and of the shades that occur, below the panels."""
    occurring = [status for status in _SHADES if any(split.status == status for split in splittings)]
    patches = [Patch(label=f"{status} network", **_shade(status)) for status in occurring]
    figure.legend(handles=[*handles, *patches], title=title, loc="outside lower center", ncols=5)


def _shade(status: Status) -> Look:
    colour, hatch = _SHADES[status]
    return {"facecolor": (colour, 0.15), "hatch": hatch, "edgecolor": (colour, 0.5), "lw": 0}
