"""A figure of the distribution of weights, level by level."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lthprune.errors import PruningError
from lthprune.plots.style import FULL_WIDTH, evenly, percent, shades, styled
from lthprune.search import Ticket

_MOST_CURVES = 6  # pruned levels that can be told apart
_MOST_LAYERS = 9
_BINS = 60


@styled
def plot_weight_histograms(tickets: Sequence[Ticket], title: str = "") -> Figure:
    """Plot histograms of the trained, unpruned weights, with a panel for each tensor and a line for each level.

    The dense network's line is dashed. Of more than six pruned levels, six are shown at even distances, and of more
    than nine tensors, nine.

    Args:
        tickets: of one search, level by level from the dense network on. Those shown are read, each once.
        title: of the figure.

    Raises:
        PruningError: weights are not finite.
    """
    places = [0, *(1 + place for place in evenly(len(tickets) - 1, _MOST_CURVES))]
    every = list(tickets[0].counts)
    names = [every[place] for place in evenly(len(every), _MOST_LAYERS)]
    kept = [_unpruned(tickets[place], names) for place in places]  # by level, and for each the values of each tensor
    if not all(np.isfinite(own).all() for level in kept for own in level):
        raise PruningError("histograms need finite weights; the training of a level diverged.")
    rows, columns = -(-len(names) // 3), min(3, len(names))
    figure = Figure(figsize=(FULL_WIDTH, 0.9 + 1.7 * rows))
    figure.suptitle(title)
    colours = ["black", *shades(len(places) - 1)]
    panels = figure.subplots(rows, columns, squeeze=False)
    for number, (axes, name) in enumerate(zip(panels.flat, names, strict=False)):
        largest = max(float(np.abs(level[number]).max(initial=0)) for level in kept) or 1.0
        for level, colour, style in zip(kept, colours, _styles(len(places)), strict=True):
            heights, edges = np.histogram(level[number], bins=_BINS, range=(-largest, largest))
            axes.stairs(heights, edges, color=colour, linestyle=style, lw=0.9)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_title(name.removesuffix(".weight"))
        axes.set_xlabel("weight")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid()
    for axes in list(panels.flat)[len(names) :]:
        axes.set_axis_off()
    for row in panels[:, 0]:
        row.set_ylabel("number")
    labels = ["100 % (dense)", *(percent(tickets[place].density) for place in places[1:])]
    handles = [
        Line2D([], [], color=colour, linestyle=style, label=label)
        for colour, style, label in zip(colours, _styles(len(places)), labels, strict=True)
    ]
    figure.legend(handles=handles, title="weights left", loc="outside lower center", ncols=len(handles))
    return figure


def _styles(number: int) -> list[Literal["--", "-"]]:
    pruned: list[Literal["--", "-"]] = ["-"] * (number - 1)
    return ["--", *pruned]


def _unpruned(ticket: Ticket, names: Sequence[str]) -> list[np.ndarray]:
    trained, masks = ticket.trained, ticket.masks
    return [trained[name][masks[name]].float().numpy() for name in names]
