"""A figure of masked networks before training: accuracy over the density."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lthprune.plots.curves import label_densities
from lthprune.plots.style import FULL_WIDTH, MARKERS, QUALITATIVE, RANGE, styled
from lthprune.training import over_trials


@styled
def plot_untrained(density: np.ndarray, accuracies: Mapping[tuple[str, str], np.ndarray], title: str = "") -> Figure:
    """Plot test accuracies of masked networks that were not trained, with a panel for each kind of weights.

    Lines are means over the trials, bands the minimum and maximum; a line for each kind of masks.

    Args:
        density: of each level, (levels,).
        accuracies: fractions by the names of masks and weights, each (trials, levels).
        title: of the figure.
    """
    masks, weights = (list(dict.fromkeys(names)) for names in zip(*accuracies, strict=True))
    figure = Figure(figsize=(FULL_WIDTH, 2.9))
    figure.suptitle(title)
    panels = figure.subplots(1, len(weights), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, weights, strict=True):
        axes.grid()
        axes.set_title(f"{kind} weights")
        for name, colour, marker in zip(masks, QUALITATIVE, MARKERS, strict=False):
            values = 100 * accuracies[name, kind]
            label = name.replace("_", " ") if axes is panels[0] else f"_{name}"
            mean, low, high = over_trials(values)
            axes.plot(100 * density, mean, color=colour, marker=marker, markersize=3, label=label)
            if len(values) > 1:
                axes.fill_between(100 * density, low, high, color=colour, alpha=0.12, lw=0)
        label_densities(axes, 100 * density)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    panels[0].set_ylabel("test accuracy before training (%)")
    trials = len(next(iter(accuracies.values())))
    words = f"masks; means over {trials} trials, bands: {RANGE}" if trials > 1 else "masks"
    figure.legend(title=words, loc="outside lower center", ncols=len(masks))
    return figure
