"""Figures of the inputs that a pruned network reads."""

from collections.abc import Sequence
from math import prod

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from lthprune.analysis import TicketStates
from lthprune.errors import PruningError
from lthprune.plots.style import FULL_WIDTH, evenly, percent, styled

_MOST_LEVELS = 12  # as many panels as fit
_NONE = "#C0C0C0"  # pixels that no weight reads


@styled
def plot_inputs(levels: Sequence[TicketStates], shapes: Sequence[tuple[int, ...]], title: str = "") -> Figure:
    """Plot how many unpruned weights read each pixel of the input, with a panel for each level.

    All panels have one scale: the number of weights relative to the level's mean over the pixels, which the panel's
    title gives. Pixels that no weight reads are grey. Of more than twelve levels, twelve are shown at even distances.

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
    chosen = evenly(len(levels), _MOST_LEVELS)
    wide = sum(shape[2] for shape in shapes) / max(shape[1] for shape in shapes)
    columns = min(6 if wide < 1.5 else 3, len(chosen))
    rows = -(-len(chosen) // columns)
    height = 0.9 + rows * (0.35 + FULL_WIDTH / max(columns, 3) / max(wide, 1))
    figure = Figure(figsize=(FULL_WIDTH, height))
    figure.suptitle(title)
    images = [_side_by_side(counts[place] / counts[place].mean(), shapes) for place in chosen]
    highest = max(float(np.nanmax(image)) for image in images)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, place, image in zip(panels, chosen, images, strict=False):
        axes.imshow(np.where(image == 0, 1, np.nan), cmap=ListedColormap([_NONE]), interpolation="nearest")
        read = np.ma.masked_where(~(image > 0), image)
        shown = axes.imshow(read, cmap="viridis", vmin=0, vmax=highest, interpolation="nearest")
        level = levels[place]
        mean = f"{counts[place].mean():.3g}"
        axes.set_title(f"level {level.level}: {percent(level.density)}\nmean {mean}", size=7)
    bar = figure.colorbar(shown, ax=list(panels), location="bottom", shrink=0.6, aspect=40)
    bar.set_label("weights that read the pixel, relative to the level's mean (grey: none)")
    return figure


def _side_by_side(counts: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Return the counts of flattened images as one image (height, width), with NaN beside smaller images."""
    parts = np.split(counts, np.cumsum([prod(shape) for shape in shapes])[:-1])
    images = [part.reshape(shape).sum(axis=0) for part, shape in zip(parts, shapes, strict=True)]
    height = max(len(image) for image in images)
    return np.hstack([np.pad(image, ((0, height - len(image)), (0, 0)), constant_values=np.nan) for image in images])
