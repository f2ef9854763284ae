"""Figures of lifetimes: how long neurons and parameters stay in a state, and which state follows."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lthprune.analysis import Lifetimes, NeuronState, TicketStates, neuron_lifetimes, parameter_lifetimes
from lthprune.plots.style import COLOURS, FULL_WIDTH, GREY, STATE_MARKERS, Look, styled


@styled
def plot_lifetimes(levels: Sequence[TicketStates], title: str = "") -> Figure:
    """Plot how many levels neurons and parameters spend in each state, and how often they change between states.

    The upper panels show, over a number of levels, how many neurons or parameters were in a state for that many levels.
    Filled markers with lines are those that left the state. Open markers are those that are still in it at the last
    level, and may stay longer. The lower panels count the changes between one level and the next, over all levels, from
    the state on the left to the state below.

    Args:
        levels: the states at each level, of [`ticket_states`][lthprune.analysis.ticket_states].
        title: of the figure.
    """
    figure = Figure(figsize=(FULL_WIDTH, 5.6))
    figure.suptitle(title)
    axes = figure.subplots(2, 2)
    every: list[tuple[str, Lifetimes, Mapping[str, np.ndarray]]] = [
        ("neurons", neuron_lifetimes(levels), levels[-1].neurons),
        ("parameters", parameter_lifetimes(levels), levels[-1].parameters),
    ]
    for column, (what, own, final) in enumerate(every):
        _draw_spent(axes[0, column], own, final, len(levels))
        axes[0, column].set_ylabel(what)
        _draw_flows(axes[1, column], own)
        axes[1, column].set_title(f"{what}, from level to level")
    handles = [
        Line2D([], [], color=COLOURS[state], marker=STATE_MARKERS[state], label=state.name.lower())
        for state in NeuronState
    ]
    for label, filled, line in (("left the state", GREY, "-"), ("still in it at the last level", "white", "")):
        look: Look = {"color": GREY, "marker": "o", "markerfacecolor": filled, "linestyle": line}
        handles.append(Line2D([], [], label=label, **look))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _draw_spent(axes: Axes, lifetimes: Lifetimes, final: Mapping[str, np.ndarray], levels: int) -> None:
    """Draw how many spent how many levels in a state, apart for those in it at the last level, whose end is unknown."""
    times = np.arange(1, levels + 1)
    for place, state in enumerate(lifetimes.states):
        spent = np.concatenate([own[place].ravel() for own in lifetimes.spent.values()])
        still = np.concatenate([final[name].ravel() == state for name in lifetimes.spent])
        look: Look = {"color": COLOURS[state], "marker": STATE_MARKERS[state]}
        for chosen, width, filled in ((~still, 1, COLOURS[state]), (still, 0, "white")):
            numbers = np.bincount(spent[chosen], minlength=levels + 1)[1:]
            if numbers.any():  # zeros are gaps: no line crosses them
                axes.plot(times, np.where(numbers, numbers, np.nan), lw=width, markerfacecolor=filled, **look)
    axes.set_yscale("log")
    axes.set_xlim(0.5, levels + 0.5)
    axes.set_xlabel("levels spent in a state")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid()


def _draw_flows(axes: Axes, lifetimes: Lifetimes) -> None:
    flows = lifetimes.flows.sum(axis=0)
    moved = np.where(np.eye(len(flows), dtype=bool), 0, flows)
    shown = np.ma.masked_equal(moved, 0)
    axes.imshow(shown, cmap="Blues", norm=LogNorm(1, max(10, moved.max())), alpha=0.7)
    for (before, after), number in np.ndenumerate(flows):
        if number:
            grey = GREY if before == after else "black"
            axes.text(after, before, _short(number), ha="center", va="center", fontsize=6.5, color=grey)
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
