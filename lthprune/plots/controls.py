"""A figure of runs, or of tickets and their controls: accuracy and early stopping over the density."""

from collections.abc import Sequence
from itertools import chain, cycle, islice

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lthprune.plots.curves import Series, label_densities
from lthprune.plots.style import FULL_WIDTH, MARKERS, QUALITATIVE, RANGE, styled
from lthprune.training import over_trials

_MOST_BANDS = 4  # more would hide one another


@styled
def plot_controls(series: Sequence[Series], title: str = "") -> Figure:
    """Plot test accuracy (left) and the early-stopping step (right) over the density, with a line for each series.

    Lines are means over the trials. A band shows the minimum and maximum over the trials of each solid line, and of all
    lines if there are at most four.

    Args:
        series: several runs; or tickets and their controls, dotted.
        title: of the figure.
    """
    columns = max(1, min(4, 110 // (max(len(each.label) for each in series) + 10)))  # names of runs are long
    rows = -(-len(series) // columns)
    figure = Figure(figsize=(FULL_WIDTH, 2.8 + 0.16 * rows))
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    reached = [each.histories.density[: each.histories.finished] for each in series]
    density = 100 * np.unique(np.concatenate(reached))[::-1]
    looks = chain([("black", "")], zip(cycle(QUALITATIVE), cycle(MARKERS), strict=False))
    styles = list(islice(looks, len(series)))
    for axes, name in ((left, "accuracy"), (right, "step")):
        axes.grid()
        for place, (each, (colour, marker)) in enumerate(zip(series, styles, strict=True)):
            histories, finished = each.histories, each.histories.finished
            values = histories.at_early_stop("test_acc") if name == "accuracy" else histories.early_stop_steps()
            values = values[:, :finished]
            own, (mean, low, high) = 100 * histories.density[:finished], over_trials(values)
            axes.plot(
                own,
                mean,
                color=colour,
                linestyle=each.line,
                marker=marker,
                markersize=3,
                linewidth=1.1 if place else 1.6,
                label=each.label if axes is left else f"_{each.label}",
                zorder=2 if place else 3,
            )
            if len(values) > 1 and (not each.dotted or len(series) <= _MOST_BANDS):
                axes.fill_between(own, low, high, color=colour, alpha=0.1 if each.dotted else 0.15, lw=0, zorder=1)
        label_densities(axes, density)
    lowest = [_mean_accuracies(each) for each in series]
    floor = min(lowest[0].min(), np.quantile(np.concatenate(lowest), 0.1))  # a control may fall to chance
    top = max(each.max() for each in lowest)
    margin = 0.08 * (top - floor) + 0.001
    left.set_ylim(max(0.0, floor - margin), min(1.002, top + margin))
    left.set_ylabel("test accuracy at early stopping (%)")
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))
    right.set_ylabel("early-stopping step")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    handles, labels = left.get_legend_handles_labels()
    several = any(len(each.histories.curves["val_loss"]) > 1 for each in series)
    words = f"means over trials; bands: {RANGE}" if several else None
    figure.legend(handles, labels, title=words, loc="outside lower center", ncols=columns)
    return figure


def _mean_accuracies(series: Series) -> np.ndarray:
    means = over_trials(series.histories.at_early_stop("test_acc")).mean
    return np.asarray(means[~np.isnan(means)])
