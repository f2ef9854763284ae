"""Compaction: smaller networks compute the same, and keep what cannot be removed."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lthprune import compact, neuron_states, prune
from lthprune.analysis import NeuronState
from lthprune.compaction.report import Size
from lthprune.pruning.methods import write_mask
from lthprune.pruning.state import live_state, masks_of
from tests.compaction.checked import CLOSE, check, double, joined, mask, sizes
from tests.nets import Architecture, all_bits, anatomy, batch, refused
from tests.strategies import architectures, seeds
from tests.wired import recipes


def states_of(model: nn.Module, examples) -> dict[str, list[NeuronState]]:
    """The functional states of neurons, where weights of zero count as pruned."""
    masks = {name: tensor != 0 for name, tensor in live_state(model).items() if tensor.ndim > 1}
    layers = neuron_states(model, examples, masks=masks).layers
    return {layer.name: [NeuronState(state) for state in layer.functional] for layer in layers}


@settings(max_examples=150)
@given(recipes(), st.booleans())
def test_a_compacted_network_computes_the_same_and_the_original_is_not_changed(recipe, drop_inputs):
    wired = recipe.build()
    before = anatomy(wired.model)
    compacted = compact(wired.model, wired.examples, drop_inputs=drop_inputs and recipe.form in ("dense", "branches"))
    assert anatomy(wired.model) == before
    inputs = wired.inputs(recipe.seed % 1000)
    with torch.no_grad():
        torch.testing.assert_close(joined(compacted(*inputs)), wired.outputs(inputs), **CLOSE)
    assert type(compacted.model) is type(wired.model)
    assert not masks_of(compacted.model)
    assert not compacted.model.training
    assert compacted.report.whole == ()


@settings(max_examples=60)
@given(architectures(), seeds, st.sampled_from([0.3, 0.7, 0.9, 0.97]))
def test_networks_pruned_by_magnitude_compute_the_same_in_their_own_precision(architecture: Architecture, seed, amount):
    model = architecture.build(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.uniform_(-0.5, 0.5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
    prune(model, amount, scope="layerwise", min_survivors=1)
    compacted = compact(model, torch.zeros(1, 1, 4, 4))
    inputs, _ = batch(model, seed)
    with torch.no_grad():
        bound = 0.1 if architecture.dtype == torch.bfloat16 else 1e-4
        torch.testing.assert_close(compacted(inputs), model.eval()(inputs), rtol=bound, atol=bound)
    assert {tensor.dtype for tensor in compacted.model.parameters()} == {architecture.dtype}


@given(recipes(forms=("dense",)))
def test_only_alive_neurons_remain_unless_a_layer_needs_one(recipe):
    wired = recipe.build()
    compacted = compact(wired.model, wired.examples)
    states = states_of(compacted.model, None)
    for name in ("0", "2", "4"):
        assert set(states[name]) == {NeuronState.ALIVE} or len(states[name]) == 1


@given(recipes())
def test_compacting_twice_changes_nothing(recipe):
    wired = recipe.build()
    once = compact(wired.model, wired.examples)
    again = compact(once.model, wired.examples)
    assert again.report.before == once.report.after == again.report.after


@given(architectures(("dense", "convolutional", "transposed", "normalised", "mixed")), seeds)
def test_a_network_with_only_alive_neurons_keeps_every_bit(architecture, seed):
    model = architecture.build(seed)
    compacted = compact(model, torch.zeros(1, 1, 4, 4))
    assert all_bits(compacted.model.state_dict()) == all_bits(model.state_dict())
    assert compacted.report.before == compacted.report.after


@given(recipes(), st.booleans())
def test_the_report_agrees_with_the_modules_and_with_torchs_counter(recipe, drop_inputs):
    wired = recipe.build()
    dense = copy.deepcopy(wired.model)
    drop_inputs = drop_inputs and recipe.form in ("dense", "branches")
    compacted = compact(wired.model, wired.examples, drop_inputs=drop_inputs)
    report = compacted.report
    for model, size, inputs in (
        (dense, report.before, wired.examples),
        (compacted.model, report.after, compacted.select(*wired.examples)),
    ):
        weights = [tensor for name, tensor in live_state(model).items() if tensor.ndim > 1]
        assert size.weights == sum(weight.numel() for weight in weights)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*inputs)
        assert size.flops == counter.get_total_flops()
    assert report.before.left == sum(
        int(mask.sum()) for name, mask in masks_of(wired.model).items() if "weight" in name
    )
    assert report.inputs[0] == sum(example.numel() for example in wired.examples)
    assert report.inputs[1] == sum(example.numel() for example in compacted.select(*wired.examples))
    assert [layer.name for layer in report.layers] == [
        name for name, module in dense.named_modules() if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    ]


def test_a_transposed_convolution_applies_its_weights_at_every_position_of_its_input():
    model = nn.Sequential(nn.ConvTranspose2d(1, 3, 2, stride=2))
    report = compact(model, torch.zeros(1, 1, 4, 4)).report
    assert report.before == Size(neurons=3, weights=12, left=12, flops=2 * 12 * 16)


@pytest.mark.parametrize("bias", [True, False])
def test_a_zombies_constant_is_added_to_the_biases_of_its_readers(bias):
    model = double(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2, bias=bias))
    mask(model[0], [[1, 1], [0, 0], [0, 1]])
    compacted = check(model, torch.zeros(1, 2).double())
    assert sizes(compacted) == {"0": 2, "2": 2}
    constant = torch.sigmoid(model[0].bias[1])
    expected = constant * model[2].weight[:, 1] + (model[2].bias if bias else 0)
    torch.testing.assert_close(compacted.model[2].bias, expected, **CLOSE)


def constant_channel(*after: nn.Module, out_channels: int = 2, **convolution) -> nn.Sequential:
    """A network whose second convolution reads a channel that is constantly one."""
    model = double(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, out_channels, 3, **convolution), *after)
    mask(model[0], [[1], [0], [1]])
    model[0].bias.data[1] = 1
    return model


IMAGE = torch.zeros(1, 1, 8, 8).double()


@pytest.mark.parametrize(
    ("convolution", "left"),
    [({}, 2), ({"padding": 1}, 3), ({"padding": "same"}, 3), ({"padding": "valid"}, 2), ({"dilation": 2}, 2)]
    + [({"padding": 1, "padding_mode": mode}, 2) for mode in ("reflect", "replicate", "circular")],
)
def test_a_convolution_absorbs_a_constant_channel_unless_it_pads_with_zeros(convolution, left):
    assert sizes(check(constant_channel(**convolution), IMAGE)) == {"0": left, "2": 2}


def test_a_channel_of_zeros_is_removed_with_any_padding():
    model = constant_channel(padding=1)
    model[0].bias.data[1] = -1
    assert sizes(check(model, IMAGE)) == {"0": 2, "2": 2}


def test_a_dense_layer_absorbs_a_constant_that_differs_between_positions_and_a_convolution_does_not():
    uneven = nn.ZeroPad2d(1)  # around ones
    dense = constant_channel()
    mask(dense[2], [[1, 0, 1], [0, 1, 0]])
    dense = double(*dense[:2], uneven, nn.Flatten(), nn.Linear(3 * 64, 4))
    assert sizes(check(dense, IMAGE)) == {"0": 2, "4": 4}
    convolutional = double(*constant_channel()[:2], uneven, nn.Conv2d(3, 2, 3))
    assert sizes(check(convolutional, IMAGE)) == {"0": 3, "3": 2}


def test_a_transposed_convolution_absorbs_zeros_but_no_other_constant():
    for bias, left in ((1.0, 3), (-1.0, 2)):
        model = double(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.ConvTranspose2d(3, 2, 3))
        mask(model[0], [[1], [0], [1]])
        model[0].bias.data[1] = bias
        assert sizes(check(model, IMAGE)) == {"0": left, "2": 2}


def test_a_constant_that_has_to_stay_absorbs_the_constant_before_it():
    model = double(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.Conv2d(2, 2, 1), nn.Sigmoid(), nn.Conv2d(2, 1, 3, padding=1))
    mask(model[0], [[1], [0]])
    mask(model[2], [[1, 0], [0, 1]])
    assert sizes(check(model, IMAGE)) == {"0": 1, "2": 2, "4": 1}


def test_a_constant_whose_readers_are_removed_is_removed():
    model = constant_channel(nn.ReLU(), nn.Conv2d(2, 1, 1), padding=1)
    mask(model[2], [[1, 0, 1], [0, 1, 0]])
    with torch.no_grad():
        model[2].weight_orig[1] = -1  # of the constant it makes a channel of zeros
        model[2].bias[1] = 0
    assert sizes(check(model, IMAGE)) == {"0": 2, "2": 1, "4": 1}


class Forked(nn.Module):
    """A convolution and a dense layer read channels in a frame of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.frame, self.conv = nn.Conv2d(1, 3, 3), nn.ZeroPad2d(1), nn.Conv2d(3, 2, 8)
        self.dense = nn.Linear(3 * 64, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.frame(self.stem(x).relu())
        output: Tensor = self.conv(x).flatten(1) + self.dense(x.flatten(1))
        return output


def test_a_constant_that_a_convolution_cannot_absorb_is_removed_if_only_a_dense_layer_reads_it():
    model = Forked().double().eval()
    mask(model.stem, [[1], [0], [1]])
    model.stem.bias.data[1] = 1
    assert sizes(check(model, IMAGE)) == {"stem": 3, "conv": 2, "dense": 2}
    mask(model.conv, [[1, 0, 1], [1, 0, 0]])
    assert sizes(check(model, IMAGE)) == {"stem": 2, "conv": 2, "dense": 2}


class Added(nn.Module):
    """A sum of two branches of four channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.outer(self.inner(x).relu())).relu()
        output: Tensor = self.head(x.mean((2, 3)))
        return output


def test_channels_that_are_added_are_removed_together_or_not_at_all():
    model = Added().double().eval()
    with torch.no_grad():
        model.norm.bias.copy_(torch.tensor([0.5, -1, 0.5, -1]))
    everything = [[1] * 3 for _ in range(4)]
    mask(model.stem, [[1], [0], [1], [0]])
    mask(model.outer, everything)
    one_sided = check(model, IMAGE)
    assert sizes(one_sided) == {"stem": 4, "inner": 3, "outer": 4, "head": 2}
    mask(model.outer, [*everything[:1], [0] * 3, *everything[2:]])
    both = check(model, IMAGE)
    assert sizes(both) == {"stem": 3, "inner": 3, "outer": 3, "head": 2}
    assert both.model.norm.num_features == 3


def test_a_grouped_convolution_loses_whole_groups():
    model = double(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 12, 3, groups=3), nn.ReLU(), nn.Conv2d(12, 2, 1))
    mask(model[4], [[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]])
    compacted = check(model, IMAGE)
    assert sizes(compacted) == {"0": 4, "2": 8, "4": 2}
    assert compacted.model[2].groups == 2


def test_a_depthwise_convolution_loses_channels_without_readers():
    model = double(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Conv2d(5, 5, 3, groups=5, padding=1), nn.Conv2d(5, 2, 1))
    mask(model[3], [[1, 0, 0, 1, 0], [0, 0, 0, 1, 0]])
    compacted = check(model, IMAGE)
    assert sizes(compacted) == {"0": 2, "2": 2, "3": 2}
    assert compacted.model[2].weight.shape == (2, 1, 3, 3)


def test_layers_after_a_depthwise_convolution_absorb_its_constants():
    model = constant_channel(nn.ReLU(), nn.Conv2d(3, 2, 1), out_channels=3, groups=3)
    model[2].bias.data.fill_(5)
    compacted = check(model, IMAGE)
    assert sizes(compacted) == {"0": 2, "2": 2, "4": 2}


def test_a_layer_before_a_batch_norm_without_parameters_keeps_its_size():
    model = double(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.ReLU(), nn.Linear(4, 2))
    mask(model[3], [[1, 0, 1, 1], [0, 0, 1, 1]])
    compacted = check(model, torch.zeros(1, 3).double())
    assert compacted.report.whole == ("0",)


def test_constant_outputs_stay_and_every_layer_keeps_a_neuron():
    model = double(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 2))
    for layer in (model[0], model[2]):
        write_mask(layer, "weight", torch.zeros_like(layer.weight))
    assert sizes(check(model, torch.zeros(1, 3).double())) == {"0": 1, "2": 1, "4": 2}
    write_mask(model[4], "weight", torch.zeros_like(model[4].weight))
    compacted = check(model, torch.zeros(1, 3).double(), drop_inputs=True)
    assert sizes(compacted) == {"0": 1, "2": 1, "4": 2}
    assert compacted.report.inputs == (3, 1)


def test_layers_without_a_path_to_an_output_keep_one_neuron_each():
    model = double(nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    mask(model[4], [[0, 0, 0], [0, 0, 0]])
    assert sizes(check(model, IMAGE)) == {"0": 1, "2": 1, "4": 2}


def test_weights_of_zero_count_as_pruned_and_stay_zeros_between_kept_neurons():
    model = double(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1, 0, 0, 2], [0, 0, 3, 4]]))
    compacted = check(model, torch.zeros(1, 2).double())
    assert compacted.model[2].weight.tolist() == [[1, 0, 2], [0, 3, 4]]
    assert compacted.report.after == Size(neurons=5, weights=12, left=10, flops=24)


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.again(self.again(self.first(x).relu()).relu()).relu())
        return output


def test_a_layer_that_is_called_twice_keeps_its_size():
    model = Twice().double()
    mask(model.last, [[1, 0, 0], [1, 0, 0]])
    mask(model.again, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    compacted = check(model, torch.zeros(1, 2).double())
    assert sizes(compacted) == {"first": 3, "again": 3, "last": 2}
    assert compacted.report.before.flops == 2 * (6 + 9 + 9 + 6)


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_inputs_without_readers_are_dropped_on_request(shape):
    model = double(*([nn.Flatten()] if len(shape) > 1 else []), nn.Linear(6, 2), nn.ReLU(), nn.Linear(2, 1))
    mask(model[-3], [[0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0]])
    example = torch.zeros(1, *shape).double()
    compacted = check(model, example, drop_inputs=True)
    assert [kept.tolist() for kept in compacted.kept_inputs] == [[1, 4]]
    assert compacted.model[-3].in_features == 2
    assert compacted.report.inputs == (6, 2)
    whole = check(model, example)
    assert whole.kept_inputs == (None,)
    assert whole.model[-3].in_features == 6


def test_inputs_of_a_convolution_are_not_dropped():
    model = double(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    with refused("read by 'channels of _0'", model):
        compact(model, torch.zeros(1, 2, 4, 4), drop_inputs=True)


class Paired(nn.Module):
    """An operation on neurons that is not supported."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Bilinear(3, 3, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        output: Tensor = self.pair(x, y)
        return output


def test_unsupported_models_and_missing_examples_are_refused():
    with refused("nn.Module; this is an int"):
        compact(3)
    with refused("inputs=torch.zeros"):
        compact(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with refused("effect of bilinear"):
        compact(Paired(), [torch.zeros(1, 3), torch.zeros(1, 3)])


def test_the_speedup_is_a_ratio_of_times_on_the_originals_inputs():
    model = double(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1))
    write_mask(model[0], "weight", torch.arange(64).expand(256, 64) == 3)
    compacted = compact(model, drop_inputs=True)
    assert compacted.speedup(model, torch.randn(9, 64).double(), rounds=1) > 0
