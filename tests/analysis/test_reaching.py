"""States of networks with products, norms, attention, recurrent layers and tokens hold for what they compute."""

import operator
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune import PruningError, neuron_states
from lthprune.analysis import NetworkStates, NeuronState, trace_graph
from tests.reaching import FORMS, TOKENS, Reaching, reaching

ALIVE, AUDIENCE, ZOMBIE, UNPRODUCTIVE, COMATOSE, PRUNED = NeuronState


def states_of(own: Reaching) -> tuple[nn.Module, NetworkStates]:
    model, masks = own.build()
    return model, neuron_states(model, own.inputs(1), masks=masks)


def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model(inputs)  # type: ignore[no-any-return]


def replace(model: nn.Module, chosen: dict[str, np.ndarray], seed: int | None) -> None:
    """Give parameters random values, or zero without a seed."""
    generator = torch.Generator().manual_seed(seed or 0)
    for name, where in chosen.items():
        tensor = model.get_parameter(name).data
        other = 3 * torch.randn(tensor.shape, generator=generator).double() if seed is not None else 0 * tensor
        tensor.copy_(torch.where(torch.from_numpy(where), other, tensor))


@settings(max_examples=120)
@given(reaching())
def test_structurally_unproductive_parameters_can_be_overwritten(own: Reaching) -> None:
    model, states = states_of(own)
    before = outputs(model, own.inputs())
    found = states.parameters()
    replace(model, {name: each == UNPRODUCTIVE for name, each in found.items()}, own.seed)
    torch.testing.assert_close(outputs(model, own.inputs()), before)


@settings(max_examples=120)
@given(reaching())
def test_all_functionally_unproductive_parameters_together_can_be_pruned(own: Reaching) -> None:
    model, states = states_of(own)
    before = outputs(model, own.inputs())
    found = states.parameters(functional=True)
    replace(model, {name: each == UNPRODUCTIVE for name, each in found.items()}, None)
    torch.testing.assert_close(outputs(model, own.inputs()), before)


@settings(max_examples=120)
@given(reaching())
def test_inputs_change_outputs_only_if_they_are_alive(own: Reaching) -> None:
    model, states = states_of(own)
    alive = torch.from_numpy(states.layers[0].functional == ALIVE).view(own.inputs(1).shape)
    inputs, others = own.inputs(), own.inputs().flip(0).roll(1)
    torch.testing.assert_close(outputs(model, torch.where(alive, inputs, others)), outputs(model, inputs))


@settings(max_examples=120)
@given(reaching())
def test_parameters_without_a_gradient_include_all_unproductive_ones_and_few_alive_ones(own: Reaching) -> None:
    model, states = states_of(own)
    for parameter in model.parameters():
        parameter.grad = None
    (model(own.inputs()) ** 2).sum().backward()
    for name, found in states.parameters().items():
        gradient = model.get_parameter(name).grad
        touched = np.zeros(found.shape, bool) if gradient is None else (gradient.abs() > 1e-12).numpy()
        assert not touched[found == UNPRODUCTIVE].any(), name


@settings(max_examples=60)
@given(reaching())
def test_states_move_down_the_list_as_masks_shrink(own: Reaching) -> None:
    model, masks = own.build()
    before = neuron_states(model, own.inputs(1), masks=masks)
    generator = torch.Generator().manual_seed(own.seed)
    fewer = {name: mask & (torch.rand(mask.shape, generator=generator) < 0.8) for name, mask in masks.items()}
    after = neuron_states(model, own.inputs(1), masks=fewer)
    for now, was in zip(after.layers, before.layers, strict=True):
        assert (now.structural >= was.structural).all(), now.name
        assert (was.functional >= was.structural).all(), was.name


@pytest.mark.parametrize("form", FORMS)
def test_a_network_with_all_its_weights_is_alive(form: str) -> None:
    own = Reaching(form, 1.0, 3)
    states = neuron_states(own.build()[0], own.inputs(1))
    assert all((layer.structural == ALIVE).all() for layer in states.layers)
    assert all(each.flatten().tolist() == [ALIVE] * each.size for each in states.parameters().values())


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value, self.last = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.gate(x).relu() * self.value(x))  # type: ignore[no-any-return]


