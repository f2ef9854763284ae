import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import nn

from lthprune import PruningError, neuron_states, prune
from lthprune.analysis import NeuronState
from lthprune.plots.network import plot_network
from lthprune.plots.style import COLOURS
from lthprune.pruning.state import snapshot
from tests.drawn import INPUTS
from tests.nets import FORMS, net

Line = tuple[tuple[float, float], tuple[float, float]]


def dots(figure: Figure) -> list[tuple[np.ndarray, list[str]]]:
    """Of every layer where its neurons stand, and their colours."""
    found = [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    return [(np.asarray(each.get_offsets()), [to_hex(colour) for colour in each.get_facecolor()]) for each in found]


def lines(figure: Figure) -> LineCollection:
    (found,) = (each for each in figure.axes[0].collections if isinstance(each, LineCollection))
    return found


def test_neurons_are_dots_in_the_colours_of_their_states_and_weights_lines_between_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    prune(model, 0.6, scope="global")
    states, weights = neuron_states(model), snapshot(model)
    figure = plot_network(states, weights, "a title")
    places = [where for where, _ in dots(figure)]
    assert [len(where) for where in places] == [4, 6, 3]
    for (where, colours), layer in zip(dots(figure), states.layers, strict=True):
        assert colours == [COLOURS[NeuronState(state)].lower() for state in layer.structural]
        assert len(np.unique(where, axis=0)) == len(where)
        assert len(np.unique(where[:, 0])) == 1
    expected = {
        (tuple(places[layer][of]), tuple(places[layer + 1][to])): float(weights[name][to, of])
        for layer, name in enumerate(("0.weight", "2.weight"))
        for to, of in weights[name].nonzero().tolist()
    }
    drawn = lines(figure)
    ends = [tuple(map(tuple, segment)) for segment in drawn.get_segments()]
    assert set(ends) == set(expected)
    for end, colour in zip(ends, drawn.get_colors(), strict=True):
        assert (colour[2] > colour[0]) == (expected[end] > 0)  # blue for positive weights, red for negative ones
    widths = np.asarray(drawn.get_linewidths())[np.argsort([abs(expected[end]) for end in ends])]
    assert (np.diff(widths) > 0).all()
    assert figure.axes[0].get_title() == "a title"


@pytest.mark.parametrize("functional", [False, True])
def test_colours_are_those_of_the_states_that_are_asked_for(functional: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-1.0, 1.0]))
    masks = {"0.weight": torch.zeros(2, 2), "2.weight": torch.ones(1, 2)}
    figure = plot_network(neuron_states(model, masks=masks), snapshot(model), functional=functional)
    first = NeuronState.UNPRODUCTIVE if functional else NeuronState.ZOMBIE
    assert dots(figure)[1][1] == [COLOURS[first].lower(), COLOURS[NeuronState.ZOMBIE].lower()]


@pytest.mark.parametrize("form", FORMS)
def test_networks_of_every_form_are_drawn_with_channels_for_images(form: str) -> None:
    model = net(form)
    prune(model, 0.5, scope="global")
    states = neuron_states(model, INPUTS)
    sizes = [len(where) for where, _ in dots(plot_network(states, snapshot(model)))]
    assert sizes[0] == (16 if form == "dense" else 1)
    assert sizes[-1] == 3


def test_a_large_layer_stands_in_several_columns_and_only_the_largest_of_many_weights_are_drawn() -> None:
    model = nn.Sequential(nn.Linear(90, 60), nn.Tanh(), nn.Linear(60, 2))
    figure = plot_network(neuron_states(model), snapshot(model), "wide")
    assert [len(np.unique(where[:, 0])) for where, _ in dots(figure)] == [2, 2, 1]
    assert figure.axes[0].get_title() == "wide\nthe 4,000 largest of 5,520 weights"
    assert len(lines(figure).get_segments()) == 4_000


def test_a_network_without_a_weight_left_is_drawn_and_one_of_too_many_neurons_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    figure = plot_network(neuron_states(model, masks={"0.weight": torch.zeros(2, 3)}), snapshot(model))
    assert len(lines(figure).get_segments()) == 0
    large = nn.Sequential(nn.Linear(1990, 11))
    with pytest.raises(PruningError, match="a network of 2,001 neurons cannot be drawn"):
        plot_network(neuron_states(large), snapshot(large))
