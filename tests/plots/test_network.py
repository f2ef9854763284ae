import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import nn

from lthprune import PruningError, neuron_states, prune
from lthprune.analysis import NeuronState
from lthprune.data import Task
from lthprune.plots.network import plot_network
from lthprune.plots.style import COLOURS
from lthprune.pruning.state import snapshot
from tests.drawn import INPUTS
from tests.nets import FORMS, net

Line = tuple[tuple[float, float], tuple[float, float]]


def dots(figure: Figure) -> list[tuple[np.ndarray, list[str]]]:
    """Of every layer where its neurons stand, from the top downwards, and their colours."""
    layers: dict[str, list[tuple[float, float, str]]] = {}
    for each in figure.axes[0].collections:
        if isinstance(each, PathCollection):
            (colour,) = map(to_hex, each.get_facecolor())
            layers.setdefault(str(each.get_label()), []).extend((x, y, colour) for x, y in each.get_offsets().tolist())
    ordered = [sorted(own, key=lambda dot: (-dot[1], dot[0])) for own in layers.values()]
    return [(np.array([dot[:2] for dot in own]), [dot[2] for dot in own]) for own in ordered]


def lines(figure: Figure) -> LineCollection:
    (found,) = (each for each in figure.axes[0].collections if isinstance(each, LineCollection))
    return found


def two_tasks(size: int = 4) -> nn.Sequential:
    """A network whose first inputs lead to its first output alone, and whose last ones lead to its last one."""
    model = nn.Sequential(nn.Linear(4, size), nn.ReLU(), nn.Linear(size, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.linspace(1, 2, parameter.numel()).view_as(parameter))
    return model


def test_neurons_are_dots_in_the_colours_of_their_states_and_weights_lines_between_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    prune(model, 0.6, scope="global")
    states, weights = neuron_states(model), snapshot(model)
    figure = plot_network(states, weights, "a title")
    places = [where for where, _ in dots(figure)]
    assert [len(where) for where in places] == [4, 6, 3]
    for (where, colours), layer in zip(dots(figure), states.layers, strict=True):
        assert sorted(colours) == sorted(COLOURS[NeuronState(state)].lower() for state in layer.structural)
        assert len(np.unique(where, axis=0)) == len(where)
        assert len(np.unique(where[:, 0])) == 1
    drawn = lines(figure)
    ends = [tuple(map(tuple, segment)) for segment in drawn.get_segments()]
    standing = {tuple(dot) for where in places for dot in where.tolist()}
    assert {end for pair in ends for end in pair} <= standing
    values = np.concatenate([weights[name].flatten() for name in ("0.weight", "2.weight")])
    values = values[values != 0]
    assert len(ends) == len(values)
    rows = {end: place for place, end in enumerate(map(tuple, places[0].tolist()))}
    outputs = {end: place for place, end in enumerate(map(tuple, places[2].tolist()))}
    read = {rows[start] for start, _ in ends if start in rows}
    assert read == set(weights["0.weight"].any(dim=0).nonzero().flatten().tolist())  # inputs are in their order
    written = {outputs[end] for _, end in ends if end in outputs}
    assert written == set(weights["2.weight"].any(dim=1).nonzero().flatten().tolist())
    widths = np.asarray(drawn.get_linewidths())
    assert len(np.unique(widths)) == len(values)
    assert figure.axes[0].get_title() == "a title"


def test_lines_are_solid_and_blue_or_dashed_and_red_by_sign_and_grey_and_dotted_without_effect() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    values = torch.diag(torch.tensor([1.0, -2.0, 3.0]))
    with torch.no_grad():
        model[0].weight.copy_(values)
        model[2].weight.copy_(torch.tensor([[1.0, 1.0, 0.0]]))
    masks = {"0.weight": torch.eye(3), "2.weight": torch.tensor([[1.0, 1.0, 0.0]])}
    figure = plot_network(neuron_states(model, masks=masks), snapshot(model))
    inputs = dots(figure)[0][0]
    looks = {}
    drawn = lines(figure)
    for segment, colour, style in zip(drawn.get_segments(), drawn.get_colors(), drawn.get_linestyles(), strict=True):
        looks[tuple(segment[0])] = (to_hex(colour), style[1] is None)
    assert [looks[tuple(place)] for place in inputs] == [("#0072b2", True), ("#a02020", False), ("#888888", False)]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[len(NeuronState) :] == ["unproductive weight", "positive weight", "negative weight"]


def test_bars_beside_inputs_and_outputs_name_the_tasks_and_few_lines_cross() -> None:
    tasks = (Task("moons", range(0, 2), range(0, 1)), Task("circles", range(2, 4), range(1, 2)))
    model = two_tasks()
    first = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
    states = neuron_states(model, masks={"0.weight": first, "2.weight": torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]])})
    figure = plot_network(states, snapshot(model), tasks=tasks)
    axes = figure.axes[0]
    named = {text.get_text(): text.get_position() for text in axes.texts}
    assert {"moons", "circles"} <= named.keys()
    bars = [np.transpose(line.get_data()) for line in axes.get_lines()]
    assert len(bars) == 4
    (inputs, _), _, (outputs, _) = dots(figure)
    for bar, place in zip((bars[0], bars[2]), (0, 2), strict=True):
        covered = (inputs[:, 1] >= bar[:, 1].min()) & (inputs[:, 1] <= bar[:, 1].max())
        assert np.flatnonzero(covered).tolist() == [place, place + 1]
    for bar, place in zip((bars[1], bars[3]), (0, 1), strict=True):
        assert bar[:, 1].min() < outputs[place, 1] < bar[:, 1].max()
        assert (bar[:, 0] > outputs[:, 0].max()).all()
    for start, end in lines(figure).get_segments():  # each task's hidden neurons stand in its own half
        assert start[1] * end[1] > 0
    assert not plot_network(states, snapshot(model)).axes[0].get_lines()


