"""A figure of a network: its neurons in the colours of their states, and its unpruned weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from lthprune.analysis import Graph, Layer, NetworkStates, NeuronState
from lthprune.data import Task
from lthprune.errors import PruningError
from lthprune.plots.style import COLOURS, FULL_WIDTH, STATE_MARKERS, Look, styled

MOST_NEURONS = 2_000  # dots that fit into a figure
_MOST_LINES = 200  # more would hide each other
_TALLEST = 50  # neurons in a column; a larger layer has several columns
_BESIDE = 0.05  # the distance between these columns; layers are 1 apart
_DEAD = 2  # beside the signs 1, -1 and 0
_LINES: dict[int, tuple[str, Any, str]] = {  # colour, line style and name
    1: ("#0072B2", "solid", "positive weight"),
    -1: ("#A02020", (0, (4, 1.5)), "negative weight"),
    0: ("#888888", "solid", "sum"),
    _DEAD: ("#888888", (0, (1, 1.5)), "unproductive weight"),
}


@styled
def plot_network(
    network: NetworkStates,
    weights: Mapping[str, Tensor],
    title: str = "",
    *,
    functional: bool = False,
    tasks: Sequence[Task] = (),
) -> Figure:
    """Plot a network with its layers from left to right: a marker for each neuron, a line for each unpruned weight.

    Lines are solid and blue for positive weights, dashed and red for negative ones, and wider for larger magnitudes;
    weights that change no output are dotted and grey. A kernel is one line, with its norm for the width and the sign
    of its sum for the colour. Of more than 200 lines the largest are drawn, as many of each layer,
    and the title says so. The inputs of a
    convolution are shown as channels, not as pixels. Layers of more than 50 neurons leave out neurons without weights.
    Hidden neurons are in an order in which few lines cross.

    Args:
        network: the states and connections, of [`neuron_states`][lthprune.neuron_states].
        weights: values by plain name, such as a ticket's ``trained``.
        title: of the figure.
        functional: colour neurons by their functional states instead of the structural ones.
        tasks: of the network; bars beside their inputs and outputs name them.

    Raises:
        PruningError: there are more than 2,000 neurons to draw.
    """
    layers = layers_to_draw(network.graph)
    size = sum(len(neurons) for _, neurons in layers)
    if size > MOST_NEURONS:
        raise PruningError(
            f"a network of {size:,} neurons cannot be drawn: beyond {MOST_NEURONS:,} the dots would hide each other. "
            "plot_states shows how many neurons are in each state."
        )
    states = network.functional if functional else network.structural
    pairs, values = _edges(network.graph, layers, weights)
    places, centres = _lay_out(network.graph, layers, pairs)
    figure = Figure(figsize=(FULL_WIDTH, 4.2))
    axes = figure.add_subplot()
    axes.set_axis_off()
    largest = _largest(values, np.searchsorted([layer.neurons.start for layer, _ in layers], pairs[:, 1], "right"))
    words = f"\n{len(largest):,} of {len(values):,} connections: the largest of each layer"
    axes.set_title(title + (words if len(largest) < len(values) else ""))
    dead = np.isin(states[pairs[largest]], (NeuronState.UNPRODUCTIVE, NeuronState.COMATOSE)).any(axis=1)
    kinds = np.where(dead, _DEAD, np.sign(values[largest])).astype(int)
    _draw_lines(axes, places[pairs[largest]], values[largest], kinds)
    rows = max(min(len(neurons), _TALLEST) for _, neurons in layers)
    area = float(np.clip((150 / max(1, rows)) ** 2, 5, 40))
    for (layer, neurons), centre in zip(layers, centres, strict=True):
        _draw_neurons(axes, layer.name, places[neurons], states[neurons], area)
        number = f"{len(neurons):,} of " if len(neurons) < len(layer.neurons) else ""
        where = axes.get_xaxis_transform()  # x of the neurons, y of the axes: below all neurons
        text = f"{layer.name}\n{number}{len(layer.neurons):,}"
        axes.text(centre, -0.01, text, transform=where, ha="center", va="top")
    for task in tasks:
        _name_task(axes, network.graph, places, task)
    handles = [
        Line2D([], [], color=COLOURS[state], marker=STATE_MARKERS[state], lw=0, label=state.name.lower())
        for state in NeuronState
    ]
    for kind in sorted({*kinds.tolist()}, reverse=True):
        colour, style, label = _LINES[kind]
        handles.append(Line2D([], [], color=colour, linestyle=style, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def layers_to_draw(graph: Graph) -> list[tuple[Layer, np.ndarray]]:
    """Return the layers to draw, each with the numbers of its neurons to draw.

    They are all layers except outputs, which repeat other layers, and inputs that no weight reads. Layers of more than
    50 neurons leave out neurons without weights.
    """
    edges = [layer.pairs().numpy() for layer in graph.layers if layer.kind != "output"]
    attached = np.zeros(graph.size, dtype=bool)
    attached[np.concatenate([own.ravel() for own in edges])] = True
    read = {int(number) for layer in graph.layers if layer.edges is not None for number in layer.sources}
    shown = []
    for layer in graph.layers:
        if layer.kind != "output" and (layer.kind != "input" or not read.isdisjoint(layer.neurons)):
            neurons = np.array(layer.neurons)
            shown.append((layer, neurons if len(neurons) <= _TALLEST else neurons[attached[neurons]]))
    return shown


def _lay_out(
    graph: Graph, layers: Sequence[tuple[Layer, np.ndarray]], pairs: np.ndarray
) -> tuple[np.ndarray, list[float]]:
    """Return each neuron's position (neurons of the graph, 2), NaN if it is not drawn, and the middle of each layer.

    The neurons of a layer form a column; large layers have several columns, which are filled row by row. Inputs and
    outputs are in their own order, with the first at the top. A hidden neuron's place follows from the mean height of
    the neurons that it reads.
    """
    places = np.full((graph.size, 2), np.nan)
    outputs = {int(number) for layer in graph.layers if layer.kind == "output" for number in layer.sources}
    centres, left = [], 0.0
    for layer, neurons in layers:
        ordered = neurons
        if layer.kind != "input" and outputs.isdisjoint(layer.neurons):
            heights = np.bincount(pairs[:, 1], np.nan_to_num(places[pairs[:, 0], 1]), minlength=graph.size)
            numbers = np.bincount(pairs[:, 1], minlength=graph.size)
            means = np.where(numbers, heights / np.maximum(numbers, 1), -np.inf)  # those that read nothing are below
            ordered = neurons[np.argsort(-means[neurons], kind="stable")]
        columns = max(1, -(-len(ordered) // _TALLEST))
        rows = -(-len(ordered) // columns)
        row, column = np.divmod(np.arange(len(ordered)), columns)
        height = 0.5 + 0.5 * min(1, rows / _TALLEST) if rows > 1 else 0
        places[ordered, 0] = left + _BESIDE * column
        places[ordered, 1] = height * (0.5 - row / max(1, rows - 1))
        width = _BESIDE * (columns - 1)
        centres.append(left + width / 2)
        left += 1 + width
    return places, centres


def _edges(
    graph: Graph, layers: Sequence[tuple[Layer, np.ndarray]], weights: Mapping[str, Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the source and reader of each edge (edges, 2), and its value (edges,), zero for sums without weights."""
    pairs = [layer.pairs() for layer, _ in layers if layer.edges is None and len(layer.sources)]
    values = [torch.zeros(len(own)) for own in pairs]
    for place in graph.places:
        if place.sources is None:
            continue
        left = place.mask.reshape(*place.mask.shape[:2], -1)  # all positions of a kernel on one axis
        kernels = weights[place.name][place.rows].detach().cpu().float().view_as(left) * left
        joined = left.any(dim=2)
        of, to = (own.expand(joined.shape)[joined] for own in (place.sources, place.neurons))
        pairs.append(torch.stack([of, to], dim=1))
        values.append((kernels.norm(dim=2) * kernels.sum(dim=2).sign())[joined])
    shown = torch.zeros(graph.size, dtype=torch.bool)
    for _, neurons in layers:
        shown[torch.from_numpy(neurons)] = True
    every, value = torch.cat([torch.empty(0, 2, dtype=torch.long), *pairs]), torch.cat([torch.empty(0), *values])
    both = shown[every].all(dim=1)
    return every[both].numpy(), value[both].numpy()


