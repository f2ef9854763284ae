"""Figures of the inputs that a pruned network reads."""

from collections.abc import Sequence
from math import prod

import numpy as np
from matplotlib.figure import Figure

from lthprune.analysis import TicketStates
from lthprune.errors import PruningError

_MOST_LEVELS = 12  # as many panels as fit


def plot_inputs(levels: Sequence[TicketStates], shapes: Sequence[tuple[int, ...]], title: str = "") -> Figure:
    """Plot the number of unpruned weights at each pixel of the input, with a panel for each level.

    Of more than twelve levels, twelve are shown at even distances. Each panel has its own scale, from 0 to its maximum.

    Args:
        levels: the states at each level, of a network whose first layer is dense.
        shapes: (channels, height, width) of the image; for joined data sets, the shape of each image. The figure adds
            the channels up and shows joined images side by side.
        title: of the figure.

    Raises:
        PruningError: the network has other inputs than these, or no unpruned weight at any of them.
    """
    counts = [np.concatenate([np.empty(0), *level.fan_out.values()]) for level in levels]
    expected = sum(map(prod, shapes))
    if not counts or len(counts[0]) != expected or not counts[0].any() or any(len(shape) != 3 for shape in shapes):
        raise PruningError(
            f"there are no weights to count at the pixels of {', '.join(map(str, shapes))}: the first layer must be "
            "dense and read images (channels, height, width)."
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
    """Return the counts of flattened images as one image (height, width), with NaN beside smaller images."""
    parts = np.split(counts, np.cumsum([prod(shape) for shape in shapes])[:-1])
    images = [part.reshape(shape).sum(axis=0) for part, shape in zip(parts, shapes, strict=True)]
    height = max(len(image) for image in images)
    return np.hstack([np.pad(image, ((0, height - len(image)), (0, 0)), constant_values=np.nan) for image in images])
