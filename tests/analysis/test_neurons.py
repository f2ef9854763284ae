"""Neuron states: compared with a walk over single weights and with the function that the network computes."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from lthprune import PruningError, neuron_states
from lthprune.analysis import NeuronState
from lthprune.pruning.methods import write_mask
from lthprune.pruning.state import live_state, masks_of, refresh
from tests.walk import parameter_states
from tests.wired import Wired, recipes

ALIVE, AUDIENCE, ZOMBIE, UNPRODUCTIVE, COMATOSE, PRUNED = NeuronState
seeds = st.integers(0, 1000)


def by_neuron(states, *, functional=False):
    """The state of every reported neuron by layer and place."""
    return {
        (layer.name, place): NeuronState(state)
        for layer in states.layers
        for place, state in enumerate(layer.functional if functional else layer.structural)
    }


def overwrite(wired: Wired, chosen: dict[str, np.ndarray], seed: int | None = 0) -> None:
    """Replace the chosen parameters by random ones; without a seed by zeros, as pruning does."""
    generator = torch.Generator().manual_seed(seed or 0)
    live = live_state(wired.model)
    with torch.no_grad():
        for name, where in chosen.items():
            other = 3 * torch.randn(live[name].shape, generator=generator).double() if seed is not None else 0
            live[name].copy_(torch.where(torch.from_numpy(where), other, live[name]))
    refresh(wired.model)


@settings(max_examples=200)
@given(recipes(activations=("relu", "tanh", "hardtanh")))
def test_structural_states_are_those_of_a_walk_over_single_weights(recipe):
    wired = recipe.build()
    found = by_neuron(neuron_states(wired.model, wired.examples))
    walked = wired.wiring.states()
    assert found == {node: state for node, state in walked.items() if node[0] not in ("channels", "sum")}


@given(recipes(forms=("dense", "branches"), activations=("sigmoid",)))
def test_an_activation_of_zero_that_is_not_zero_counts_as_a_bias(recipe):
    wired = recipe.build()
    walked = wired.wiring.states()
    wired.wiring.biased |= set(wired.wiring.graph) - wired.wiring.inputs - wired.wiring.outputs
    bare = {node for node, state in walked.items() if state == PRUNED}
    walked = wired.wiring.states() | dict.fromkeys(bare, PRUNED)
    found = by_neuron(neuron_states(wired.model, wired.examples))
    assert found == {node: state for node, state in walked.items() if node[0] != "sum"}


@given(recipes(forms=("dense",), activations=("relu",)))
def test_the_states_of_weights_are_those_of_a_walk(recipe):
    wired = recipe.build()
    masks = [masks_of(wired.model)[f"{layer}.weight"] for layer in (0, 2, 4, 6)]
    walked = parameter_states(wired.wiring, ("input_1", "0", "2", "4", "6"), masks)
    found = neuron_states(wired.model).parameters()
    assert [found[f"{layer}.weight"].tolist() for layer in (0, 2, 4, 6)] == walked


@settings(max_examples=100)
@given(recipes(forms=("dense",)), seeds)
def test_constant_neurons_have_the_reported_activation_for_every_input(recipe, seed):
    wired = recipe.build()
    states = neuron_states(wired.model)
    activation = wired.inputs(seed)[0]
    for layer, module in zip(states.layers[1:], (1, 3, 5, 6), strict=True):
        activation = wired.model[module - 1 if module < 6 else 6](activation)
        activation = wired.model[module](activation) if module < 6 else activation
        reads = np.isnan(layer.constant)
        assert not np.isin(layer.structural, [AUDIENCE, ZOMBIE, UNPRODUCTIVE])[reads].any()
        assert not (layer.structural == ALIVE)[~reads].any()
        expected = np.broadcast_to(layer.constant[~reads], (len(activation), (~reads).sum()))
        np.testing.assert_allclose(activation.detach().numpy()[:, ~reads], expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=100)
@given(recipes(), seeds)
def test_functional_zombies_and_audience_have_activations_other_than_zero(recipe, seed):
    wired = recipe.build()
    states = neuron_states(wired.model, wired.examples)
    constant = np.isin(states.functional, [AUDIENCE, ZOMBIE])
    assert (states.constant[constant] != 0).all()


@settings(max_examples=100)
@given(recipes(), seeds)
def test_comatose_inputs_do_not_change_outputs_and_alive_ones_do_for_some_weights(recipe, seed):
    wired = recipe.build()
    states = neuron_states(wired.model, wired.examples)
    inputs = wired.inputs(seed)
    before = wired.outputs(inputs)
    alive = [torch.from_numpy(layer.structural == ALIVE) for layer in states.layers if layer.kind == "input"]
    other = [
        torch.where(own.view(each.shape[1:]), each, torch.randn_like(each))
        for each, own in zip(inputs, alive, strict=True)
    ]
    assert torch.equal(wired.outputs(tuple(other)), before)
    if recipe.activation == "hardtanh":  # flat almost everywhere
        return
    for name, tensor in live_state(wired.model).items():  # positive weights, small enough not to saturate
        if name.endswith("weight"):
            tensor.data.uniform_(0.1, 0.3)
        elif name.endswith("bias"):
            tensor.data.zero_()
    refresh(wired.model)
    positive = [each.abs().requires_grad_() for each in inputs]
    computed = wired.model(*positive)
    total = computed.sum() if isinstance(computed, torch.Tensor) else sum(each.sum() for each in computed)
    for own, slope in zip(alive, torch.autograd.grad(total, positive, allow_unused=True), strict=True):
        touched = torch.zeros_like(own) if slope is None else (slope != 0).any(dim=0).flatten()
        if recipe.form in ("dense", "branches"):  # a kernel's corner may meet nothing but the padding
            assert torch.equal(touched, own)
        else:
            assert not (touched & ~own).any()


@settings(max_examples=100)
@given(recipes(), seeds)
def test_parameters_of_comatose_neurons_can_be_overwritten(recipe, seed):
    wired = recipe.build()
    states = neuron_states(wired.model, wired.examples)
    inputs = wired.inputs(seed)
    before = wired.outputs(inputs)
    comatose = torch.from_numpy(np.isin(states.structural, [COMATOSE, PRUNED]))
    overwrite(wired, chosen(states, lambda sources, neurons: comatose[neurons]), seed)
    torch.testing.assert_close(wired.outputs(inputs), before)


@settings(max_examples=100)
@given(recipes(), seeds)
def test_weights_from_unproductive_to_productive_neurons_can_be_overwritten(recipe, seed):
    wired = recipe.build()
    states = neuron_states(wired.model, wired.examples)
    inputs = wired.inputs(seed)
    before = wired.outputs(inputs)
    unproductive = torch.from_numpy(states.functional >= UNPRODUCTIVE)

    def free(sources, neurons):
        return unproductive[sources] & ~unproductive[neurons] if sources is not None else neurons < 0

    overwrite(wired, chosen(states, free), seed)
    torch.testing.assert_close(wired.outputs(inputs), before)


@settings(max_examples=150)
@given(recipes(), seeds, st.sampled_from([0.1, 0.5, 1.0]))
def test_any_structurally_unproductive_parameters_can_be_overwritten(recipe, seed, share):
    wired = recipe.build()
    inputs = wired.inputs(seed)
    before = wired.outputs(inputs)
    generator = np.random.default_rng(seed)
    states = neuron_states(wired.model, wired.examples).parameters()
    some = {name: (own == UNPRODUCTIVE) & (generator.random(own.shape) < share) for name, own in states.items()}
    overwrite(wired, some, seed)
    torch.testing.assert_close(wired.outputs(inputs), before)


@settings(max_examples=150)
@given(recipes(), seeds)
def test_all_functionally_unproductive_parameters_together_can_be_pruned(recipe, seed):
    wired = recipe.build()
    inputs = wired.inputs(seed)
    before = wired.outputs(inputs)
    states = neuron_states(wired.model, wired.examples).parameters(functional=True)
    overwrite(wired, {name: own == UNPRODUCTIVE for name, own in states.items()}, seed=None)
    torch.testing.assert_close(wired.outputs(inputs), before)


def test_pruning_one_functionally_unproductive_parameter_alone_can_change_the_output():
    model = chain(1.0, 1.0)
    model[2].weight_orig.data[0, 0] = -5
    refresh(model)
    inputs = torch.tensor([[0.5], [2.0]])
    assert model(inputs).flatten().tolist() == [0.5, 2.0]
    states = neuron_states(model).parameters(functional=True)
    assert (states["2.weight"][0, 0], states["2.bias"][0], states["4.weight"][0, 0]) == (UNPRODUCTIVE,) * 3
    assert neuron_states(model).parameters()["2.weight"][0, 0] == ZOMBIE
    model[2].weight_mask[0, 0] = False
    refresh(model)
    assert model(inputs).flatten().tolist() == [1.5, 3.0]
    with torch.no_grad():
        for name, own in states.items():
            live_state(model)[name].mul_(torch.from_numpy(own != UNPRODUCTIVE))
    refresh(model)
    assert model(inputs).flatten().tolist() == [0.5, 2.0]


def chosen(states, condition):
    """Return the elements of parameters whose neurons, read and own, meet a condition."""
    places = {}
    for place in states.graph.places:
        where = condition(place.sources, place.neurons)
        where = where.reshape(*where.shape, *[1] * (place.mask.ndim - where.ndim)).expand(place.mask.shape)
        places[place.name] = where.numpy()
    return places


@settings(max_examples=100)
@given(recipes(), st.sampled_from([0.5, 0.8]), seeds)
def test_structural_states_only_move_down_the_list_as_masks_shrink(recipe, kept, seed):
    wired = recipe.build()
    before = neuron_states(wired.model, wired.examples)
    generator = torch.Generator().manual_seed(seed)
    for mask in masks_of(wired.model).values():
        mask &= torch.rand(mask.shape, generator=generator) < kept
    refresh(wired.model)
    after = neuron_states(wired.model, wired.examples)
    assert (after.structural >= before.structural).all()
    for name, states in after.parameters().items():
        assert (states >= before.parameters()[name]).all(), name


@given(recipes())
def test_functional_states_are_the_structural_ones_or_further_down_the_list(recipe):
    wired = recipe.build()
    states = neuron_states(wired.model, wired.examples)
    for layer in states.layers:
        assert (layer.functional >= layer.structural).all()
        assert ((layer.functional == ALIVE) == (layer.structural == ALIVE)).all()


@given(recipes(), st.booleans())
def test_every_neuron_and_every_parameter_is_in_one_state(recipe, functional):
    wired = recipe.build()
    states = neuron_states(wired.model, wired.examples)
    parameters = states.parameters(functional=functional)
    live, masks = live_state(wired.model), masks_of(wired.model)
    assert {name: values.shape for name, values in parameters.items()} == {
        name: tensor.shape for name, tensor in live.items() if name.endswith(("weight", "bias"))
    }
    for name, counts in states.count_parameters(functional=functional).items():
        assert sum(counts.values()) == live[name].numel()
        assert counts[COMATOSE] == 0
        assert counts[PRUNED] == (int((~masks[name]).sum()) if name in masks else 0)
    for layer in states.layers:
        assert sum(states.count_neurons(functional=functional)[layer.name].values()) == len(layer.structural)


@settings(max_examples=100)
@given(recipes(forms=("dense",), activations=("relu", "tanh", "hardtanh")), seeds)
def test_frozen_neurons_get_no_gradient_and_other_constant_ones_do(recipe, seed):
    wired = recipe.build()
    states = neuron_states(wired.model)
    (wired.model(wired.inputs(seed)[0]) * torch.randn(5, 2)).sum().backward()
    for layer in states.layers[1:]:
        gradient = wired.model.get_submodule(layer.name).bias_orig.grad.numpy()
        unpruned = masks_of(wired.model)[f"{layer.name}.bias"].numpy()
        constant = ~np.isnan(layer.constant)
        reaches_output = layer.structural < COMATOSE
        assert (gradient[layer.frozen] == 0).all()
        assert (layer.frozen <= constant).all()
        assert layer.frozen[constant & ~reaches_output].all()
        if recipe.activation == "tanh":  # has a derivative everywhere
            assert ((gradient != 0) == unpruned)[constant & ~layer.frozen].all()
            assert np.array_equal(layer.frozen, constant & ~reaches_output)


def test_a_constant_neuron_without_a_path_to_an_output_is_frozen_and_one_with_an_input_is_not():
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
    masks = {"0.weight": torch.tensor([[0], [1], [0]]), "2.weight": torch.tensor([[0, 0, 1]])}
    model[0].bias.data.fill_(1)
    states = neuron_states(model, masks=masks)
    assert [NeuronState(state) for state in states.layers[1].structural] == [COMATOSE, COMATOSE, ZOMBIE]
    assert states.layers[1].constant.tolist() == pytest.approx([1, np.nan, 1], nan_ok=True)
    assert states.layers[1].frozen.tolist() == [True, False, False]


def chain(*biases: float, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A path from a zombie over one neuron to the output, and a separate path from the input to the output."""
    model = nn.Sequential(nn.Linear(1, 2), activation(), nn.Linear(2, 2), activation(), nn.Linear(2, 1))
    masks = {"0": [[0], [1]], "2": [[1, 0], [0, 1]], "4": [[1, 1]]}
    for name, mask in masks.items():
        layer = model.get_submodule(name)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        write_mask(layer, "weight", torch.tensor(mask).bool())
    model[0].bias.data[0], model[2].bias.data[0] = biases
    return model


