"""A figure of weights: the matrices and kernels of one level as images, with histograms."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lthprune.errors import PruningError
from lthprune.plots.style import BLUE, FULL_WIDTH, counted, evenly, styled

_MOST_KERNELS = 512
_MOST_LAYERS = 8
_BINS = 40
_GAP = "#9A9A9A"  # between kernels
_SHARP = 512  # rows or columns


@styled
def plot_weights(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], title: str = "") -> Figure:
    """Plot the matrices and kernels of a network as images, each with a colour bar and a histogram.

    Each weight is a dot: blue if positive, red if negative, black if pruned. The rows of a matrix are the neurons that
    the weights lead to. A convolution's kernels stand side by side, in the order of the tensor; of more than 512, the
    first 512 are shown, and the title says so. The histogram counts the unpruned weights, of all kernels. Of more than
    eight tensors, eight are shown at even distances.

    Args:
        weights: values by plain name, such as a ticket's ``trained``.
        masks: true where a weight is unpruned, for the tensors to show: a ticket's ``masks``.
        title: of the figure.

    Raises:
        PruningError: no mask has two axes or more, or weights are not finite.
    """
    names = [name for name, mask in masks.items() if mask.ndim > 1]
    if not names or not all(bool(weights[name].isfinite().all()) for name in names):
        raise PruningError("weights can be drawn of at least one matrix or kernel, and if all of them are finite.")
    shown = [names[place] for place in evenly(len(names), _MOST_LAYERS)]
    more = f", {len(shown)} of {len(names)} layers" if len(shown) < len(names) else ""
    figure = Figure(figsize=(FULL_WIDTH, 0.4 + 1.65 * len(shown)))
    figure.suptitle(f"{title}{more} (black: pruned)")
    rows = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for name, row in zip(shown, rows, strict=True):
        _draw_layer(
            row, name.removesuffix(".weight"), weights[name].detach().cpu().float().numpy(), masks[name].cpu().numpy()
        )
    return figure


def _draw_layer(figure: SubFigure, name: str, weights: np.ndarray, mask: np.ndarray) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[3, 1])
    kept = weights[mask]
    largest = float(np.abs(kept).max(initial=0)) or 1.0
    colours = colormaps["RdBu"].with_extremes(bad="black", under=_GAP)
    values = np.where(mask, weights, np.nan)
    if weights.ndim == 2:
        image, what = values, " x ".join(map(str, weights.shape))
    else:
        image, what = _tile(values, gap=-2 * largest)
    small = max(image.shape) <= _SHARP  # larger images have several weights to a point of the figure, to be averaged
    drawn = left.imshow(
        image,
        cmap=colours,
        vmin=-largest,
        vmax=largest,
        aspect="auto" if weights.ndim == 2 else "equal",
        interpolation="nearest" if small else "antialiased",
    )
    left.set_title(f"{name}: {what}, {counted(len(kept), 'weight')} left", size=7)
    left.set_xticks([])
    left.set_yticks([])
    figure.colorbar(drawn, ax=left, pad=0.02, ticks=MaxNLocator(5), label="weight")
    _draw_histogram(right, kept, largest)


def _draw_histogram(axes: Axes, kept: np.ndarray, largest: float) -> None:
    axes.hist(kept, bins=_BINS, range=(-largest, largest), color=BLUE)
    axes.set_xlabel("weight")
    axes.set_ylabel("number")
    axes.xaxis.set_major_locator(MaxNLocator(3))


def _tile(values: np.ndarray, gap: float) -> tuple[np.ndarray, str]:
    """Return kernels (out, in, ...) side by side as one image, with gaps between them, and a description."""
    kernels = values.reshape(-1, *values.shape[2:])
    shown = kernels[:_MOST_KERNELS].reshape(min(len(kernels), _MOST_KERNELS), -1, kernels.shape[-1])
    padded = np.pad(shown, ((0, 0), (0, 1), (0, 1)), constant_values=gap)
    number, height, width = padded.shape
    columns = min(number, int(np.ceil(np.sqrt(3 * number * height / width))))
    rows = -(-number // columns)
    padded = np.pad(padded, ((0, rows * columns - number), (0, 0), (0, 0)), constant_values=gap)
    image = padded.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    size = " x ".join(map(str, kernels.shape[1:]))
    count = f"{number:,} of {len(kernels):,}" if number < len(kernels) else f"{number:,}"
    return image[:-1, :-1], f"{count} kernels of {size}"
