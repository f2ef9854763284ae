"""A figure of the percentage of weights pruned, by level and layer."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lthprune.plots.style import FULL_WIDTH, MARKERS, shades, styled
from lthprune.pruning import Count


@styled
def plot_pruned_by_layer(counts: Sequence[Mapping[str, Count]], title: str = "") -> Figure:
    """Plot the percentage of each tensor's weights that is pruned at each level, with a line for each tensor.

    The left panel shows the percentage of all weights that are pruned, the right panel the percentage of the remaining
    weights that each level's pruning removed. The dashed line shows all tensors together.

    Args:
        counts: for each level, in ascending order, the remaining and all weights of each tensor: a ticket's ``counts``.
        title: of the figure.
    """
    names = list(counts[0])
    left = np.array([[level[name].left for name in names] for level in counts], dtype=float)  # (levels, tensors)
    left = np.column_stack([left, left.sum(axis=1)])
    total = np.array([counts[0][name].total for name in names], dtype=float)
    total = np.append(total, total.sum())
    removed = np.full_like(left, np.nan)  # of tensors without weights, nothing can be removed
    np.divide(left[:-1] - left[1:], left[:-1], out=removed[1:], where=left[:-1] > 0)
    figure = Figure(figsize=(FULL_WIDTH, 2.7 + 0.15 * (len(names) // 4)))
    figure.suptitle(title)
    looks = [  # smaller and smaller markers: those of layers pruned alike lie on top of each other
        {
            "color": colour,
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 6 - 3 * place / len(names),
            "label": name,
        }
        for place, (name, colour) in enumerate(
            zip((name.removesuffix(".weight") for name in names), shades(len(names)), strict=True)
        )
    ]
    looks.append({"color": "black", "linestyle": "--", "label": "all weights"})
    words = ("pruned up to the level", "pruned at the level, of those left before")
    for axes, values, what in zip(figure.subplots(1, 2), (1 - left / total, removed), words, strict=True):
        for own, look in zip(100 * values.T, looks, strict=True):
            axes.plot(np.arange(len(counts)), own, **look)
        axes.set_title(what)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("level")
        axes.set_ylabel("weights (%)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
    figure.legend(handles=axes.get_lines(), loc="outside lower center", ncols=4)
    return figure
