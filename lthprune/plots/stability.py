"""Figures of stability: error barriers over the step of copying, and errors between the copies."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

from lthprune.analysis import STABLE, Stability
from lthprune.plots.style import FULL_WIDTH, GREY, MARKERS, RANGE, evenly, percent, shades, styled

_MOST_TICKS = 6  # steps with a label
_MOST_LINES = 6  # as many steps as shades that a reader can tell apart
_DATA = ("train", "test")


@styled
def plot_stability(stabilities: Sequence[Stability], title: str = "") -> Figure:
    """Plot the error barrier over the step at which copies were made, on training data (left) and test data (right).

    As figure 3 of Frankle et al. (2020): a line for each level, dashed for the dense network, the mean over all pairs
    with a band from their minimum to their maximum. Below the dotted line, 2 points, a network is stable.

    Args:
        stabilities: of each level, such as ``run.stability()`` returns.
        title: of the figure.
    """
    figure = Figure(figsize=(FULL_WIDTH, 3.0))
    figure.suptitle(title)
    steps = sorted({step for each in stabilities for step in each.steps})
    colours = ["black", *shades(len(stabilities))] if stabilities[0].level == 0 else shades(len(stabilities))
    for axes, data in zip(figure.subplots(1, 2, sharey=True), _DATA, strict=True):
        axes.grid()
        for each, colour, marker in zip(stabilities, colours, cycle(MARKERS), strict=False):
            barriers, line = 100 * each.barriers(data), "-" if each.level else "--"
            look = {"color": colour, "linestyle": line, "marker": marker, "label": _name(each)}
            axes.plot(each.steps, barriers.mean(axis=1), **look)
            if barriers.shape[1] > 1:
                low, high = barriers.min(axis=1), barriers.max(axis=1)
                axes.fill_between(each.steps, low, high, color=colour, alpha=0.13, lw=0)
        axes.axhline(100 * STABLE, color=GREY, linestyle=":", label="stable below 2 points")
        axes.set_title(f"{'training' if data == 'train' else data} data")
        axes.set_xlabel("step k at which copies were made")
        _scale_steps(axes, steps)
    figure.axes[0].set_ylabel("error barrier (points)")
    figure.axes[0].set_ylim(bottom=0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, title=_words(stabilities), loc="outside lower center", ncols=4)
    return figure


@styled
def plot_interpolation(stabilities: Sequence[Stability], title: str = "") -> Figure:
    """Plot the error on the straight line between copies, a panel for each level and a line for each step.

    Solid lines are test errors, dotted ones training errors, all means over the pairs. Of more than six steps, six are
    shown at even distances.

    Args:
        stabilities: as for ``plot_stability``.
        title: of the figure.
    """
    columns = min(3, len(stabilities))
    rows = -(-len(stabilities) // columns)
    figure = Figure(figsize=(FULL_WIDTH, 0.9 + 2.1 * rows))
    figure.suptitle(title)
    steps = sorted({step for each in stabilities for step in each.steps})
    steps = [steps[place] for place in evenly(len(steps), _MOST_LINES)]
    colours = dict(zip(steps, shades(len(steps)), strict=True))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    for axes, each in zip(panels, stabilities, strict=False):
        axes.grid()
        axes.set_title(_name(each))
        for step, pairs in zip(each.steps, each.pairs, strict=True):
            for data, line in (("train", ":"), ("test", "-")) if step in colours else ():
                errors = np.mean([pair.path.errors[data] for pair in pairs], axis=0)
                label = f"k = {step:,}" if data == "test" else f"_{step}"
                axes.plot(pairs[0].path.at, 100 * errors, color=colours[step], linestyle=line, label=label)
    for axes in list(figure.axes)[len(stabilities) :]:
        axes.set_visible(False)
    for place, axes in enumerate(figure.axes[: len(stabilities)]):
        if place % columns == 0:
            axes.set_ylabel("error (%)")
        axes.set_xlabel("position between the copies")
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    shown = {label: handles[label] for label in (f"k = {step:,}" for step in steps)}
    words = "solid: test data; dotted: training data"
    figure.legend([*shown.values()], [*shown], title=words, loc="outside lower center", ncols=_MOST_LINES)
    return figure


def _name(stability: Stability) -> str:
    return "100 % (dense)" if stability.level == 0 else f"{percent(stability.density)} (level {stability.level})"


def _words(stabilities: Sequence[Stability]) -> str | None:
    pairs = max(len(own) for each in stabilities for own in each.pairs)
    return f"weights left; means over {pairs} pairs of copies, bands: {RANGE}" if pairs > 1 else "weights left"


def _scale_steps(axes: Axes, steps: Sequence[int]) -> None:
    """Scale the axis of the steps like a logarithm that has room for step 0, and label measured steps."""
    positive = [step for step in steps if step]
    if positive:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
        axes.set_xlim(-0.2 * positive[0] if steps[0] == 0 else 0.8 * positive[0], 1.25 * steps[-1])
    shown = [steps[place] for place in evenly(len(steps), _MOST_TICKS)]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{step:,}" for step in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