def _largest(values: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """Return which values to draw, given the number of each one's layer; layers differ in scale."""
    order = np.lexsort([-np.abs(values), layers])
    first = np.searchsorted(layers[order], layers[order])  # where each one's layer begins
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values)) - first
    return np.argsort(rank, kind="stable")[:_MOST_LINES]


def _draw_lines(axes: Axes, ends: np.ndarray, values: np.ndarray, kinds: np.ndarray) -> None:
    """Draw lines (lines, 2 ends, 2), thinner and fainter if there are many."""
    strength = np.abs(values) / (np.abs(values).max(initial=0) or 1)
    room = np.clip(np.sqrt(60 / max(1, len(values))), 0.3, 1)
    looks = [_LINES[kind] for kind in kinds.tolist()]
    colours = [
        to_rgba(colour, alpha) for (colour, _, _), alpha in zip(looks, 0.35 + 0.6 * room * strength, strict=True)
    ]
    styles = [style for _, style, _ in looks]
    widths = room * (0.4 + 2 * strength)
    axes.add_collection(LineCollection(list(ends), colors=colours, linewidths=widths, linestyles=styles, zorder=1))


def _draw_neurons(axes: Axes, layer: str, places: np.ndarray, states: np.ndarray, area: float) -> None:
    for state in map(NeuronState, np.unique(states)):
        x, y = places[states == state].T
        look: Look = {
            "color": COLOURS[state],
            "marker": STATE_MARKERS[state],
            "edgecolors": "#444444",
            "linewidths": 0.2,
        }
        axes.scatter(x, y, s=area, label=f"_{layer}", zorder=2, **look)


def _name_task(axes: Axes, graph: Graph, places: np.ndarray, task: Task) -> None:
    """Draw a bar beside the inputs of a task, and one beside its outputs."""
    outputs = torch.cat([layer.sources for layer in graph.layers if layer.kind == "output"])
    sides = [(graph.numbers("input")[list(task.inputs)], -1), (outputs[list(task.outputs)], 1)]
    for numbers, side in sides:
        own = places[numbers.numpy()]
        own = own[~np.isnan(own[:, 0])]
        if len(own):
            x = (own[:, 0].max() if side > 0 else own[:, 0].min()) + 0.07 * side
            low, high = own[:, 1].min() - 0.015, own[:, 1].max() + 0.015
            axes.plot([x, x], [low, high], color="black", lw=1.5, solid_capstyle="butt")
            axes.text(x + 0.05 * side, (low + high) / 2, task.name, rotation=90, ha="center", va="center", size=7)