@pytest.mark.parametrize(
    ("biases", "first", "second"),
    [
        ((2.0, 1.0), ZOMBIE, AUDIENCE),
        ((-2.0, 1.0), UNPRODUCTIVE, ZOMBIE),  # the first is frozen, and the second only has its bias
        ((2.0, -3.0), UNPRODUCTIVE, UNPRODUCTIVE),  # the first is not zero, but its only reader is
        ((0.0, 0.0), UNPRODUCTIVE, UNPRODUCTIVE),
    ],
)
def test_biases_and_activations_decide_the_functional_state(biases, first, second):
    states = neuron_states(chain(*biases))
    assert by_neuron(states)["0", 0] == ZOMBIE
    assert by_neuron(states)["2", 0] == AUDIENCE
    functional = by_neuron(states, functional=True)
    assert (functional["0", 0], functional["2", 0]) == (first, second)
    assert bool(states.layers[1].frozen[0]) == (first == UNPRODUCTIVE)


def test_a_weight_from_a_zombie_to_an_unproductive_neuron_is_unproductive():
    model = chain(2.0, -3.0)
    model[2].weight_mask[1, 0] = True  # an alive neuron reads the zombie, too
    weights = neuron_states(model).parameters(functional=True)["2.weight"]
    assert weights.tolist() == [[UNPRODUCTIVE, PRUNED], [ZOMBIE, ALIVE]]