def test_a_product_is_zero_if_one_factor_is_and_constant_if_both_are() -> None:
    model = Gated()
    model.gate.bias.data = torch.tensor([1.0, 0.0, 1.0])
    masks = {
        "gate.weight": torch.tensor([[0, 0], [0, 0], [0, 0]]),
        "gate.bias": torch.tensor([1, 0, 1]),
        "value.weight": torch.tensor([[1, 1], [1, 1], [0, 0]]),
    }
    states = {layer.name: layer.structural.tolist() for layer in neuron_states(model, masks=masks).layers}
    assert states["gate"] == [ZOMBIE, UNPRODUCTIVE, ZOMBIE]
    assert states["value"] == [ALIVE, UNPRODUCTIVE, ZOMBIE]


def test_a_factor_that_is_zero_by_its_bias_makes_the_other_functionally_unproductive() -> None:
    model = Gated()
    model.gate.bias.data = torch.tensor([1.0, -1.0, 1.0])
    states = neuron_states(model, masks={"gate.weight": torch.zeros(3, 2)})
    value = {layer.name: layer for layer in states.layers}["value"]
    assert value.structural.tolist() == [ALIVE] * 3
    assert value.functional.tolist() == [ALIVE, UNPRODUCTIVE, ALIVE]


def test_a_constant_before_a_layer_norm_depends_on_the_input_after_it() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    states = neuron_states(model, masks={"0.weight": torch.tensor([[1, 1], [0, 0], [0, 0]])})
    assert states.layers[1].structural.tolist() == [ALIVE, ZOMBIE, ZOMBIE]
    assert states.parameters()["2.weight"].tolist() == [[ALIVE] * 3]
    assert states.parameters()["1.bias"].tolist() == [ALIVE] * 3
    nothing = neuron_states(model, masks={"0.weight": torch.tensor([[1, 1], [0, 0], [0, 0]]), "0.bias": torch.zeros(3)})
    assert nothing.layers[1].structural.tolist() == [ALIVE, UNPRODUCTIVE, UNPRODUCTIVE]


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(4, 2, bias=False, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.attention(x, x, x, need_weights=False)[0])  # type: ignore[no-any-return]


def test_queries_and_keys_of_a_head_without_values_are_unproductive() -> None:
    mask = torch.ones(12, 4)
    mask[8:10] = 0  # the values of the first head
    states = neuron_states(SelfAttention(), torch.zeros(1, 3, 4), masks={"attention.in_proj_weight": mask})
    layers = {layer.name: layer.structural.tolist() for layer in states.layers}
    queries, keys, values = (f"attention.in_proj_weight[{rows}]" for rows in ("0:4", "4:8", "8:12"))
    assert layers[queries] == layers[keys] == [UNPRODUCTIVE, UNPRODUCTIVE, ALIVE, ALIVE]
    assert layers[values] == [UNPRODUCTIVE, UNPRODUCTIVE, ALIVE, ALIVE]
    weights = states.parameters()["attention.in_proj_weight"]
    assert (weights[:2] == UNPRODUCTIVE).all()
    assert (weights[8:10] == PRUNED).all()
    assert (weights[10:] == ALIVE).all()


def test_a_hidden_unit_matters_through_the_units_that_read_it() -> None:
    model = nn.Sequential(nn.RNN(2, 3, batch_first=True), Last(), nn.Linear(3, 1))
    masks = {
        "0.weight_ih_l0": torch.tensor([[1, 1], [0, 0], [0, 0]]),
        "0.weight_hh_l0": torch.tensor([[0, 0, 0], [1, 0, 0], [0, 0, 0]]),
        "2.weight": torch.tensor([[0, 1, 0]]),
    }
    states = neuron_states(model, torch.zeros(1, 4, 2), masks=masks)
    assert states.layers[1].structural.tolist() == [ALIVE, ALIVE, COMATOSE]
    weights = states.parameters()
    assert weights["0.weight_ih_l0"][0].tolist() == [ALIVE, ALIVE]
    assert weights["0.weight_hh_l0"][1].tolist() == [ALIVE, PRUNED, PRUNED]


