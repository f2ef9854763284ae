from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthprune.data.loading import shape_of_data
from lthprune.errors import LthpruneError, RecipeError
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.levels import perceptron_sizes
from lthprune.experiments.preview import Extension, preview_recipe
from lthprune.experiments.recipe import bundled, load_recipe
from lthprune.models.build import build_model
from lthprune.pruning.prunable import select
from lthprune.pruning.pruner import Pruning
from lthprune.pruning.trajectories import Trajectory
from tests.tiny import tiny, write_npz


def test_lenet_has_the_papers_parameters() -> None:
    table = preview_recipe(load_recipe("lenet-mnist"))
    assert [(row.layer, row.kind) for row in table.layers] == [
        ("dense1", "dense"),
        ("dense2", "dense"),
        ("output", "output"),
    ]
    assert [row.weights + row.biases for row in table.layers] == [235_500, 30_100, 1_010]
    assert sum(row.weights for row in table.layers) == 266_200
    assert [row.shape for row in table.layers] == [(300, 784), (100, 300), (10, 100)]
    assert [row.rate for row in table.layers] == [0.2, 0.2, 0.1]


@pytest.mark.parametrize(
    ("name", "weights", "conv"),
    [("conv2-cifar10", 4.3e6, 38e3), ("conv4-cifar10", 2.4e6, 260e3), ("conv6-cifar10", 2.3e6, 1.1e6)],
)
def test_the_convolutional_networks_have_the_papers_weights(name: str, weights: float, conv: float) -> None:
    rows = preview_recipe(load_recipe(name)).layers
    assert sum(row.weights for row in rows) == pytest.approx(weights, rel=0.02)
    assert sum(row.weights for row in rows if row.kind == "conv") == pytest.approx(conv, rel=0.05)


@pytest.mark.parametrize("name", bundled())
def test_every_recipe_has_a_table_whose_levels_start_whole_and_shrink(name: str) -> None:
    recipe = load_recipe(name)
    table = preview_recipe(recipe)
    assert [row.kind for row in table.layers][-1] == "output"
    model = recipe.build_model(*shape_of_data(recipe.data))
    prunable = {tensor.layer for tensor in select(model, recipe.prune.pruning().selection)}
    weights = {row.layer: row.weights for row in table.layers if row.layer in prunable}
    if recipe.prune.scope == "global":
        weights = {"weights": sum(weights.values())}
    assert {scope: left[0] for scope, left in table.counts.items()} == weights
    for left in table.counts.values():
        assert len(left) == recipe.prune.levels + 1
        assert list(left) == sorted(left, reverse=True)
    for row in table.layers:
        assert (row.rate is None) == (recipe.prune.scope == "global")
        if row.rate is not None:
            assert table.counts[row.layer][1] == pytest.approx(row.weights * (1 - row.rate), abs=0.5)


@given(rate=st.floats(0.01, 0.9).map(lambda rate: round(rate, 2)), scope=st.sampled_from(["global", "layerwise"]))
def test_rates_are_counts_of_what_is_left(rate: float, scope: str) -> None:
    table = preview_recipe(tiny(f"prune.rate={rate}", f"prune.scope={scope}"))
    assert list(table.counts) == (["weights"] if scope == "global" else ["dense1", "output"])
    for counts in table.counts.values():
        assert list(counts[1:]) == pytest.approx([counts[0] * (1 - rate) ** level for level in (1, 2)], abs=0.5001)


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        (["prune.scope=global", "prune.bias=together"], ["weights, biases"]),
        (["prune.scope=global", "prune.bias=separate"], ["weights", "biases"]),
        (["prune.scope=layerwise", "prune.bias=separate"], ["dense1", "dense1.bias", "output", "output.bias"]),
        (["prune.scope=layerwise", "prune.bias=together"], ["dense1", "output"]),
        (["prune.exclude=['output']"], ["dense1"]),
    ],
)
def test_every_scope_of_competition_has_a_label_of_its_own(settings: list[str], labels: list[str]) -> None:
    table = preview_recipe(tiny("prune.rate=0.2", *settings))
    assert sorted(table.counts) == sorted(labels)
    total = sum(row.weights + (row.biases if "bias" in settings[-1] else 0) for row in table.layers)
    kept = table.layers[-1].weights if "exclude" in settings[0] else 0
    assert sum(counts[0] for counts in table.counts.values()) == total - kept


