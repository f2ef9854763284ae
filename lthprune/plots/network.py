"""A figure of a network: its neurons in the colours of their states, and its unpruned weights."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from lthprune.analysis import Graph, Layer, NetworkStates, NeuronState
from lthprune.errors import PruningError
from lthprune.plots.style import COLOURS, explain_states

MOST_NEURONS = 2_000  # dots that fit into a figure
_MOST_LINES = 4_000  # more would hide each other
_TALLEST = 50  # neurons in a column; a larger layer has several columns
_BESIDE = 0.06  # the distance between these columns; layers are 1 apart
_SIGNS = {1: ("#0072B2", "positive weight"), -1: ("#A02020", "negative weight"), 0: ("#888888", "sum")}


def plot_network(
    network: NetworkStates, weights: Mapping[str, Tensor], title: str = "", *, functional: bool = False
) -> Figure:
    """Plot a network with its layers from left to right: a dot for each neuron, a line for each unpruned weight.

    Lines are blue for positive and red for negative weights, and wider for larger magnitudes. A kernel is one line,
    with its norm for the width and the sign of its sum for the colour. Of more than 4,000 lines the largest are drawn,
    and the title says so. The inputs of a convolution are shown as channels, not as pixels.

    Args:
        network: the states and connections, of [`neuron_states`][lthprune.neuron_states].
        weights: values by plain name, such as a ticket's ``trained``.
        title: of the figure.
        functional: colour neurons by their functional states instead of the structural ones.

    Raises:
        PruningError: there are more than 2,000 neurons to draw.
    """
    shown = shown_layers(network.graph)
    size = sum(len(layer.neurons) for layer in shown)
    if size > MOST_NEURONS:
        raise PruningError(
            f"a network of {size:,} neurons cannot be drawn: beyond {MOST_NEURONS:,} the dots would hide each other. "
            "plot_states shows how many neurons are in each state."
        )
    places, centres = _lay_out(shown, network.graph.size)
    pairs, values = _edges(network.graph, shown, weights)
    figure = Figure(figsize=(2 + 2.1 * len(shown), 6.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    drawn = np.argsort(np.abs(values))[-_MOST_LINES:]
    axes.set_title(
        f"{title}\nthe {len(drawn):,} largest of {len(values):,} weights" if len(drawn) < len(values) else title
    )
    _draw_lines(axes, places[pairs[drawn]], values[drawn])
    states = network.functional if functional else network.structural
    for layer, centre in zip(shown, centres, strict=True):
        own = layer.span
        colours = [COLOURS[NeuronState(state)] for state in states[own]]
        x, y = places[own].T
        axes.scatter(x, y, s=np.clip(6000 / size, 12, 90), c=colours, edgecolors="#444444", linewidths=0.2, zorder=2)
        where = axes.get_xaxis_transform()  # x of the neurons, y of the axes: below all neurons
        axes.text(centre, -0.01, f"{layer.name}\n{len(layer.neurons):,}", transform=where, ha="center", va="top")
    explain_states(figure)
    signs = [Line2D([], [], color=_SIGNS[sign][0], label=_SIGNS[sign][1]) for sign in sorted({*np.sign(values)})]
    axes.legend(handles=signs, loc="upper right", bbox_to_anchor=(1, 1.08), ncols=3, frameon=False, fontsize=8)
    return figure


def shown_layers(graph: Graph) -> list[Layer]:
    """Return the layers to draw: all except outputs, which repeat other layers, and inputs that no weight reads."""
    read = {int(number) for layer in graph.layers if layer.edges is not None for number in layer.sources}
    return [
        layer
        for layer in graph.layers
        if layer.kind != "output" and (layer.kind != "input" or not read.isdisjoint(layer.neurons))
    ]


def _lay_out(layers: Sequence[Layer], size: int) -> tuple[np.ndarray, list[float]]:
    """Return each neuron's position (neurons of the graph, 2), NaN if it is not drawn, and the middle of each layer.

    The neurons of a layer form a column with the first at the top; large layers have several columns.
    """
    places = np.full((size, 2), np.nan)
    centres, left = [], 0.0
    for layer in layers:
        number = len(layer.neurons)
        columns = -(-number // _TALLEST)
        rows = -(-number // columns)
        column, row = np.divmod(np.arange(number), rows)
        height = 1 if columns > 1 else rows / _TALLEST
        own = places[layer.span]
        own[:, 0] = left + _BESIDE * column
        own[:, 1] = -height * (row - (rows - 1) / 2) / max(1, rows - 1)
        width = _BESIDE * (columns - 1)
        centres.append(left + width / 2)
        left += 1 + width
    return places, centres


def _edges(graph: Graph, layers: Sequence[Layer], weights: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Return the source and reader of each edge (edges, 2), and its value (edges,), zero for sums without weights."""
    pairs = [layer.pairs() for layer in layers if layer.edges is None and len(layer.sources)]
    values = [torch.zeros(len(own)) for own in pairs]
    for place in graph.places:
        if place.sources is None:
            continue
        left = place.mask.reshape(*place.mask.shape[:2], -1)  # all positions of a kernel on one axis
        kernels = weights[place.name].detach().cpu().float().view_as(left) * left
        joined = left.any(dim=2)
        of, to = (own.expand(joined.shape)[joined] for own in (place.sources, place.neurons))
        pairs.append(torch.stack([of, to], dim=1))
        values.append((kernels.norm(dim=2) * kernels.sum(dim=2).sign())[joined])
    shown = torch.zeros(graph.size, dtype=torch.bool)
    for layer in layers:
        shown[layer.span] = True
    every, value = torch.cat([torch.empty(0, 2, dtype=torch.long), *pairs]), torch.cat([torch.empty(0), *values])
    both = shown[every].all(dim=1)
    return every[both].numpy(), value[both].numpy()


def _draw_lines(axes: Axes, ends: np.ndarray, values: np.ndarray) -> None:
    """Draw lines (lines, 2 ends, 2), thinner and fainter if there are many."""
    strength = np.abs(values) / (np.abs(values).max(initial=0) or 1)
    room = np.clip(np.sqrt(100 / max(1, len(values))), 0.15, 1)
    colours = [
        to_rgba(_SIGNS[int(sign)][0], alpha)
        for sign, alpha in zip(np.sign(values), 0.25 + 0.6 * room * strength, strict=True)
    ]
    axes.add_collection(LineCollection(list(ends), colors=colours, linewidths=room * (0.4 + 3 * strength), zorder=1))
