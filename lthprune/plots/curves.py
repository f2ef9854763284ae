"""Figures of a run's measurements: accuracy over the steps, and accuracy and step at early stopping."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from lthprune.plots.style import (
    BLUE,
    FULL_WIDTH,
    GREY,
    MARKERS,
    ONE_COLUMN,
    RANGE,
    VERMILLION,
    Look,
    evenly,
    percent,
    shades,
    styled,
)
from lthprune.training import Histories, over_trials

_MOST_CURVES = 6  # as many levels as colours that a reader can tell apart
_LABELS = {"test_acc": "test accuracy (%)", "val_acc": "validation accuracy (%)"}


@dataclass(frozen=True)
class Series:
    """Measurements to draw together with others.

    Attributes:
        label: for the legend.
        histories: the measurements.
        dotted: whether to draw dotted lines, as for controls.
    """

    label: str
    histories: Histories
    dotted: bool = False

    @property
    def line(self) -> Literal[":", "-"]:
        """The line style."""
        return ":" if self.dotted else "-"


@styled
def plot_accuracy_over_steps(
    histories: Histories | Sequence[Series], title: str = "", curve: str = "test_acc", *, winner: int | None = None
) -> Figure:
    """Plot the mean accuracy over the steps, with a line for each density (the paper's figure 3).

    The dense network's line is dashed. Bands span the trials' minimum and maximum. Of more than six pruned levels, six
    are shown at even distances, and the winner. The axis shows at least three quarters of each line's evaluations, and
    may leave out the first ones.

    Args:
        histories: the measurements of a run; or several series, each drawn in the colours of the first one's densities,
            level by level. Bands belong to the first.
        title: of the figure.
        curve: ``"test_acc"`` or ``"val_acc"``.
        winner: the level of the smallest winning ticket, which the legend marks.
    """
    figure, axes = _canvas(title, FULL_WIDTH)
    series = _as_series(histories)
    first = series[0].histories
    last = first.finished - 1
    shown = sorted({*(1 + place for place in evenly(last, _MOST_CURVES)), *([] if winner is None else [winner])})
    looks = [(0, "black", "--", ""), *zip(shown, shades(len(shown)), "-" * len(shown), MARKERS, strict=False)]
    lows, highs = [], []
    for level, colour, line, marker in looks:
        label = "100 % (dense)" if level == 0 else percent(first.density[level])
        label += " (winner)" if level == winner else ""
        for place, each in enumerate(series):
            steps, values = _measured(each.histories, curve, level)
            if not len(steps) or (place and level == 0):
                continue
            mean = values.mean(axis=0)
            look: Look = {
                "color": colour,
                "linestyle": ":" if each.dotted else line,
                "marker": "" if place else marker,
                "markevery": (len(steps) * (1 + level % 3) // 24, max(1, len(steps) // 6)),  # not all at the same steps
                "label": f"_{each.label}" if place else label,
            }
            axes.plot(steps, mean, zorder=3 if level else 4, **look)
            lows.append(np.quantile(mean, 0.25))
            if place == 0:
                low, high = values.min(axis=0), values.max(axis=0)
                axes.fill_between(steps, low, high, color=colour, alpha=0.13, lw=0)
                highs.append(high.max())
    axes.set_ylim(*_limits(min(lows), max(highs)))
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel(_LABELS[curve])
    axes.yaxis.set_major_formatter(FuncFormatter(_in_percent))
    handles = [*axes.get_legend_handles_labels()[0], *_explain_lines(series)]
    if _trials(first) > 1:
        handles.append(Patch(color=GREY, alpha=0.3, lw=0, label=f"{RANGE}\nof {_counted(first)}; lines: means"))
    axes.legend(handles=handles, title="weights left", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@styled
def plot_accuracy_at_early_stop(
    histories: Histories | Sequence[Series], title: str = "", *, winner: int | None = None
) -> Figure:
    """Plot the accuracies at the early-stopping step over the density (the paper's figures 1, left, and 4).

    Lines are means over the trials, and bars span their minimum and maximum. The dense network's mean is dashed.

    Args:
        histories: the measurements of a run; or several series, each in the same colours, with markers of its own.
        title: of the figure.
        winner: the level of the smallest winning ticket, marked by a vertical line.
    """
    figure, axes = _canvas(title, ONE_COLUMN)
    series = _as_series(histories)
    for name, what, colour, dodge in (("val_acc", "validation", BLUE, 1.0), ("test_acc", "test", VERMILLION, 1.015)):
        for place, each in enumerate(series):
            label = f"{what}, {each.label}" if place else what
            _over_density(axes, each, each.histories.at_early_stop(name), label, (colour, place), dodge=dodge)
    axes.set_ylabel("accuracy at early stopping (%)")
    axes.yaxis.set_major_formatter(FuncFormatter(_in_percent))
    _finish(figure, axes, series, winner)
    return figure


@styled
def plot_early_stop_steps(
    histories: Histories | Sequence[Series], title: str = "", *, winner: int | None = None
) -> Figure:
    """Plot the early-stopping step over the density (the paper's figure 4a): the step of lowest validation loss.

    A line shows the last step of the training if some network came near: with more steps, its loss might have fallen
    further. The arguments are those of ``plot_accuracy_at_early_stop``.
    """
    figure, axes = _canvas(title, ONE_COLUMN)
    series = _as_series(histories)
    for place, each in enumerate(series):
        label = each.label if place else "early-stopping step"
        _over_density(axes, each, each.histories.early_stop_steps(), label, (BLUE, place))
    highest = max(float(np.nan_to_num(each.histories.early_stop_steps()).max()) for each in series)
    last = int(series[0].histories.steps[-1])
    if highest > 0.5 * last:
        axes.axhline(last, color="black", lw=0.8, label=f"last step of training ({last:,})", zorder=1)
        highest = last
    axes.set_ylabel("early-stopping step")
    axes.set_ylim(0, 1.06 * highest)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _finish(figure, axes, series, winner)
    return figure


def _as_series(histories: Histories | Sequence[Series]) -> Sequence[Series]:
    return [Series("", histories)] if isinstance(histories, Histories) else histories


def _canvas(title: str, width: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, 2.9))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid()
    return figure, axes


def _trials(histories: Histories) -> int:
    return len(histories.curves["val_acc"])


def _counted(histories: Histories) -> str:
    """Return how many trials the levels have, as in ``5 trials``, or ``3 to 5 trials``."""
    numbers = histories.measured[:, : histories.finished].sum(axis=0)
    least = "" if numbers.min() == numbers.max() else f"{numbers.min()} to "
    return f"{least}{numbers.max()} trial{'' if numbers.max() == 1 else 's'}"


def _measured(histories: Histories, curve: str, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps at which all trials that a level has were evaluated, and the values (trials, steps)."""
    if level >= histories.finished or not histories.measured[:, level].any():
        return np.empty(0), np.empty((1, 0))
    values = histories.curves[curve][histories.measured[:, level], level]
    measured = ~np.isnan(values).any(axis=0)
    return histories.steps[measured], values[:, measured]


def _explain_lines(series: Sequence[Series]) -> list[Line2D]:
    """Return legend entries for the line styles of several series."""
    if len(series) < 2:
        return []
    return [Line2D([], [], color=GREY, linestyle=each.line, label=each.label) for each in series if each.label]


def _over_density(
    axes: Axes, series: Series, values: np.ndarray, label: str, look: tuple[str, int], dodge: float = 1.0
) -> None:
    """Draw values (trials, levels) on a logarithmic axis of densities that fall from left to right.

    ``look`` is a colour and the number of the series. ``dodge`` shifts the points a little to the left, so that the
    bars of two curves do not hide each other; shifted points are open, so that greyscale shows which is which.
    """
    done = ~np.isnan(series.histories.density)
    density, values = 100 * series.histories.density[done], values[:, done]
    colour, place = look
    mean, low, high = over_trials(values)
    spread = np.stack([mean - low, high - mean]).clip(min=0)  # rounding may make it < 0
    style: Look = {
        "color": colour,
        "linestyle": series.line,
        "elinewidth": 0.7,
        "marker": MARKERS[place],
        "markerfacecolor": colour if dodge == 1 else "white",
    }
    axes.errorbar(density * dodge, mean, yerr=spread if len(values) > 1 else None, label=label, **style)
    if place == 0:
        axes.axhline(float(mean[0]), color=colour, linestyle="--", linewidth=0.8)


def _finish(figure: Figure, axes: Axes, series: Sequence[Series], winner: int | None) -> None:
    """Label the axis of densities, mark the winner, and add the legend below."""
    first = series[0].histories
    density = 100 * first.density[~np.isnan(first.density)]
    if winner is not None:
        label = f"smallest winner ({percent(first.density[winner])})"
        axes.axvline(density[winner], color=GREY, linestyle="-.", lw=0.9, label=label, zorder=1)
    label_densities(axes, density)
    curves = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    others = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    dense = Line2D([], [], color=GREY, linestyle="--", linewidth=0.8, label="dense network")
    title = f"means; bars: {RANGE} of {_counted(first)}" if _trials(first) > 1 else None
    figure.legend(handles=[*curves, dense, *others], title=title, loc="outside lower center", ncols=2)


def label_densities(axes: Axes, density: np.ndarray) -> None:
    """Make a logarithmic axis of densities, in percent, that fall from left to right."""
    axes.set_xscale("log")
    axes.set_xlim(density.max() * 1.08, density.min() / 1.08)
    axes.set_xticks(_readable_ticks(density))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.set_xlabel("weights left (%)")


def _readable_ticks(density: np.ndarray) -> list[float]:
    """Return the densities to label, at least a seventh of the axis apart."""
    gap = np.log(density.max() / density.min()) / 7 if density.min() < density.max() else 0.0
    ticks = [float(density[0])]
    for value in density[1:]:
        if np.log(ticks[-1] / value) >= gap > 0:
            ticks.append(float(value))
    return ticks


def _limits(low: float, high: float) -> tuple[float, float]:
    """Return an axis range with a margin, at least a percentage point wide."""
    margin = max(0.04 * (high - low), (0.01 - (high - low)) / 2)
    return max(0.0, low - margin), min(1.002, high + margin)


def _in_percent(value: float, _: int) -> str:
    return f"{100 * value:.4g}"