def test_rates_are_blank_where_a_layer_is_not_pruned_or_a_schedule_has_none() -> None:
    excluded = preview_recipe(tiny("prune.rate=0.2", "prune.exclude=['output']"))
    assert [row.rate for row in excluded.layers] == [0.2, None]
    assert [row.rate for row in preview_recipe(tiny("prune.target=100")).layers] == [None, None]


def test_layers_that_compete_have_no_rate_of_their_own() -> None:
    assert [row.rate for row in preview_recipe(tiny("prune.rate=0.2", "prune.scope=global")).layers] == [None, None]
    assert [row.rate for row in preview_recipe(tiny("prune.rate=0.2")).layers] == [0.2, 0.2]


def test_batch_norms_parameters_are_counted_and_never_pruned() -> None:
    recipe = tiny("model.kind=plan", 'model.conv=["4B", 6, "M"]', "prune.rate=0.2")
    table = preview_recipe(recipe)
    model = build_model(recipe.model, *shape_of_data(recipe.data), torch.Generator())
    assert sum(row.weights + row.biases for row in table.layers) == sum(p.numel() for p in model.parameters())
    norm = next(row for row in table.layers if row.layer == "norm1")
    assert (norm.kind, norm.shape, norm.weights, norm.biases, norm.rate) == ("norm", (4,), 4, 4, None)
    assert list(table.counts) == ["conv1", "conv2", "dense1", "output"]


@pytest.mark.parametrize(
    ("settings", "trajectory"),
    [
        (["prune.rate=0.2"], Trajectory(592, 2, 0.2, 379)),
        (["prune.rate=0.5", "prune.bias=together"], Trajectory(610, 2, 0.5, 152)),
        (["prune.target=148"], Trajectory(592, 2, 0.5, 148)),
        (["prune.target=0.25", "prune.levels=1"], Trajectory(592, 1, 0.75, 148)),
        (["prune.rate=0.2", "prune.bias=separate"], None),
        (["prune.rate=0.2", "prune.scope=layerwise"], None),
        (["prune.densities=[0.5, 0.1]"], None),
        (["prune.rate={dense=0.2, output=0.2}", "prune.scope=layerwise"], None),
    ],
)
def test_a_recipe_in_which_all_weights_compete_has_a_trajectory_that_its_levels_follow(
    settings: list[str], trajectory: Trajectory | None
) -> None:
    recipe = tiny("prune.scope=global", *settings)
    table = preview_recipe(recipe)
    assert table.trajectory == trajectory
    if trajectory is not None:
        (left,) = table.counts.values()
        assert (left[0], len(left) - 1, left[-1]) == (trajectory.weights, trajectory.levels, trajectory.target)


def extensions(*settings: str) -> list[Extension]:
    recipe = tiny("prune.scope=global", "prune.rate=0.32", *settings)
    table = preview_recipe(recipe)
    assert table.trajectory is not None
    return list(table.extensions)