def test_a_saturated_zombie_is_frozen_and_still_a_zombie():
    states = neuron_states(chain(5.0, 0.5, activation=nn.Hardtanh))
    assert by_neuron(states, functional=True)["0", 0] == ZOMBIE
    assert states.layers[1].frozen[0]
    assert states.layers[1].constant[0] == 1


def test_the_model_is_not_changed():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))
    write_mask(model[0], "weight", torch.rand(2, 1, 3, 3) < 0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    neuron_states(model, torch.rand(3, 1, 4, 4))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@settings(max_examples=60)
@given(recipes(), st.booleans())
def test_masks_given_as_an_argument_count_like_those_of_the_model(recipe, half):
    wired, bare = recipe.build(), recipe.build()
    masks = {name: mask.clone() for name, mask in masks_of(wired.model).items()}
    handed = dict(list(masks.items())[:: 2 if half else 1])
    for module in bare.model.modules():
        for name in ("weight", "bias"):
            place = next((f"{n}.{name}" for n, each in bare.model.named_modules() if each is module), "")
            if place in handed:
                getattr(module, f"{name}_mask").fill_(True)
    refresh(bare.model)
    expected = neuron_states(wired.model, wired.examples)
    found = neuron_states(bare.model, wired.examples, masks=handed)
    assert np.array_equal(found.structural, expected.structural)
    assert np.array_equal(found.functional, expected.functional)
    np.testing.assert_array_equal(found.constant, expected.constant)


class Accumulating(nn.Module):
    """Adds in place; ``y`` is read again under its old name."""

    def __init__(self, rebinds):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)
        self.rebinds = rebinds

    def forward(self, x):
        y = self.a(x)
        if self.rebinds:
            y = y.add_(self.b(x))
        else:
            y.add_(self.b(x))
        return self.c(torch.relu(y))


