"""Figures of a run's measurements: accuracy over the steps, and accuracy and step at early stopping."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from lthprune.training import Histories

_MOST_CURVES = 8  # as many levels as colours that a reader can tell apart
_LABELS = {"train_loss": "training loss", "val_loss": "validation loss", "val_acc": "validation accuracy"}


def plot_accuracy_over_steps(histories: Histories, title: str = "", curve: str = "test_acc") -> Figure:
    """Plot the mean accuracy over the steps, with a line for each density (the paper's figure 3).

    The dense network's line is dashed. Bands span the trials' minimum and maximum. Of more than eight levels, eight are
    shown at even distances.

    Args:
        histories: the measurements of a run.
        title: of the figure.
        curve: ``"test_acc"`` or ``"val_acc"``.
    """
    figure, axes = _canvas(title)
    finished = np.flatnonzero(~np.isnan(histories.density))
    shown = np.unique(np.linspace(1, finished[-1], min(_MOST_CURVES, finished[-1])).round().astype(int))
    colours = colormaps["viridis"](np.linspace(0, 0.92, len(shown)))
    values = histories.curves[curve]
    measured = ~np.isnan(values[:, 0]).any(axis=0)
    steps, dense = histories.steps[measured], values[:, 0, measured]
    for level, colour in zip(shown, colours, strict=True):
        measured = ~np.isnan(values[:, level]).any(axis=0)
        own = values[:, level, measured]
        axes.plot(histories.steps[measured], own.mean(axis=0), color=colour, label=_percent(histories.density[level]))
        axes.fill_between(histories.steps[measured], own.min(axis=0), own.max(axis=0), color=colour, alpha=0.12, lw=0)
    axes.plot(steps, dense.mean(axis=0), color="black", linestyle="--", label="100 % (dense)", zorder=5)
    finals = values[:, finished]
    axes.set_ylim(*_accuracy_limits(finals))
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel(_LABELS.get(curve, "test accuracy"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.legend(title="weights left", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def plot_accuracy_at_early_stop(histories: Histories, title: str = "") -> Figure:
    """Plot the accuracies at the early-stopping step over the density (the paper's figures 1, left, and 4).

    Lines are means over the trials, and bars span their minimum and maximum. The dense network's mean is dashed.
    """
    figure, axes = _canvas(title)
    _over_density(axes, histories.density, histories.at_early_stop("val_acc"), "validation", "tab:blue")
    _over_density(axes, histories.density, histories.at_early_stop("test_acc"), "test", "tab:orange", dodge=1.012)
    axes.set_ylabel("accuracy at early stopping")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.legend(frameon=False)
    return figure


def plot_early_stop_steps(histories: Histories, title: str = "") -> Figure:
    """Plot the early-stopping step over the density (the paper's figure 4a): the step of lowest validation loss."""
    figure, axes = _canvas(title)
    _over_density(axes, histories.density, histories.early_stop_steps(), "early-stopping step", "tab:green")
    axes.set_ylabel("early-stopping step")
    axes.set_ylim(0, 1.06 * float(np.nanmax(histories.early_stop_steps())))
    axes.legend(frameon=False)
    return figure


def _canvas(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(alpha=0.3)
    return figure, axes


def _over_density(
    axes: Axes, density: np.ndarray, values: np.ndarray, label: str, colour: str, dodge: float = 1.0
) -> None:
    """Draw values (trials, levels) on a logarithmic axis of densities that fall from left to right.

    ``dodge`` shifts the points a little to the left, so that the bars of two curves do not hide each other.
    """
    done = ~np.isnan(density)
    percent, values = 100 * density[done], values[:, done]
    mean = values.mean(axis=0)
    spread = np.stack([mean - values.min(axis=0), values.max(axis=0) - mean]).clip(min=0)  # rounding may make it < 0
    axes.errorbar(percent * dodge, mean, yerr=spread, color=colour, label=label, marker="o", markersize=3.5, capsize=2)
    axes.axhline(float(mean[0]), color=colour, linestyle="--", linewidth=1, label=f"{label}, dense")
    axes.set_xscale("log")
    axes.set_xlim(percent.max() * 1.08, percent.min() / 1.08)
    axes.set_xticks(_readable_ticks(percent))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.set_xlabel("weights left (%)")


def _readable_ticks(percent: np.ndarray) -> list[float]:
    """Return the densities to label, at least a tenth of the axis apart."""
    gap = np.log(percent.max() / percent.min()) / 10 if percent.min() < percent.max() else 0.0
    ticks = [float(percent[0])]
    for value in percent[1:]:
        if np.log(ticks[-1] / value) >= gap > 0:
            ticks.append(float(value))
    return ticks


def _accuracy_limits(values: np.ndarray) -> tuple[float, float]:
    """Return an axis range that shows the ends of the curves in detail, and not their beginnings."""
    ends = np.nanmax(values, axis=2)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    margin = max(2.5 * (high - low), 0.01)
    return max(0.0, low - margin), min(1.0, high + 0.1 * margin)


def _percent(density: float) -> str:
    return f"{100 * density:.3g} %"