def test_the_extensions_of_4_8_8_2_are_those_of_the_field_notes(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {f"x_{split}": generator.random((60, 4)) for split in ("train", "test")}
    labels = {f"y_{split}": np.arange(60) % 2 for split in ("train", "test")}
    path = write_npz(tmp_path / "four.npz", **arrays, **labels)
    rows = extensions(f"data.name={path}", "data.validation=10", "model.dense=[8, 8]", "prune.levels=6")
    assert [row.hidden for row in rows] == [10, 13, 16, 20, 25]
    assert [row.weights for row in rows] == [160, 247, 352, 520, 775]
    assert [(row.times, row.levels) for row in rows] == [(times, 6 + times) for times in range(1, 6)]


def test_an_extension_is_a_network_that_the_recipe_builds_and_prunes_to_the_smaller_one() -> None:
    for row in extensions("prune.bias=together", "prune.levels=4"):
        larger = tiny("prune.scope=global", "prune.rate=0.32", "prune.bias=together", f"model.hidden={row.hidden}")
        (left,) = preview_recipe(larger).counts.values()
        assert left[0] == row.weights
        assert row.levels == 4 + row.times
        assert row.weights * 0.68**row.times == pytest.approx(610, rel=0.08)  # 64 + 10 + 1 parameters to a neuron


@pytest.mark.parametrize(
    "settings",
    [
        ["model.dense=[8, 9]"],
        ["model.dense=[]"],
        ["model.kind=plan", "model.conv=[4]"],
        ["prune.exclude=['output']"],
        ["prune.rate=0"],
    ],
)
def test_only_perceptrons_that_are_pruned_as_a_whole_are_extended(settings: list[str]) -> None:
    assert extensions(*settings) == []


@pytest.mark.parametrize("method", ["imp", "osp"])
def test_a_run_leaves_what_the_table_said_it_would(tmp_path: Path, method: str) -> None:
    recipe = tiny(f"prune.method={method}", "prune.rate={dense=0.3, output=0.25}", "run.trials=1")
    table, run = preview_recipe(recipe), run_recipe(recipe, "tiny", out=tmp_path)
    for level in range(3):
        (ticket,) = run.tickets.level(level)
        left = {name.removesuffix(".weight"): count.left for name, count in ticket.counts.items()}
        assert left == {label: counts[level] for label, counts in table.counts.items()}


FAMILY = ("prune.rate=0.32", "prune.target=76", "prune.extends=8")


def test_a_recipe_that_extends_a_network_says_the_weights_of_every_level_once_it_is_previewed() -> None:
    recipe = load_recipe("moons-circles", [*FAMILY, "model.hidden=13"])
    preview = preview_recipe(recipe)
    assert preview.counts == {"weights": (247, 160, 112, 76)}
    prune = preview.recipe.prune
    assert (prune.levels, prune.densities) == (3, (160, 112, 76))
    assert (prune.rate, prune.target, prune.extends) == (None, None, None)
    assert recipe.worked_out_as(preview.recipe) == preview.recipe
    assert preview_recipe(preview.recipe).counts == preview.counts


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["model.hidden=14"], "have other hidden layers: 8, 10, 13, 16"),
        (["prune.scope=layerwise", "model.hidden=13"], "prune.extends = 8: the network must be a perceptron"),
        (["model.dense=[10, 13]"], "have other hidden layers"),
        (["model.hidden=13", "prune.bias=separate"], "prune.extends = 8: the network must be a perceptron"),
    ],
)
def test_only_networks_of_a_family_extend_one(settings: list[str], says: str) -> None:
    with pytest.raises(LthpruneError, match=says):
        preview_recipe(load_recipe("moons-circles", [*FAMILY, *settings]))


@pytest.mark.parametrize("wrong", ["prune.target=0.1", "prune.levels=3", "prune.rate={dense=0.3, output=0.1}"])
def test_extending_needs_one_rate_and_a_target_in_weights(wrong: str) -> None:
    with pytest.raises(RecipeError, match=r"extends needs a rate|give one of rate|levels is missing"):
        load_recipe("moons-circles", [*FAMILY, "model.hidden=13", wrong])


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ([], 74),
        (["model.hidden=1"], None),
        (["run.coverage=outputs"], None),
        (["data.name=moons"], None),
        (["prune.scope=layerwise"], None),
    ],
)
def test_a_perceptron_of_several_tasks_has_bounds_of_its_separation(settings: list[str], most: int | None) -> None:
    bounds = preview_recipe(load_recipe("moons-circles", ["model.hidden=8", "prune.target=5", *settings])).bounds
    assert (bounds and bounds.most) == most


class Residual(nn.Module):
    """Has the layers of a perceptron, and connects them in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.first(inputs).relu()
        return self.third(hidden + self.second(hidden).relu())


def test_only_a_chain_of_dense_layers_that_all_compete_is_a_perceptron() -> None:
    chain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    for model, scope, sizes in (
        (chain, "global", (4, 8, 8, 2)),
        (chain, "layerwise", None),
        (Residual(), "global", None),
        (nn.Sequential(Residual()), "global", None),
    ):
        assert perceptron_sizes(model, Pruning(scope=scope).pools(model)) == sizes
