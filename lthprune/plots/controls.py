"""A figure of tickets beside their controls: accuracy and early stopping, level by level."""

from collections.abc import Sequence
from itertools import chain, cycle, islice

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lthprune.plots.curves import Series, label_densities
from lthprune.plots.style import FULL_WIDTH, MARKERS, QUALITATIVE, RANGE, styled


@styled
def plot_controls(series: Sequence[Series], title: str = "") -> Figure:
    """Plot test accuracy (left) and the early-stopping step (right) over the density, with a line for each series.

    Lines are means over the trials. A band shows the minimum and maximum over the trials of the first series, the
    tickets; the others are dotted.

    Args:
        series: the tickets first, then their controls, which are drawn at the tickets' densities.
        title: of the figure.
    """
    figure = Figure(figsize=(FULL_WIDTH, 3.4))
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    density = 100 * series[0].histories.density[: series[0].histories.finished]
    looks = chain([("black", "-", "")], zip(cycle(QUALITATIVE), cycle(":"), cycle(MARKERS), strict=False))
    styles = list(islice(looks, len(series)))
    for axes, name in ((left, "accuracy"), (right, "step")):
        axes.grid()
        for place, (each, (colour, line, marker)) in enumerate(zip(series, styles, strict=True)):
            histories, finished = each.histories, min(each.histories.finished, len(density))
            values = histories.at_early_stop("test_acc") if name == "accuracy" else histories.early_stop_steps()
            values = values[:, :finished]
            axes.plot(
                density[:finished],
                values.mean(axis=0),
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=3,
                linewidth=1.1 if place else 1.6,
                label=each.label if axes is left else f"_{each.label}",
                zorder=2 if place else 3,
            )
            if place == 0 and len(values) > 1:
                low, high = values.min(axis=0), values.max(axis=0)
                label = f"{RANGE} of {len(values)} trials"
                axes.fill_between(density, low, high, color="black", alpha=0.15, lw=0, label=label, zorder=1)
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
    figure.legend(handles, labels, title="means over trials", loc="outside lower center", ncols=4)
    return figure


def _mean_accuracies(series: Series) -> np.ndarray:
    means: np.ndarray = series.histories.at_early_stop("test_acc")[:, : series.histories.finished].mean(axis=0)
    return means
