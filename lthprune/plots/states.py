"""Figures of states: the number of neurons and parameters in each state, level by level."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from lthprune.analysis import Lifetimes, NeuronState, TicketStates, neuron_lifetimes, parameter_lifetimes
from lthprune.plots.style import FULL_WIDTH, bar_look, explain_states, styled


@styled
def plot_states(levels: Sequence[TicketStates], title: str = "") -> Figure:
    """Plot the number of neurons and parameters in each state, as stacked bars over the levels.

    The upper panels show numbers, the lower ones shares of the unpruned neurons or parameters. States have a colour and
    a hatch of their own. Inputs are not among the
    neurons. Pruned parameters are left out, since they would hide the others.

    Args:
        levels: the states at each level, of [`ticket_states`][lthprune.analysis.ticket_states].
        title: of the figure.
    """
    figure = Figure(figsize=(FULL_WIDTH, 4.2))
    figure.suptitle(title)
    axes = figure.subplots(2, 2, sharex=True)
    numbers = [level.level for level in levels]
    for column, (what, own) in enumerate(
        [("neurons", neuron_lifetimes(levels)), ("parameters", parameter_lifetimes(levels))]
    ):
        absolute, relative = axes[:, column]
        left = _without(own, NeuronState.PRUNED)
        _stack(absolute, numbers, own.counts.T if what == "neurons" else left, own.states)
        absolute.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        absolute.set_ylabel(what if what == "neurons" else "unpruned parameters")
        _stack(relative, numbers, left / np.maximum(left.sum(axis=0), 1), own.states)
        relative.set_ylabel(f"share of unpruned {what}")
        relative.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        relative.set_xlabel("level")
        relative.xaxis.set_major_locator(MaxNLocator(integer=True))
    explain_states(figure)
    return figure


def _without(lifetimes: Lifetimes, state: NeuronState) -> np.ndarray:
    """Return the counts (states, levels) of all states but one."""
    kept: np.ndarray = lifetimes.counts.T[[own is not state for own in lifetimes.states]]
    return kept


def _stack(axes: Axes, levels: Sequence[int], counts: np.ndarray, states: Sequence[NeuronState]) -> None:
    """Draw counts (states, levels) as stacked bars; lines would suggest values between two levels."""
    bottom = np.zeros(len(levels))
    for own, state in zip(counts, states, strict=False):
        axes.bar(levels, own, width=0.9, bottom=bottom, label=state.name.lower(), **bar_look(state))
        bottom += own
    axes.margins(x=0.01)