def test_a_hidden_unit_that_gets_a_gradient_is_not_frozen() -> None:
    model = nn.Sequential(nn.RNN(1, 2, batch_first=True), Last(), nn.Linear(2, 1))
    for parameter in model.parameters():
        parameter.data.zero_()
    model.get_parameter("0.bias_ih_l0").data[0] = model.get_parameter("2.weight").data[0, 0] = 1
    masks = {name: parameter != 0 for name, parameter in model.named_parameters()}
    units = neuron_states(model, torch.zeros(1, 5, 1), masks=masks).layers[1]
    assert units.structural.tolist() == [ZOMBIE, COMATOSE]
    assert units.frozen.tolist() == [False, True]
    model(torch.zeros(1, 5, 1)).sum().backward()
    gradient = model.get_parameter("0.bias_ih_l0").grad
    assert gradient is not None
    assert (gradient != 0).tolist() == [True, False]


class Last(nn.Module):
    def forward(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        return outputs[0][:, -1]


class OverTime(nn.Module):
    """A module whose first axis is time; the network's inputs are (batch, steps, features) or (steps, ...)."""

    def __init__(self, module: nn.Module, swaps: bool) -> None:
        super().__init__()
        self.module, self.swaps = module, swaps
        self.after, self.last = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1) if self.swaps else x
        x = self.module(x)[0] if isinstance(self.module, nn.RNNBase) else self.module(x, x, x)[0]
        x = x.transpose(0, 1) if self.swaps else x
        return self.last(self.after(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("module", [nn.RNN(4, 4), nn.LSTM(4, 4), nn.MultiheadAttention(4, 2)])
def test_a_module_whose_first_axis_is_time_is_refused_if_inputs_are_cut_to_one_step(module: nn.Module) -> None:
    with pytest.raises(PruningError, match=r"has its steps on the first axis of a tensor of shape .* sees only one"):
        neuron_states(OverTime(module, swaps=False), torch.zeros(5, 1, 4))
    states = neuron_states(OverTime(module, swaps=True), torch.zeros(1, 5, 4))
    assert all((each == ALIVE).all() for each in states.parameters().values())


def test_attention_without_a_batch_is_refused() -> None:
    model = OverTime(nn.MultiheadAttention(4, 2, batch_first=True), swaps=False)
    with pytest.raises(PruningError, match=r"MultiheadAttention has its steps on the first axis .* shape \(1, 4\)"):
        neuron_states(model, torch.zeros(5, 4))


def test_a_recurrent_layer_without_a_batch_is_refused() -> None:
    with pytest.raises(PruningError, match=r"effect of RNN 'module' \(at 'module', on shape \(4, 4\)\)"):
        neuron_states(nn.Sequential(OrderedDict(flat=nn.Flatten(0, 1), module=nn.RNN(4, 4))), torch.zeros(1, 4, 4))


def test_an_embeddings_dimension_without_entries_is_unproductive() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    mask = torch.ones(5, 3)
    mask[:, 1] = 0
    states = neuron_states(model, torch.zeros(1, 4, dtype=torch.long), masks={"0.weight": mask})
    assert states.layers[1].kind == "embedding"
    assert states.layers[1].structural.tolist() == [ALIVE, UNPRODUCTIVE, ALIVE]
    assert states.layers[0].structural.tolist() == [ALIVE] * 4


def test_an_embedding_whose_dimensions_depend_on_each_other_is_refused() -> None:
    model = nn.Sequential(nn.Embedding(3, 2, max_norm=1.0), nn.Linear(2, 1))
    with pytest.raises(PruningError, match="does not support an embedding with max_norm"):
        neuron_states(model, torch.zeros(1, 1, dtype=torch.long))


def test_tied_weights_have_the_first_of_their_states_under_one_name() -> None:
    own = Reaching("same weights", 1.0, 0)
    model, _ = own.build()
    states = neuron_states(
        model, own.inputs(1), masks={"outer.weight": torch.zeros(4, 6), "outer.bias": torch.zeros(4)}
    )
    assert "decode.weight" not in states.parameters()
    layers = {layer.name: layer.structural.tolist() for layer in states.layers}
    assert layers["embed"] == [COMATOSE] * 4
    assert (states.parameters()["embed.weight"] == UNPRODUCTIVE).all()


class Computed(nn.Module):
    """Reads the encoder's weights directly, and in a second way through some code."""

    def __init__(self, code: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.code = code
        self.encoder, self.middle = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.middle(self.encoder(x)), self.code(self.encoder.weight))


@pytest.mark.parametrize(
    "code",
    [
        lambda weight: 0.5 * weight.t(),
        lambda weight: weight.detach().t(),
        lambda weight: weight.data.t() + 1,
        lambda weight: torch.cat([weight[:, :1], weight[:, 1:]], dim=1).t(),
    ],
    ids=["product", "detached", "data", "parts"],
)
def test_a_parameter_that_code_computes_with_has_no_state(code: Callable[[Tensor], Tensor]) -> None:
    model = Computed(code)
    masks = {"middle.weight": torch.tensor([[0, 1], [0, 1]])}
    for parameter in model.parameters():
        parameter.requires_grad = False
    states = neuron_states(model, masks=masks)
    assert {layer.name: layer.structural.tolist() for layer in states.layers}["encoder"] == [COMATOSE, ALIVE]
    assert set(states.parameters()) == {"encoder.bias", "middle.weight", "middle.bias"}
    tied = neuron_states(Computed(lambda weight: weight.t()), masks=masks)
    assert (tied.parameters()["encoder.weight"] == ALIVE).all()


class Partly(nn.Module):
    """Reads only some rows of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.last = nn.Linear(3, 4, bias=False), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.linear(x, self.encoder.weight[1:3]))  # type: ignore[no-any-return]


def test_rows_that_no_layer_reads_are_unproductive_unless_pruned() -> None:
    mask = torch.ones(4, 3)
    mask[0, 1] = mask[1, 1] = 0
    found = neuron_states(Partly(), torch.zeros(1, 3), masks={"encoder.weight": mask}).parameters()
    assert found["encoder.weight"].tolist() == [
        [UNPRODUCTIVE, PRUNED, UNPRODUCTIVE],
        [ALIVE, PRUNED, ALIVE],
        [ALIVE] * 3,
        [UNPRODUCTIVE] * 3,
    ]


class Gain(nn.Linear):
    """A dense layer whose scale is a mean of its own weights, computed in the module that calls it."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * self.weight.mean()


def test_a_parameter_whose_mean_scales_neurons_has_no_state_however_modules_are_run() -> None:
    model = nn.Sequential(Gain(2, 3), nn.ReLU(), nn.Linear(3, 1))
    for layers in (None, ("0", "1", "2")):
        assert set(neuron_states(model, layers=layers).parameters()) == {"0.bias", "2.weight", "2.bias"}


PADDED: dict[str, Callable[[], nn.Module]] = {
    "circular": lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    "reflect": lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
    "replicate": lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"),
    "ZeroPad2d": lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 3, 3)),
    "ReflectionPad2d": lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(2, 3, 3)),
    "F.pad": lambda: nn.Sequential(Padding(), nn.Conv2d(2, 3, 3)),
}


