"""Figures of splitting: what components cover, level by level, and how far layers belong to one task."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lthprune.analysis import Splitting, Status

_COLUMNS = 7  # matrices side by side
_SHADES: dict[Status, str] = {"interconnected": "none", "separated": "tab:green", "degraded": "tab:red"}


def plot_coverage(splittings: Sequence[Splitting], left: Sequence[int], title: str = "") -> Figure:
    """Plot the matrix of every level: what the component that suits each task best (row) covers of the tasks (column).

    A separated network's is the identity; see ``Splitting.matrix``.

    Args:
        splittings: of the levels.
        left: how many weights each level has.
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
    """Plot, for every layer, how many of its alive neurons hear, and speak to, one task alone, over the weights left.

    Levels at which the network is separated are shaded green, degraded ones red.

    Args:
        splittings: of the levels.
        left: how many weights each level has.
        title: of the figure.
    """
    figure = Figure(figsize=(9, 3.8), dpi=150, layout="constrained")
    figure.suptitle(title)
    layers = [layer.layer for layer in splittings[0].decidedness]
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(layers)))
    levels = np.arange(len(splittings))
    for axes, side, what in zip(
        figure.subplots(1, 2, sharey=True), ("by_inputs", "by_outputs"), ("hear", "speak to"), strict=True
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