def test_a_sum_in_place_is_refused_if_the_old_name_is_read_again():
    assert neuron_states(Accumulating(rebinds=True)).count_neurons()["b"][ALIVE] == 2
    with pytest.raises(PruningError, match="overwrites a tensor"):
        neuron_states(Accumulating(rebinds=False))


def test_a_batch_norm_counts_as_a_bias_even_if_untrained():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1))
    states = neuron_states(model, masks={"0.weight": torch.tensor([[1, 1], [0, 0]])})
    assert by_neuron(states)["0", 1] == ZOMBIE
    assert by_neuron(states, functional=True)["0", 1] == UNPRODUCTIVE
    assert states.parameters()["1.bias"].tolist() == [ALIVE, ZOMBIE]


class TwiceUsed(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.last = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x):
        return self.last(F.relu(self.shared(F.relu(self.shared(x)))))


def test_a_parameter_that_is_used_twice_has_the_first_of_its_states():
    shared = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    states = neuron_states(TwiceUsed(), masks={"shared.weight": shared, "last.weight": torch.tensor([[1, 1, 0]])})
    assert list(states.count_neurons()) == ["x", "shared", "shared (shared_1)", "last"]
    first, second = states.layers[1].structural, states.layers[2].structural
    assert first.tolist() == [ALIVE, COMATOSE, ZOMBIE]
    assert second.tolist() == [ALIVE, AUDIENCE, COMATOSE]
    assert states.parameters()["shared.bias"].tolist() == [ALIVE, AUDIENCE, ZOMBIE]