@pytest.mark.parametrize("functional", [False, True])
def test_colours_are_those_of_the_states_that_are_asked_for(functional: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-1.0, 1.0]))
    masks = {"0.weight": torch.zeros(2, 2), "2.weight": torch.ones(1, 2)}
    figure = plot_network(neuron_states(model, masks=masks), snapshot(model), functional=functional)
    first = NeuronState.UNPRODUCTIVE if functional else NeuronState.ZOMBIE
    assert sorted(dots(figure)[1][1]) == sorted([COLOURS[first].lower(), COLOURS[NeuronState.ZOMBIE].lower()])


@pytest.mark.parametrize("form", FORMS)
def test_networks_of_every_form_are_drawn_with_channels_for_images(form: str) -> None:
    model = net(form)
    prune(model, 0.5, scope="global")
    states = neuron_states(model, INPUTS)
    sizes = [len(where) for where, _ in dots(plot_network(states, snapshot(model)))]
    assert sizes[0] == (16 if form == "dense" else 1)
    assert sizes[-1] == 3


def test_a_large_layer_stands_in_several_columns_and_only_the_largest_weights_of_each_layer_are_drawn() -> None:
    model = nn.Sequential(nn.Linear(90, 60), nn.Tanh(), nn.Linear(60, 2))
    figure = plot_network(neuron_states(model), snapshot(model), "wide")
    assert [len(np.unique(where[:, 0])) for where, _ in dots(figure)] == [2, 2, 1]
    assert figure.axes[0].get_title() == "wide\n200 of 5,520 connections: the largest of each layer"
    ends = lines(figure).get_segments()
    right = max(where[:, 0].max() for where, _ in dots(figure)[1:2])
    assert len(ends) == 200
    assert sum(start[0] <= right and end[0] > right for start, end in ends) == 100


def test_neurons_without_weights_are_left_out_of_large_layers_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 60), nn.ReLU(), nn.Linear(60, 2))
    first, last = torch.zeros(60, 4), torch.zeros(2, 60)
    first[:3], last[:, :3] = 1, 1
    figure = plot_network(neuron_states(model, masks={"0.weight": first, "2.weight": last}), snapshot(model))
    assert [len(where) for where, _ in dots(figure)] == [4, 3, 2]
    assert "0\n3 of 60" in [text.get_text() for text in figure.axes[0].texts]
    small = two_tasks()
    figure = plot_network(neuron_states(small, masks={"0.weight": torch.eye(4) * 0}), snapshot(small))
    assert [len(where) for where, _ in dots(figure)] == [4, 4, 2]


def test_a_network_without_a_weight_left_is_drawn_and_one_of_too_many_neurons_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    figure = plot_network(neuron_states(model, masks={"0.weight": torch.zeros(2, 3)}), snapshot(model))
    assert len(lines(figure).get_segments()) == 0
    large = nn.Sequential(nn.Linear(1990, 11))
    with pytest.raises(PruningError, match="a network of 2,001 neurons cannot be drawn"):
        plot_network(neuron_states(large), snapshot(large))