class Padding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (1, 1, 1, 1), value=2.0)


@pytest.mark.parametrize("first", PADDED)
def test_padding_of_the_input_keeps_its_channels_apart(first: str) -> None:
    model = nn.Sequential(OrderedDict(first=PADDED[first](), relu=nn.ReLU(), last=nn.Conv2d(3, 2, 1)))
    name = next(name for name, parameter in model.named_parameters() if parameter.ndim == 4)
    mask = torch.ones(3, 2, 3, 3)
    mask[:, 1] = mask[2] = 0
    states = neuron_states(model, torch.zeros(1, 2, 5, 5), masks={name: mask})
    assert states.layers[0].structural.reshape(2, 25).tolist() == [[ALIVE] * 25, [COMATOSE] * 25]
    assert states.layers[1].structural.tolist() == [ALIVE, ALIVE, ZOMBIE]
    assert states.parameters()[name][2].tolist() == [[[PRUNED] * 3] * 3] * 2


class Between(nn.Module):
    """Dense layers before and after some code, and a second one beside the first."""

    def __init__(self, code: Callable[[Any, Tensor], Tensor], features: int = 4) -> None:
        super().__init__()
        self.code = code
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(features, 2)
        self.drop, self.same, self.table = nn.Dropout(), nn.Identity(), nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.code(self, x))  # type: ignore[no-any-return]


