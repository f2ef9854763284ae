"""Figures of biases over the levels, by the state of the neurons that they belong to."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lthprune.analysis import NeuronState, TicketStates, bias_statistics
from lthprune.plots.style import COLOURS, FULL_WIDTH, GREY, bar_look, styled

_BANDS = (("nine tenths of the biases", 0.3), ("middle half", 0.6))  # from light to dark; the dark one lies above


@styled
def plot_biases(levels: Sequence[TicketStates], title: str = "") -> Figure:
    """Plot the distribution of the unpruned biases at each level, by the state of their neurons.

    Each state that occurs has a panel. The line is the median, the dark band contains the middle half of the biases and
    the light band nine tenths of them. The bars below show how many biases there are.

    Args:
        levels: the states at each level, of [`ticket_states`][lthprune.analysis.ticket_states].
        title: of the figure.
    """
    statistics = bias_statistics(levels)
    shown = [state for state in NeuronState if statistics.left[:, state].any()]
    width = max(1, len(shown))
    figure = Figure(figsize=(FULL_WIDTH, 3.4))
    figure.suptitle(title)
    above, below = figure.subplots(2, width, sharex=True, sharey="row", squeeze=False, height_ratios=[3, 1])
    numbers = np.array([level.level for level in levels])
    for upper, lower, state in zip(above, below, shown, strict=False):
        upper.use_sticky_edges = False  # otherwise the axis would end at the bars, without a margin
        low, first, median, third, high = statistics.quantiles[:, state].T
        for bottom, top, (_, alpha) in ((low, high, _BANDS[0]), (first, third, _BANDS[1])):
            upper.bar(numbers, top - bottom, bottom=bottom, width=1, color=COLOURS[state], alpha=alpha)
        upper.plot(numbers, median, color="black", marker=".")
        upper.axhline(0, color=GREY, lw=0.6)
        upper.set_title(state.name.lower())
        lower.bar(numbers, statistics.left[:, state], width=0.9, **bar_look(state))
        lower.set_xlabel("level")
        lower.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    above[0].set_ylabel("bias")
    below[0].set_ylabel("biases left")
    below[0].set_yscale("symlog", linthresh=10)
    bands = [Patch(color=GREY, alpha=alpha, lw=0, label=label) for label, alpha in reversed(_BANDS)]
    median = Line2D([], [], color="black", marker=".", label="median")
    figure.legend(handles=[median, *bands], loc="outside lower center", ncols=3)
    return figure