def test_json_contains_the_states():
    states = neuron_states(chain(2.0, 1.0))
    read = json.loads(states.to_json())
    assert [layer["name"] for layer in read["layers"]] == ["input_1", "0", "2", "4"]
    assert read["layers"][1]["structural"] == ["zombie", "alive"]
    assert read["layers"][1]["constant"] == [2.0, None]
    assert read["parameters"]["functional"]["0.weight"]["pruned"] == 1


def test_states_have_a_short_repr():
    states = neuron_states(chain(2.0, 1.0))
    assert repr(states) == "<NetworkStates of 5 neurons: 3 alive, 1 audience, 1 zombie>"


class Undecided(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))

    def forward(self, x):
        return self.rest(self.first(x)) if x.sum() > 0 else x


class Running(nn.Module):
    def forward(self, x):
        return torch.cumsum(x, 1)


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (Undecided(), None, "torch.fx cannot trace this Undecided"),
        (nn.Sequential(nn.Linear(2, 3), Running()), None, "the effect of cumsum (at 'cumsum', on shape (1, 3))"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), None, "Pass an example of each: inputs=torch.zeros(1, channels"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), torch.zeros(1, 2, 8, 8), "fails on an example input of shape (1, 2, 8, 8)"),
        (nn.Sequential(nn.Linear(2, 2)), torch.zeros(2), "at least one sample; this is a tensor of shape (2,)"),
        (nn.Sequential(nn.Linear(2, 2)), [3], "this is an int"),
        (nn.Sequential(nn.LazyLinear(2)), torch.zeros(1, 2), "lazy layers that are not initialised"),
        (nn.Sequential(weight_norm(nn.Linear(2, 2))), None, "'0' is parametrised"),
        (nn.Linear(2, 2), None, "pass a network: nn.Sequential(layer)"),
        (nn.Linear, None, "call it and pass what it returns"),
    ],
)
def test_unsupported_models_and_inputs_are_refused_by_name(model, inputs, said):
    with pytest.raises(PruningError) as caught:
        neuron_states(model, inputs)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"masks": {"0.weigth": torch.ones(2, 2)}}, "no parameter '0.weigth'; did you mean '0.weight'"),
        ({"masks": {"0.weight": torch.ones(3, 2)}}, "has the shape (2, 2); its mask is a tensor of shape (3, 2)"),
        ({"masks": {"0.weight": [1]}}, "its mask is a list"),
        ({"masks": [torch.ones(2, 2)]}, "not a list"),
        ({"layers": "0"}, "name modules in a tuple"),
        ({"layers": ()}, "name modules in a tuple"),
    ],
)
def test_masks_and_layers_that_do_not_fit_are_refused(words, said):
    with pytest.raises(PruningError) as caught:
        neuron_states(nn.Sequential(nn.Linear(2, 2)), **words)
    assert said in str(caught.value)


def test_a_model_that_cannot_be_traced_needs_a_list_of_layers():
    states = neuron_states(Undecided(), layers=("first", "rest.0", "rest.1"))
    assert list(states.count_neurons()) == ["input_1", "first", "rest.1"]
    with pytest.raises(PruningError, match=r"no module 'rest.2'; did you mean"):
        neuron_states(Undecided(), layers=("first", "rest.2"))