def test_tensors_that_are_moved_can_be_keywords() -> None:
    model = Between(lambda own, x: torch.flatten(input=own.first(x), start_dim=1))
    states = neuron_states(model, masks={"last.weight": torch.tensor([[1, 0, 1, 1]] * 2)})
    assert states.layers[1].structural.tolist() == [ALIVE, COMATOSE, ALIVE, ALIVE]


def in_place(name: str, alias: str = "") -> Callable[[Any, Tensor], Tensor]:
    """Return code that changes the first layer's output in place by the second's, and reads what it changed again."""

    def code(own: Any, x: Tensor) -> Tensor:
        y = own.first(x)
        z = getattr(own, alias)(y) if alias in ("drop", "same") else getattr(y, alias)() if alias else y
        own, change = own.second(x), getattr(operator, name, None)
        _ = getattr(z, name)(own) if change is None else change(z, own)
        return y  # type: ignore[no-any-return]

    return code


@pytest.mark.parametrize("name", ["add_", "sub_", "mul_", "div_", "iadd", "imul"])
@pytest.mark.parametrize("alias", ["", "drop", "same", "contiguous", "detach"])
def test_a_tensor_that_is_overwritten_and_read_again_is_refused_under_any_name(name: str, alias: str) -> None:
    with pytest.raises(PruningError, match=r"overwrites a tensor .* that is read again"):
        neuron_states(Between(in_place(name, alias)), torch.zeros(1, 4))


def shrunk(own: Any, x: Tensor) -> Tensor:
    y = own.first(x).relu()
    y *= 0.5
    y = own.same(F.hardtanh(y))
    y.flatten(1).mul_(2)
    size = y.size(1)
    y /= size
    y += own.second(x)
    return y.view(-1, size)  # type: ignore[no-any-return]


def test_constants_and_sums_that_nothing_else_reads_can_be_applied_in_place() -> None:
    states = neuron_states(Between(shrunk), masks={"last.weight": torch.tensor([[1, 0, 1, 1]] * 2)})
    assert [layer.structural.tolist() for layer in states.layers[1:3]] == [[ALIVE, COMATOSE, ALIVE, ALIVE]] * 2


@pytest.mark.parametrize(
    "code",
    [
        lambda own, x: torch.matmul(own.first(x)[:, :, None], other=own.second(x)[:, None])[:, 0],
        lambda own, x: torch.matmul(other=own.second(x)[:, None], input=own.first(x)[:, :, None])[:, 0],
        lambda own, x: torch.bmm(own.first(x)[:, :, None], mat2=own.second(x)[:, None])[:, 0],
        lambda own, x: torch.einsum("bi,bj->bij", [own.first(x), own.second(x)])[:, 0],
    ],
)
def test_factors_can_be_keywords(code: Callable[[Any, Tensor], Tensor]) -> None:
    states = neuron_states(Between(code), torch.zeros(1, 4), masks={"last.weight": torch.tensor([[1, 0, 1, 1]] * 2)})
    layers = {layer.name: layer.structural.tolist() for layer in states.layers}
    assert layers["first"] == [ALIVE, COMATOSE, COMATOSE, COMATOSE]
    assert layers["second"] == [ALIVE, COMATOSE, ALIVE, ALIVE]


@pytest.mark.parametrize(
    "code",
    [
        lambda own, x: torch.einsum("bi,bi,ij->bj", own.first(x), own.second(x), own.last.weight.t()),
        lambda own, x: torch.einsum("bi,bi,bi->bi", own.first(x), own.second(x), own.second(x)),
        lambda own, x: torch.einsum(own.first(x), [0, 1], own.second(x), [0, 1], [0, 1]),
        lambda own, x: torch.matmul(own.table.t(), own.first(x)[:, :, None])[..., 0],
    ],
)
def test_products_of_other_than_two_tensors_of_neurons_are_refused(code: Callable[[Any, Tensor], Tensor]) -> None:
    with pytest.raises(PruningError, match=r"effect of (einsum|matmul) \(at"):
        neuron_states(Between(code), torch.zeros(1, 4))


