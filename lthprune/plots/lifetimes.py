"""Figures of lifetimes: how long neurons and parameters stay in a state, and which state follows."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lthprune.analysis import Lifetimes, TicketStates, neuron_lifetimes, parameter_lifetimes
from lthprune.plots.style import COLOURS, explain_states


def plot_lifetimes(levels: Sequence[TicketStates], title: str = "") -> Figure:
    """Plot how many levels neurons and parameters spend in each state, and how often they change between states.

    The upper panels have a line for each state, over the number of levels: so many neurons or parameters were in the
    state for that many levels. The lower panels count the changes between one level and the next, over all levels, from
    the state on the left to the state below.

    Args:
        levels: the states at each level, of [`ticket_states`][lthprune.analysis.ticket_states].
        title: of the figure.
    """
    figure = Figure(figsize=(9, 7.5), dpi=150, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, 2)
    for column, (what, own) in enumerate(
        [("neurons", neuron_lifetimes(levels)), ("parameters", parameter_lifetimes(levels))]
    ):
        _draw_spent(axes[0, column], own, len(levels))
        axes[0, column].set_ylabel(what)
        _draw_flows(axes[1, column], own)
        axes[1, column].set_title(f"{what}, from level to level", fontsize="medium")
    explain_states(figure)
    return figure


def _draw_spent(axes: Axes, lifetimes: Lifetimes, levels: int) -> None:
    for place, state in enumerate(lifetimes.states):
        spent = np.concatenate([own[place].ravel() for own in lifetimes.spent.values()])
        numbers = np.bincount(spent, minlength=levels + 1)[1:]
        shown = numbers > 0
        axes.plot(np.arange(1, levels + 1)[shown], numbers[shown], "o-", markersize=3.5, lw=1, color=COLOURS[state])
    axes.set_yscale("log")
    axes.set_xlabel("levels spent in a state")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _draw_flows(axes: Axes, lifetimes: Lifetimes) -> None:
    flows = lifetimes.flows.sum(axis=0)
    moved = np.where(np.eye(len(flows), dtype=bool), 0, flows)
    shown = np.ma.masked_equal(moved, 0)
    axes.imshow(shown, cmap="Blues", norm=LogNorm(1, max(10, moved.max())), alpha=0.7)
    for (before, after), number in np.ndenumerate(flows):
        if number:
            grey = "#888888" if before == after else "black"
            axes.text(after, before, _short(number), ha="center", va="center", fontsize=8, color=grey)
    names = [state.name.lower() for state in lifetimes.states]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylabel("from")
    axes.set_xlabel("to")


def _short(number: int) -> str:
    """Return a number in at most five characters.

    Examples:
        >>> _short(9_999), _short(10_000), _short(999_499), _short(3_999_999)
        ('9,999', '10k', '999k', '4M')
    """
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1_000:.3g}k" if number < 999_500 else f"{number / 1_000_000:.3g}M"
