"""A figure of the steps that training needed, level by level."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lthprune.plots.style import BLUE, FULL_WIDTH, RANGE, Look, evenly, styled
from lthprune.training import Histories, over_trials

_MOST_TICKS = 13  # levels with a label


@styled
def plot_steps_needed(histories: Histories, title: str = "", *, per_epoch: int | None = None) -> Figure:
    """Plot how many steps the training of each level needed.

    Dark bars end at the early-stopping step: the step of lowest validation loss. Pale bars behind them end at the last
    step trained, which is before the end of the training if it stopped early. Both are means over the trials, with
    lines from the minimum to the maximum. The axis names each level and the percentage of weights pruned by then.

    Args:
        histories: the measurements of a run.
        title: of the figure.
        per_epoch: the number of steps in an epoch, for a second axis in epochs.
    """
    levels = np.arange(histories.finished)
    evaluated = ~np.isnan(histories.curves["val_loss"][:, levels])  # (trials, levels, evaluations)
    trained = np.where(evaluated, histories.steps, 0).max(axis=2).astype(float)
    trained[~histories.measured[:, levels]] = np.nan
    figure = Figure(figsize=(FULL_WIDTH, 2.9))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="y")
    pale: Look = {"facecolor": "white", "edgecolor": BLUE, "hatch": "////", "label": "last step trained"}
    dark: Look = {"facecolor": BLUE, "edgecolor": BLUE, "label": "early-stopping step"}
    for steps, look, shift in ((trained, pale, 0.15), (histories.early_stop_steps()[:, levels], dark, -0.15)):
        mean, low, high = over_trials(steps)
        axes.bar(levels, mean, width=0.8, lw=0.5, **look)
        if len(steps) > 1:
            spread = np.stack([mean - low, high - mean]).clip(min=0)
            axes.errorbar(levels + shift, mean, yerr=spread, fmt="none", ecolor="black", elinewidth=0.7)
    last = int(histories.steps[-1])
    axes.axhline(last, color="black", lw=0.8, label=f"last step of training ({last:,})", zorder=1)
    shown = evenly(len(levels), _MOST_TICKS)
    axes.set_xticks(shown, [f"{level}\n{100 * (1 - histories.density[level]):.3g}" for level in shown])
    axes.set_xlabel("level, and weights pruned (%)")
    axes.set_ylabel("optimiser steps")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if per_epoch is not None:
        in_epochs = (lambda steps: steps / per_epoch, lambda epochs: epochs * per_epoch)
        axes.secondary_yaxis("right", functions=in_epochs).set_ylabel("epochs")
    trials = len(trained)
    words = f"means; lines: {RANGE} of {trials} trials" if trials > 1 else None
    figure.legend(title=words, loc="outside lower center", ncols=3)
    return figure
