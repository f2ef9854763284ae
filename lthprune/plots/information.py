"""A figure of mutual information: the information plane, and pairs of layers over the levels."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lthprune.analysis import INPUT, LABELS, LevelInformation
from lthprune.plots.style import FULL_WIDTH, GREY, MARKERS, QUALITATIVE, RANGE, counted, evenly, percent, shades, styled

_ESTIMATES = {"mine": "MINE", "neighbours": "nearest neighbours"}
_MOST_TICKS = 9


@styled
def plot_information(found: Sequence[LevelInformation], title: str = "") -> Figure:
    """Plot the mutual information of layers, in nats, by MINE (left) and by nearest neighbours (right).

    The upper panels are the information plane: for each layer the information about the inputs and about the labels,
    from the first level (dark) to the last (light). The lower panels show all other pairs, level by level. All are
    means over the trials, with thin lines from their minimum to their maximum.

    Args:
        found: the estimates at some levels, or at some steps of their training, such as ``run.information()`` returns.
            Where a pair was not estimated, its line has a gap.
        title: of the figure.
    """
    pairs = list(dict.fromkeys(pair for own in found for pair in own.pairs))
    layers = list(dict.fromkeys(name for pair in pairs for name in pair if name not in (INPUT, LABELS)))
    planes = [layer for layer in layers if {(INPUT, layer), (layer, LABELS)} <= set(pairs)]
    others = [pair for pair in pairs if not set(pair) & {INPUT, LABELS}] or pairs
    figure = Figure(figsize=(FULL_WIDTH, 5.6 if planes else 3.2))
    figure.suptitle(title)
    panels = figure.subplots(1 + bool(planes), 2, squeeze=False)
    for column, (name, words) in enumerate(_ESTIMATES.items()):
        if planes:
            _draw_plane(panels[0, column], found, planes, name)
        _draw_pairs(panels[-1, column], found, others, name)
        panels[0, column].set_title(words)
    panels[-1, 0].legend()
    if planes:
        panels[0, 0].legend(title="dark: first, light: last")
    trials = len(next(iter(found[0].pairs.values())))
    if trials > 1:
        figure.supxlabel(f"means over {counted(trials, 'trial')}; thin lines: {RANGE}", fontsize=7)
    return figure


def _draw_plane(axes: Axes, found: Sequence[LevelInformation], layers: Sequence[str], estimate: str) -> None:
    colours = shades(len(found))
    for layer, marker in zip(layers, cycle(MARKERS), strict=False):
        x, y = (_spread(found, pair, estimate) for pair in ((INPUT, layer), (layer, LABELS)))
        axes.plot(x[0], y[0], color=GREY, lw=0.6, zorder=1)
        axes.hlines(y[0], x[1], x[2], colors=colours, lw=0.6, zorder=1)
        axes.vlines(x[0], y[1], y[2], colors=colours, lw=0.6, zorder=1)
        axes.scatter(x[0], y[0], c=colours, marker=marker, s=18, zorder=2)
        axes.plot([], [], color=GREY, marker=marker, lw=0, label=layer)
    axes.set_xlabel("with the inputs (nats)")
    axes.set_ylabel("with the labels (nats)")
    axes.grid()


def _draw_pairs(axes: Axes, found: Sequence[LevelInformation], pairs: Sequence[tuple[str, str]], estimate: str) -> None:
    for pair, colour, marker in zip(pairs, cycle(QUALITATIVE), cycle(MARKERS), strict=False):
        mean, low, high = _spread(found, pair, estimate)
        axes.plot(mean, color=colour, marker=marker, label=" and ".join(pair))
        axes.vlines(range(len(found)), low, high, color=colour, lw=0.6)
    shown = evenly(len(found), _MOST_TICKS)
    axes.set_xticks(shown, [_place(found[place]) for place in shown])
    axes.set_xlabel("density" if all(own.step is None for own in found) else "step, or density after the training")
    axes.set_ylabel("mutual information (nats)")
    axes.grid()


def _place(own: LevelInformation) -> str:
    return percent(own.density).replace(" ", "") if own.step is None else f"{own.step:,}"


def _spread(found: Sequence[LevelInformation], pair: tuple[str, str], estimate: str) -> np.ndarray:
    """Return mean, minimum and maximum over the trials, (3, places); NaN where the pair was not estimated."""
    values = [own.nats(pair, estimate) if pair in own.pairs else np.array([np.nan]) for own in found]
    return np.array([[own.mean(), own.min(), own.max()] for own in values]).T
