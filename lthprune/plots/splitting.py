"""Figures of splitting: the coverage of the tasks level by level, and the neurons that belong to one task."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lthprune.analysis import Splitting, Status

_COLUMNS = 7  # matrices side by side
_SHADES: dict[Status, str] = {"interconnected": "none", "separated": "tab:green", "degraded": "tab:red"}


def plot_coverage(splittings: Sequence[Splitting], left: Sequence[int], title: str = "") -> Figure:
    """Plot the coverage matrix of each level, whose rows are the component that suits each task best.

    The columns show how much of each task that component covers. The matrix of a separated network is the identity;
    see ``Splitting.matrix``.

    Args:
        splittings: the splitting at each level.
        left: the number of remaining weights at each level.
        title: of the figure.
    """
    tasks = splittings[0].tasks
    rows = -(-len(splittings) // _COLUMNS)
    figure = Figure(figsize=(9, 0.6 + 1.75 * rows), dpi=150, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for place, (split, weights) in enumerate(zip(splittings, left, strict=True)):
        axes = panels[place]
        axes.imshow(split.matrix, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(split.matrix.shape):
            value = split.matrix[row, column]
            axes.text(
                *(column, row, f"{value:.2f}".removesuffix(".00")),
                **{"ha": "center", "va": "center", "fontsize": 8, "color": "white" if value > 0.6 else "black"},
            )
        axes.set_title(f"{weights:,} weights\n{split.status}", fontsize=7.5)
        axes.set_xticks(range(len(tasks)), tasks, fontsize=7, rotation=30)
        axes.set_yticks(range(len(tasks)), tasks if place % _COLUMNS == 0 else [""] * len(tasks), fontsize=7)
    for axes in list(panels)[len(splittings) :]:
        axes.set_axis_off()
    return figure


def plot_decidedness(splittings: Sequence[Splitting], left: Sequence[int], title: str = "") -> Figure:
    """Plot, for each layer, the share of alive neurons that belong to a single task, over the remaining weights.

    The left panel counts the neurons with paths from the inputs of one task only, the right panel those with paths to
    the outputs of one task only. Levels with a separated network are shaded green, and those with a degraded one red.

    Args:
        splittings: the splitting at each level.
        left: the number of remaining weights at each level.
        title: of the figure.
    """
    figure = Figure(figsize=(9, 3.8), dpi=150, layout="constrained")
    figure.suptitle(title)
    layers = [layer.layer for layer in splittings[0].decidedness]
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(layers)))
    levels = np.arange(len(splittings))
    for axes, side, what in zip(
        figure.subplots(1, 2, sharey=True), ("by_inputs", "by_outputs"), ("read", "lead to"), strict=True
    ):
        for place, (layer, colour) in enumerate(zip(layers, colours, strict=True)):
            values = [getattr(split.decidedness[place], side) for split in splittings]
            axes.plot(levels, values, color=colour, marker="o", markersize=3.5, label=layer)
        for level, split in enumerate(splittings):
            axes.axvspan(level - 0.5, level + 0.5, color=_SHADES[split.status], alpha=0.12, lw=0)
        shown = np.unique(np.linspace(0, len(levels) - 1, min(len(levels), 7)).round().astype(int))
        axes.set_xticks(shown, [f"{left[level]:,}" for level in shown], fontsize=8)
        axes.set_xlabel("weights left")
        axes.set_ylabel(f"alive neurons that {what} one task")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    return figure