@pytest.mark.parametrize(
    "code",
    [
        lambda own, x: own.first(x) * own.first(x).mean(1, keepdim=True).expand_as(own.second(x)),
        lambda own, x: own.first(x).unflatten(1, (2, 2)).view_as(own.second(x)),
        lambda own, x: own.first(x).unflatten(1, (2, 2)).reshape_as(other=own.second(x)),
        lambda own, x: own.first(x) + own.first.bias.expand_as(own.second(x)),
    ],
)
def test_the_tensor_whose_shape_another_takes_does_not_matter(code: Callable[[Any, Tensor], Tensor]) -> None:
    states = neuron_states(Between(code), torch.zeros(1, 4))
    layers = {layer.name: layer.structural.tolist() for layer in states.layers}
    assert layers["first"] == [ALIVE] * 4
    assert layers["second"] == [COMATOSE] * 4


@pytest.mark.parametrize(
    "code",
    [
        lambda own, x: own.first(x) @ own.table,
        lambda own, x: torch.matmul(own.first(x), other=own.table),
        lambda own, x: own.first(x).matmul(own.table),
    ],
)
def test_a_product_with_a_parameter_is_a_dense_layer(code: Callable[[Any, Tensor], Tensor]) -> None:
    mask = torch.ones(4, 3)
    mask[1] = mask[0, 0] = 0
    states = neuron_states(Between(code, features=3), torch.zeros(1, 4), masks={"table": mask})
    assert states.layers[1].structural.tolist() == [ALIVE, COMATOSE, ALIVE, ALIVE]
    assert states.layers[2].kind == "dense"
    table = [[PRUNED, ALIVE, ALIVE], [PRUNED] * 3, [ALIVE] * 3, [ALIVE] * 3]
    assert states.parameters()["table"].tolist() == table


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (lambda own, x: own.table[x.to(torch.long)].sum(2), "getitem"),
        (lambda own, x: own.first(x)[:, x[0].to(torch.long)], "getitem"),
        (lambda own, x: F.layer_norm(own.first(x), (4,), weight=own.second(x)[0]), "layer_norm"),
        (lambda own, x: F.layer_norm(own.first(x), (4,), own.second(x)[0], own.first.bias), "layer_norm"),
        (lambda own, x: F.linear(x, own.first.weight, own.first(x)[0]), "linear"),
        (lambda own, x: F.linear(input=own.first.weight, weight=own.second(x)), "linear"),
    ],
    ids=["table", "index", "scale", "scale by position", "bias", "weight"],
)
def test_neurons_in_place_of_weights_or_indices_are_refused(code: Callable[[Any, Tensor], Tensor], name: str) -> None:
    with pytest.raises(PruningError, match=rf"of {name} \(at"):
        neuron_states(Between(code), torch.zeros(1, 4))


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1) + torch.fft.fft(torch.cumsum(x, 1)).real.sort(dim=1).values


def test_one_message_names_everything_that_is_not_supported() -> None:
    model = nn.Sequential(nn.Linear(2, 3), Unknown(), nn.GLU(), nn.Linear(1, 1))
    with pytest.raises(PruningError) as caught:
        neuron_states(model)
    for named in ("cumsum (at 'cumsum', on shape (1, 3), and 1 more)", "fft_fft (at", "Tensor.sort (at"):
        assert named in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_tokens_stay_integers_and_the_graph_is_the_same_for_every_example(form: str) -> None:
    own = Reaching(form, 0.4, 5)
    model, masks = own.build()
    first, second = (trace_graph(model, own.inputs(2)[place:], masks=masks) for place in (0, 1))
    assert [(layer.name, layer.neurons) for layer in first.layers] == [
        (layer.name, layer.neurons) for layer in second.layers
    ]
    assert (own.inputs().dtype == torch.long) == (form in TOKENS)
