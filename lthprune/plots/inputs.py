"""Figures of the inputs that a network still listens to."""

from collections.abc import Sequence
from math import prod

import numpy as np
from matplotlib.figure import Figure

from lthprune.analysis import TicketStates
from lthprune.errors import PruningError

_MOST_LEVELS = 12  # more than fit beside each other are thinned out


def plot_inputs(levels: Sequence[TicketStates], shapes: Sequence[tuple[int, ...]], title: str = "") -> Figure:
    """Plot how many unpruned weights leave every pixel of an image, a panel for each level.

    At most twelve levels are shown, evenly chosen. Every panel has a scale of its own, from none to its maximum.

    Args:
        levels: of a network whose first layer is dense.
        shapes: (channels, height, width) of the image; of several images side by side, as joined data sets have them,
            the shape of each. Channels are added up.
        title: of the figure.

    Raises:
        PruningError: the network has other inputs than these, or none of its weights leaves an input.
    """
    counts = [np.concatenate([np.empty(0), *level.fan_out.values()]) for level in levels]
    expected = sum(map(prod, shapes))
    if not counts or len(counts[0]) != expected or not counts[0].any() or any(len(shape) != 3 for shape in shapes):
        raise PruningError(
            f"there is no weight to count at each of the pixels of {', '.join(map(str, shapes))}: the first layer has "
            "to be dense, and to read images (channels, height, width)."
        )
    chosen = np.unique(np.linspace(0, len(levels) - 1, min(_MOST_LEVELS, len(levels))).round().astype(int))
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    wide = sum(shape[2] for shape in shapes) / max(shape[1] for shape in shapes)
    figure = Figure(figsize=(1 + 2 * columns * min(wide, 2.5), 0.6 + 2.1 * rows), dpi=150, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, place in zip(panels, chosen, strict=False):
        image = axes.imshow(_side_by_side(counts[place], shapes), cmap="magma", vmin=0, interpolation="nearest")
        figure.colorbar(image, ax=axes, shrink=0.8)
        axes.set_title(f"level {levels[place].level}: {levels[place].density:.2%}", fontsize="small")
    return figure


def _side_by_side(counts: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Return the counts of flattened images as one image (height, width), NaN where a smaller one leaves room."""
    parts = np.split(counts, np.cumsum([prod(shape) for shape in shapes])[:-1])
    images = [part.reshape(shape).sum(axis=0) for part, shape in zip(parts, shapes, strict=True)]
    height = max(len(image) for image in images)
    return np.hstack([np.pad(image, ((0, height - len(image)), (0, 0)), constant_values=np.nan) for image in images])
