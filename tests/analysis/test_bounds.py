"""Dead neurons: bounds hold for every input, and show the neurons that are zero although they read an input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune import PruningError, neuron_states
from lthprune.analysis import NeuronState, dead_neurons
from lthprune.pruning import live_state, refresh
from tests.nets import anatomy
from tests.wired import FORMS, Recipe, recipes


def perceptron(*layers: tuple[list[list[float]], list[float]]) -> nn.Sequential:
    """Dense layers with these weights and biases and ReLU between them."""
    modules: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(len(weight[0]), len(weight))
        linear.weight.data, linear.bias.data = torch.tensor(weight), torch.tensor(bias)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def test_a_neuron_that_is_zero_for_every_input_is_alive_and_dead() -> None:
    model = perceptron(([[1.0]], [0.0]), ([[-1.0]], [-1.0]), ([[1.0]], [3.0]))
    states = neuron_states(model)
    assert [layer.functional.tolist() for layer in states.layers[1:]] == [[NeuronState.ALIVE]] * 3
    assert {name: dead.tolist() for name, dead in dead_neurons(model).items()} == {
        "0": [False],
        "2": [True],
        "4": [False],
    }


@pytest.mark.parametrize(
    ("weight", "bias", "dead"),
    [
        (-1.0, 0.0, True),
        (-1.0, 1e-6, False),
        (1.0, -1.0, False),
        (0.0, -1.0, True),
        (0.0, 0.0, True),
        (0.0, 1.0, False),
    ],
)
def test_a_neuron_is_dead_if_no_input_makes_its_sum_positive(weight: float, bias: float, dead: bool) -> None:
    model = perceptron(([[1.0]], [0.0]), ([[weight]], [bias]), ([[1.0]], [0.0]))
    assert dead_neurons(model)["2"].tolist() == [dead]


def test_sums_that_rounding_could_make_positive_are_not_called_dead() -> None:
    model = perceptron(([[0.0], [0.0]], [0.1, 0.2]), ([[1.0, 1.0]], [-(0.1 + 0.2)]), ([[1.0]], [0.0]))
    assert not dead_neurons(model)["2"].any()


def test_the_range_of_inputs_bounds_the_first_layer() -> None:
    model = perceptron(([[1.0, 1.0], [1.0, -1.0]], [-3.0, -0.5]), ([[1.0, 1.0]], [0.0]))
    assert dead_neurons(model)["0"].tolist() == [False, False]
    assert dead_neurons(model, input_range=(0.0, 1.0))["0"].tolist() == [True, False]
    assert dead_neurons(model, input_range=(0.0, 4.0))["0"].tolist() == [False, False]
    with pytest.raises(PruningError, match="give the lowest and the highest value"):
        dead_neurons(model, input_range=(1.0, 0.0))


def test_masks_decide_which_weights_count() -> None:
    model = perceptron(([[1.0]], [0.0]), ([[1.0]], [-1.0]), ([[1.0]], [0.0]))
    assert not dead_neurons(model)["2"].any()
    assert dead_neurons(model, masks={"2.weight": torch.zeros(1, 1)})["2"].all()


def negated(recipe: Recipe):
    """A network in which most biases are negative, and after the first layer most neurons have negative weights."""
    wired = recipe.build()
    generator = torch.Generator().manual_seed(recipe.seed)
    for name, tensor in live_state(wired.model).items():
        if name.endswith("bias") or (name.endswith("weight") and not name.startswith(("0.", "stem."))):
            negative = torch.rand(len(tensor), generator=generator) < 0.6
            tensor.data[negative] = -tensor.data[negative].abs()
    refresh(wired.model)
    return wired


@settings(max_examples=100)
@given(recipes(), st.integers(0, 1000), st.sampled_from([1.0, torch.inf]))
def test_weights_that_read_a_dead_neuron_can_be_overwritten(recipe: Recipe, seed: int, bound: float) -> None:
    wired = negated(recipe)
    dead = dead_neurons(wired.model, wired.examples, input_range=(-bound, bound))
    inputs = tuple(each.clamp(-bound, bound) for each in wired.inputs(seed))
    before = wired.outputs(inputs)
    graph = neuron_states(wired.model, wired.examples).graph
    marked = torch.zeros(graph.size, dtype=torch.bool)
    for layer in graph.layers:
        if layer.name in dead:
            marked[layer.span] = torch.from_numpy(dead[layer.name])
    generator = torch.Generator().manual_seed(seed)
    live = live_state(wired.model)
    for place in graph.places:
        if place.sources is not None:
            weight = live[place.name].data
            read = marked[place.sources].expand(weight.shape[:2])
            weight[read] = torch.randn(weight[read].shape, generator=generator).double()
    refresh(wired.model)
    torch.testing.assert_close(wired.outputs(inputs), before)


@pytest.mark.parametrize("form", FORMS)
def test_dead_neurons_are_found_in_every_kind_of_network(form: str) -> None:
    found = 0
    for seed in range(10):
        wired = negated(Recipe(form, "relu", 0.3, 0.5, seed))
        alive = {layer.name: layer.functional == NeuronState.ALIVE for layer in neuron_states(*wired[:2]).layers}
        found += sum(int((own & alive[name]).sum()) for name, own in dead_neurons(*wired[:2]).items())
    assert found


@pytest.mark.parametrize("activation", ["relu", "hardtanh"])
def test_constant_neurons_with_an_activation_of_zero_are_dead(activation: str) -> None:
    for seed in range(20):
        wired = Recipe("dense", activation, 0.2, 0.5, seed).build()
        dead = dead_neurons(wired.model)
        for layer in neuron_states(wired.model).layers[1:]:
            assert dead[layer.name][layer.constant == 0].all()


class Running(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, 1)


class Several(nn.Module):
    """Chunks, sums and an activation without bounds between ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(2, 4), nn.Linear(2, 3), nn.Linear(3, 1)
        self.first.weight.data, self.first.bias.data = torch.ones(4, 2), torch.zeros(4)
        self.second.weight.data = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        self.second.bias.data = torch.tensor([-1.0, 0.0, 0.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = F.relu(self.first(x)).chunk(2, dim=1)
        output: torch.Tensor = self.third(F.gelu(F.relu(self.second(left + right))))
        return output


def test_bounds_pass_chunks_and_sums_and_end_at_activations_that_are_not_monotone() -> None:
    model = Several()
    before = anatomy(model)
    assert not any(dead.any() for dead in dead_neurons(model).values())
    assert anatomy(model) == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "gelu", F.relu)
        assert dead_neurons(model)["second"].tolist() == [True, False, False]


def test_unsupported_operations_are_refused_as_for_the_states() -> None:
    with pytest.raises(PruningError, match="effect of cumsum"):
        dead_neurons(nn.Sequential(nn.Linear(2, 3), Running()))
    assert np.array_equal(dead_neurons(nn.Sequential(nn.Linear(2, 3)), layers=("0",))["0"], [False] * 3)


@pytest.mark.parametrize("input_range", [(0,), "ab", 3, (1.0, 0.0), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(input_range) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PruningError, match="give the lowest and the highest value"):
        dead_neurons(nn.Sequential(nn.Linear(2, 3)), input_range=input_range)


class Overwritten(nn.Module):
    """Changes zeros in place, and reads them again under the old name or under that of the result."""

    def __init__(self, name: str, alias: bool) -> None:
        super().__init__()
        self.first, self.last, self.name, self.alias = nn.Linear(1, 2), nn.Linear(2, 1), name, alias
        self.first.weight.data.fill_(-1.0)
        self.first.bias.data.fill_(-1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(self.first(x), 0.0, 1.0)
        y = getattr(x.flatten(1) if self.alias else x, self.name)(1)
        return self.last(x + y)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["add_", "sub_"])
@pytest.mark.parametrize("alias", [True, False])
def test_zeros_that_are_changed_in_place_are_not_dead(name: str, alias: bool) -> None:
    found = dead_neurons(Overwritten(name, alias), torch.zeros(1, 1), input_range=(0.0, 1.0))
    assert found["first"].tolist() == [False, False]


class Squared(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input * input, self.weight, self.bias)


def test_layers_of_classes_of_ones_own_have_no_bounds() -> None:
    model = nn.Sequential(Squared(1, 2), nn.ReLU(), nn.Linear(2, 1))
    model[0].weight.data.fill_(-1.0)
    model[0].bias.data.fill_(0.5)
    found = dead_neurons(model, torch.zeros(1, 1), layers=("0", "1", "2"), input_range=(-1.0, 1.0))
    assert found["0"].tolist() == [False, False]
