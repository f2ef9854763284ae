"""Residual networks and VGGs for CIFAR: the sizes of the papers, and every part of the library on them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lthprune
from lthprune.analysis import NeuronState
from lthprune.compaction import export_ticket, load_export
from lthprune.errors import RecipeError
from lthprune.models.blueprint import build_from, describe
from lthprune.models.build import build_model, initialise
from lthprune.models.residual import PreActivationBlock, ResidualBlock
from lthprune.models.spec import ModelSpec
from lthprune.pruning.state import live_state, snapshot
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from tests.nets import all_bits
from tests.tiny import noise
from tests.twins import check_unhooked

SMALL = {
    "resnet": ModelSpec(kind="resnet", depth=8, width=4, init="kaiming_normal"),
    "wide-resnet": ModelSpec(kind="wide-resnet", depth=10, widen=1, init="kaiming_normal"),
    "vgg": ModelSpec(kind="plan", conv=("4B", "M", "6B", "G"), init="kaiming_normal"),
}
small = pytest.mark.parametrize("spec", SMALL.values(), ids=SMALL)


def built(spec: ModelSpec, image: tuple[int, ...] = (3, 32, 32), outputs: int = 10, seed: int = 0) -> nn.Module:
    return build_model(spec, image, outputs, torch.Generator().manual_seed(seed))


def sizes(model: nn.Module) -> tuple[int, int]:
    """The numbers of parameters and of weights of convolutions."""
    parameters = list(model.parameters())
    return sum(each.numel() for each in parameters), sum(each.numel() for each in parameters if each.ndim == 4)


@pytest.mark.parametrize(
    ("words", "parameters", "conv"),
    [
        ({"kind": "resnet", "depth": 20}, 272_474, 270_256),  # Frankle & Carbin (2019), figure 2: 270 thousand in conv
        ({"kind": "resnet", "depth": 32}, 466_906, 463_792),  # He et al. (2016), table 6: 0.46 million
        ({"kind": "resnet", "depth": 56}, 855_770, 850_864),  # 0.85 million
        ({"kind": "resnet", "depth": 110}, 1_730_714, 1_721_776),  # 1.7 million
        ({"kind": "wide-resnet", "depth": 16, "widen": 8}, 10_961_370, 10_949_040),  # its paper, table 4: 11.0 million
        ({"kind": "wide-resnet", "depth": 28, "widen": 10}, 36_479_194, 36_454_832),  # 36.5 million
        ({"kind": "vgg", "depth": 16}, 14_728_266, 14_710_464),  # Frankle et al. (2020), table 1: 14.7 million
        ({"kind": "vgg", "depth": 19}, 20_040_522, 20_018_880),  # Frankle & Carbin (2019), figure 2: 20.0 million
    ],
)
def test_networks_have_the_sizes_of_their_papers(words: dict[str, object], parameters: int, conv: int) -> None:
    model = built(ModelSpec.model_validate(words))
    assert sizes(model) == (parameters, conv)


def test_a_resnet_has_the_weights_for_downsampling_that_the_2019_paper_counts() -> None:
    state = live_state(built(ModelSpec(kind="resnet", depth=20)))
    shortcuts = {name: tensor.numel() for name, tensor in state.items() if name.endswith("shortcut.weight")}
    assert shortcuts == {"block4.shortcut.weight": 512, "block7.shortcut.weight": 2_048}  # 2,560 in all
    assert state["output.weight"].numel() == 640


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_a_vgg_has_as_many_layers_with_weights_as_its_name_says_less_the_two_dense_ones_that_it_lacks(
    depth: int,
) -> None:
    model = built(ModelSpec(kind="vgg", depth=depth, activation="elu"))
    assert isinstance(model, nn.Sequential)
    kinds = [type(layer) for layer in model]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.BatchNorm2d), kinds.count(nn.Linear)) == (depth - 3, depth - 3, 1)
    assert (kinds.count(nn.MaxPool2d), kinds.count(nn.AdaptiveAvgPool2d)) == (4, 1)
    assert nn.ELU in kinds
    assert nn.ReLU not in kinds


@pytest.mark.parametrize("projects", [True, False])
def test_a_residual_block_computes_the_formula_of_its_paper(projects: bool) -> None:
    block = ResidualBlock(4, 5, 6 if projects else 4, 2 if projects else 1, projects=projects).eval()
    x = torch.randn(2, 4, 8, 8)
    y = F.conv2d(x, block.conv1.weight, stride=block.stride, padding=1)
    y = F.conv2d(F.relu(block.norm1(y)), block.conv2.weight, padding=1)
    shortcut = x
    if projects:
        assert isinstance(block.shortcut, nn.Conv2d)
        shortcut = block.shortcut_norm(F.conv2d(x, block.shortcut.weight, stride=2))
    torch.testing.assert_close(block(x), F.relu(block.norm2(y) + shortcut))


@pytest.mark.parametrize("projects", [True, False])
def test_a_block_of_a_wide_network_activates_before_it_convolves(projects: bool) -> None:
    block = PreActivationBlock(4, 5, 6 if projects else 4, 2 if projects else 1, projects=projects).eval()
    x = torch.randn(2, 4, 8, 8)
    active = F.relu(block.norm1(x))
    y = F.conv2d(active, block.conv1.weight, stride=block.stride, padding=1)
    y = F.conv2d(F.relu(block.norm2(y)), block.conv2.weight, padding=1)
    shortcut = x
    if projects:
        assert isinstance(block.shortcut, nn.Conv2d)
        shortcut = F.conv2d(active, block.shortcut.weight, stride=2)
    torch.testing.assert_close(block(x), y + shortcut)


@small
def test_the_generator_alone_decides_the_weights_and_a_new_draw_reaches_every_block(spec: ModelSpec) -> None:
    model, other = (built(spec, (1, 9, 9), 3, seed) for seed in (0, 1))
    torch.rand(3)
    assert all_bits(snapshot(built(spec, (1, 9, 9), 3))) == all_bits(snapshot(model)) != all_bits(snapshot(other))
    lthprune.prune(model, 0.5)
    initialise(model, spec, torch.Generator().manual_seed(1))
    assert all_bits(live_state(model)) == all_bits(live_state(other))


def test_weights_of_blocks_have_the_spread_of_the_recipes_init() -> None:
    state = live_state(built(ModelSpec(kind="wide-resnet", depth=10, widen=4, init="kaiming_normal")))
    for name, fan_in in {"block1.shortcut": 16, "block2.conv2": 128 * 9}.items():
        assert float(state[f"{name}.weight"].detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.04)
    assert (state["block3.norm1.weight"] == 1).all()


@small
def test_images_of_any_size_and_number_of_channels_are_taken_and_vectors_refused(spec: ModelSpec) -> None:
    for image in ((1, 28, 28), (3, 7, 9)):
        assert built(spec, image, 7)(torch.zeros(2, *image)).shape == (2, 7)
    with pytest.raises(RecipeError, match="convolutions need images"):
        built(spec, (64,))


@small
def test_the_unhooked_engine_trains_them_as_the_plain_loop_does(spec: ModelSpec) -> None:
    model = built(spec, (3, 12, 12), 3)
    lthprune.prune(model, 0.5)
    check_unhooked(model, noise((3, 12, 12)))


@pytest.mark.filterwarnings("ignore:precision = :UserWarning")
@small
def test_they_train_in_sixteen_bits(spec: ModelSpec) -> None:
    words = {"precision": "bf16-anywhere", "batch_size": 8, "steps": 2}
    plan = TrainingPlan.model_validate({"optimizer": "sgd", "lr": 0.01} | words)
    (done,) = train_population([built(spec, (3, 12, 12), 3)], noise((3, 12, 12)), plan, [torch.Generator()])
    assert np.isfinite(done.history["val_loss"]).all()


@small
def test_their_neurons_have_states_and_a_smaller_network_computes_the_same_and_is_handed_over(
    spec: ModelSpec, tmp_path: object
) -> None:
    model, inputs = built(spec, (3, 12, 12), 3), torch.randn(4, 3, 12, 12)
    tickets = lthprune.imp(model, lambda model: None, levels=1, rate=0.93)
    pruned = tickets[1].apply(built(spec, (3, 12, 12), 3)).eval()
    assert (lthprune.neuron_states(pruned, inputs).structural == NeuronState.COMATOSE).any()
    for compact in (False, True):
        folder = f"{tmp_path}/{compact}"
        export = export_ticket(tickets[1], built(spec, (3, 12, 12), 3), (3, 12, 12), folder, compact=compact)
        assert (export.compacted is not None) == compact
        torch.testing.assert_close(load_export(folder)(inputs), pruned(inputs), atol=1e-5, rtol=1e-4)
    assert export.compacted is not None
    assert export.compacted.report.after.weights < export.compacted.report.before.weights


def test_a_block_is_described_with_the_biases_that_compaction_gave_it() -> None:
    block = ResidualBlock(2, 3, 4, projects=True, biases=("conv2", "shortcut"))
    (again,) = build_from(describe(nn.Sequential(block)))
    assert again.state_dict().keys() == block.state_dict().keys()
    assert block.state_dict().keys() >= {"conv2.bias", "shortcut.bias"}
