import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthprune import models, parts
from lthprune.data import loading
from lthprune.data.loading import shape_of_data, tasks_of
from lthprune.errors import DataError, LthpruneError, PruningError, RecipeError
from lthprune.experiments import recipe as recipe_module
from lthprune.experiments.preview import preview_recipe
from lthprune.experiments.recipe import Recipe, bundled, load_recipe, parse_recipe
from lthprune.models.build import build_model
from lthprune.pruning.schedules import Explicit, Geometric, Target
from lthprune.pruning.scores import movement
from lthprune.pruning.trajectories import Trajectory
from lthprune.search.rewinding import Rewinder
from lthprune.seeds import Seeds
from lthprune.training.loop import train
from tests.tiny import noise, tiny, write_npz

DENSE = {"dense": 0.2, "output": 0.1}
PAPER = {  # section 2 of Frankle & Carbin (2019), figure 2: learning rate, batch size, steps, rates
    "lenet-mnist": (1.2e-3, 60, 50_000, DENSE),
    "lenet-mnist-tanh": (1.2e-3, 60, 50_000, DENSE),
    "conv2-cifar10": (2e-4, 60, 20_000, DENSE | {"conv": 0.1}),
    "conv4-cifar10": (3e-4, 60, 25_000, DENSE | {"conv": 0.1}),
    "conv6-cifar10": (3e-4, 60, 30_000, DENSE | {"conv": 0.15}),
    "lenet5-mnist": (1.2e-3, 64, 15_000, DENSE | {"conv": 0.1}),
}
# Section 5 of Frankle & Carbin (2019), and table 1 of Frankle et al. (2020): learning rate, batch size, steps,
# milestones, what to rewind to, and how many weights are never pruned.
LATER = {
    "resnet18-cifar10": (0.03, 128, 30_000, (20_000, 25_000), "init", 2_560 + 640),
    "vgg19-cifar10": (0.1, 64, 112_480, (56_240, 84_360), "init", 5_120),
    "resnet20-cifar10": (0.1, 128, 63_000, (32_000, 48_000), 2_000, 0),
    "vgg16-cifar10": (0.1, 128, 63_000, (32_000, 48_000), 1_000, 5_120),
}
TABLES: dict[str, dict[str, Any]] = {
    "model": {"kind": "mlp", "dense": [8]},
    "data": {"name": "digits", "validation": 237},
    "train": {"optimizer": "adam", "lr": 1e-3, "batch_size": 60, "steps": 10},
    "prune": {"levels": 3, "rate": 0.2},
}


def parse(**tables: Mapping[str, Any]) -> Recipe:
    """The tables above with some keys added, replaced or, where they are None, left out."""
    joined = {name: TABLES.get(name, {}) | dict(tables.get(name, {})) for name in {**TABLES, **tables}}
    kept = {name: {key: value for key, value in table.items() if value is not None} for name, table in joined.items()}
    return parse_recipe(kept, "my")


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_recipe_opens_with_its_title_its_command_and_what_to_expect(name: str) -> None:
    title, command, expected, *_ = bundled()[name].splitlines()
    assert title.startswith("# ")
    assert title.endswith((".", "start."))
    assert command.removeprefix("#   ").split()[:3] == ["lthprune", "run", name]
    assert set(command.split()[4::2]) <= {"--data-dir", "--device"}
    assert expected.startswith("# Expected")
    assert any(character.isdigit() for character in bundled()[name].split("[model]")[0].split("Expected")[1])


@pytest.mark.parametrize("method", ["imp", "osp"])
@pytest.mark.parametrize("name", bundled())
def test_every_bundled_recipe_builds_and_trains_a_step_on_data_of_its_shape(name: str, method: str) -> None:
    recipe = load_recipe(
        name, [f"prune.method={method}", "prune.rewind=init", "train.warmup=0", "train.steps=1", "train.batch_size=2"]
    )
    assert recipe.prune.method == method
    shape, outputs = shape_of_data(recipe.data)
    model = build_model(recipe.model, shape, outputs, torch.Generator().manual_seed(0))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    data = noise(shape, sizes=(2, 2, 2), tasks=tasks_of(recipe.data))
    done = train(model, data, recipe.train, torch.Generator())
    assert np.isfinite(done.history["val_loss"]).all()
    assert all(not torch.equal(parameter, old) for parameter, old in zip(model.parameters(), before, strict=True))
    search = recipe.prune.search(recipe.run.seed)
    counts = [sum(level) for level in search.pruning.counts(model, search.schedule, search.levels)]
    assert counts == sorted(counts, reverse=True)
    assert 0 < counts[-1] < 0.25 * counts[0]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_have_the_papers_hyperparameters(name: str) -> None:
    lr, batch_size, steps, rates = PAPER[name]
    recipe = load_recipe(name)
    assert (recipe.train.lr, recipe.train.batch_size, recipe.train.steps) == (lr, batch_size, steps)
    assert (recipe.train.optimizer, recipe.train.evaluate_every) == ("adam", 100)
    assert (recipe.prune.method, recipe.prune.scope, recipe.prune.rate) == ("imp", "layerwise", rates)
    assert (recipe.model.init, recipe.data.validation, recipe.run.trials) == ("glorot_normal", 5000, 5)
    assert (recipe.train.weight_decay, recipe.prune.rewind, recipe.prune.bias) == (0, "init", False)


@pytest.mark.parametrize("name", LATER)
def test_the_recipes_of_residual_networks_and_vggs_have_their_papers_hyperparameters(name: str) -> None:
    lr, batch_size, steps, milestones, rewind, unpruned = LATER[name]
    recipe = load_recipe(name)
    train, prune = recipe.train, recipe.prune
    assert (train.lr, train.batch_size, train.steps, train.lr_milestones) == (lr, batch_size, steps, milestones)
    assert (train.optimizer, train.momentum, train.weight_decay, train.lr_gamma) == ("sgd", 0.9, 1e-4, 0.1)
    assert train.warmup == {"resnet18-cifar10": 20_000, "vgg19-cifar10": 10_000}.get(name, 0)
    assert train.augment == ("crop", "flip")
    assert (prune.scope, prune.rate, prune.rewind) == ("global", 0.2, rewind)
    preview = preview_recipe(recipe)
    weights = sum(row.weights for row in preview.layers if row.kind != "norm")
    assert weights - preview.counts["weights"][0] == unpruned


conv_items = st.sampled_from([4, 8, "6B", "M", "A"])
densities = st.floats(0.01, 1) | st.integers(1, 500)
schedules = st.one_of(
    st.fixed_dictionaries({"rate": st.floats(0, 0.9) | st.fixed_dictionaries({"dense": st.floats(0, 0.9)})}),
    st.fixed_dictionaries({"target": densities}),
    st.fixed_dictionaries({"densities": st.lists(densities, min_size=1, max_size=4)}),
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    prune = draw(schedules) | {
        "levels": draw(st.integers(0, 4)),
        "method": draw(st.sampled_from(["imp", "osp"])),
        "scope": draw(st.sampled_from(["global", "layerwise"])),
        "score": draw(st.sampled_from(["magnitude", "movement", "random"])),
        "bias": draw(st.sampled_from([False, "separate", "together"])),
        "rewind": draw(st.sampled_from(["init", "lr", "none", 0, 5, "1ep"])),
        "exclude": draw(st.lists(st.sampled_from(["output", "dense*"]), max_size=2)),
    }
    conv = draw(st.none() | st.lists(conv_items, max_size=4))
    model = {"kind": "plan", "conv": conv, "dense": draw(st.lists(st.integers(1, 9), max_size=3))}
    training = {
        "lr": draw(st.floats(1e-8, 10)),
        "steps": draw(st.sampled_from([10, "3ep", "1.50ep"])),
        "lr_milestones": draw(st.lists(st.integers(0, 20) | st.sampled_from(["0ep", "0.25ep"]), max_size=3)),
        "patience": draw(st.none() | st.integers(1, 5)),
        "loss_cutoff": draw(st.none() | st.floats(0.01, 1)),
    }
    seeds: st.SearchStrategy[Any] = st.integers(0, 2**40)
    seeds |= st.lists(seeds, min_size=1, max_size=3, unique=True)
    run = {"seed": draw(seeds), "keep_early_stop": draw(st.booleans())}
    tables = TABLES | {"model": model, "train": TABLES["train"] | training, "prune": prune, "run": run}
    return parse_recipe(tables, "drawn")


@given(rate=st.floats(0.05, 0.9), density=st.floats(0.01, 1), scope=st.sampled_from(["global", "layerwise"]))
def test_levels_left_out_are_the_fewest_that_a_rate_takes_to_a_target(rate: float, density: float, scope: str) -> None:
    target = max(1, round(592 * density))
    declared = parse(prune={"levels": None, "rate": rate, "target": target, "scope": scope})
    assert (declared.prune.levels, declared.prune.target) == (None, target)
    preview = preview_recipe(declared)
    recipe = preview.recipe
    assert (recipe.prune.rate, recipe.prune.target) == (rate, None)
    assert recipe.prune.levels == Trajectory.through(weights=592, rate=rate, target=target).levels
    assert parse_recipe(tomllib.loads(recipe.to_toml()), "again") == recipe
    if scope == "global":
        (left,) = preview.counts.values()
        assert left[-1] <= target
        assert all(count > target for count in left[:-1])


def levels_of(**tables: Mapping[str, Any]) -> int | None:
    """The levels of a recipe that gives a rate and a target instead."""
    return preview_recipe(parse(**tables)).recipe.prune.levels


def test_a_target_that_levels_follow_from_may_be_a_density_and_biases_count_where_they_are_pruned() -> None:
    assert levels_of(prune={"levels": None, "rate": 0.5, "target": 0.25}) == 2
    assert levels_of(prune={"levels": None, "rate": 0.5, "target": 148}) == 2
    assert levels_of(prune={"levels": None, "rate": 0.5, "target": 148, "bias": "together"}) == 3


def test_levels_follow_from_data_of_ones_own_too(tmp_path: Path) -> None:
    data = {"name": str(write_npz(tmp_path / "own.npz")), "validation": 10}
    assert levels_of(data=data, prune={"levels": None, "rate": 0.5, "target": 38}) == 2  # 16 * 8 + 8 * 3
    with pytest.raises(DataError, match="no file"):
        levels_of(data=data | {"name": "nowhere.npz"}, prune={"levels": None, "rate": 0.5, "target": 38})


@pytest.mark.parametrize(
    ("prune", "says"),
    [
        ({"target": 600, "rate": 0.2}, "target = 600.*at most the 592 that remain"),
        ({"target": 60, "rate": 0}, "a rate of 0 never prunes 592 weights to 60"),
    ],
)
def test_a_target_that_no_number_of_levels_reaches_is_refused_once_the_network_is_known(
    prune: dict[str, Any], says: str
) -> None:
    with pytest.raises(PruningError, match=says):
        preview_recipe(parse(prune={"levels": None} | prune))


def test_parsing_builds_no_model_opens_no_data_and_imports_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **words: object) -> None:
        raise AssertionError("parsing built a model, opened data or imported code")

    for owner, name in (
        (torch.nn.Module, "__init__"),
        (np, "load"),
        (parts, "_module"),
        (models, "build_model"),
        (recipe_module, "build_model"),
        (loading, "load_data"),
        (loading, "load_npz"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    for name in bundled():
        assert parse_recipe(tomllib.loads(load_recipe(name).to_toml()), "again") == load_recipe(name)
    own = parse(
        model={"kind": "nowhere:build", "dense": None, "settings": {"width": 3}},
        data={"name": f"moons+{tmp_path}/nowhere.npz+nowhere:load", "settings": {"noise": 0.1}},
        prune={"score": "nowhere.part:score", "settings": {"power": 2}, "levels": None, "target": 600},
        run={"seed": [3, 4]},
    )
    assert (own.prune.levels, own.prune.target, own.run.trials) == (None, 600, 2)
    assert parse_recipe(tomllib.loads(own.to_toml()), "again") == own


def test_a_list_of_seeds_counts_the_trials_and_each_is_the_root_of_one() -> None:
    run, one = parse(run={"seed": [7, 3]}).run, parse(run={"seed": 3}).run
    assert (run.trials, run.seed, run.first_seed, one.trials, one.first_seed) == (2, (7, 3), 7, 5, 3)
    assert parse(run={"seed": [7, 3], "trials": 2}).run == run
    for stream in ("init", "order"):
        drawn = [run.generator(stream, 1), one.generator(stream), Seeds(3).generator(stream)]
        assert len({generator.initial_seed() for generator in drawn}) == 1
        assert one.generator(stream, 4).initial_seed() == Seeds(3).seed(stream, trial=4)


@given(recipes())
def test_a_recipe_written_as_toml_and_read_again_is_the_same(recipe: Recipe) -> None:
    assert parse_recipe(tomllib.loads(recipe.to_toml()), "again") == recipe


@pytest.mark.parametrize("name", bundled())
def test_a_bundled_recipe_written_as_toml_and_read_again_is_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "copy.toml"
    path.write_text(load_recipe(name).to_toml())
    assert load_recipe(path) == load_recipe(name)


@pytest.mark.parametrize(
    ("words", "schedule"),
    [
        ({"rate": 0.3}, Geometric(0.3)),
        ({"rate": {"dense": 0.3}}, Geometric({"dense": 0.3})),
        ({"rate": None, "target": 600}, Target(600)),
        ({"rate": None, "target": 0.5}, Target(0.5)),
        ({"rate": None, "densities": [0.5, 40, 0.01]}, Explicit((0.5, 40, 0.01))),
    ],
)
def test_the_prune_table_declares_a_search(words: dict[str, Any], schedule: object) -> None:
    words |= {"scope": "layerwise", "score": "movement", "bias": "together", "min_survivors": 2, "exclude": ["output"]}
    search = parse(prune=words).prune.search(7)
    assert (search.schedule, search.levels, search.seed) == (schedule, 3, 7)
    pruning = search.pruning
    assert (pruning.scope, pruning.score, pruning.bias, pruning.min_survivors) == (
        "layerwise",
        movement,
        "together",
        2,
    )
    assert pruning.selection.exclude == ("output",)


def test_a_step_to_rewind_to_becomes_a_rewinder_at_it() -> None:
    rewind = parse(prune={"rewind": 4}).prune.search(0).rewind
    assert isinstance(rewind, Rewinder)
    assert rewind.at == 4
    assert parse(prune={"rewind": "lr"}).prune.search(0).rewind == "lr"


@pytest.mark.parametrize(
    ("tables", "faults"),
    [
        ({"train": {"lrr": 1}}, ["[train] lrr: unknown key; did you mean 'lr'?"]),
        ({"trian": {"lr": 1}}, ["[trian]: unknown table; did you mean 'train'?"]),
        ({"model": {"kind": "lenett"}}, ["[model] kind", "did you mean 'lenet'?"]),
        ({"data": {"name": "mnits"}}, ["[data] name: unknown data set 'mnits'; did you mean 'mnist'?"]),
        ({"prune": {"score": "magnitud"}}, ["[prune] score", "did you mean 'magnitude'?"]),
        ({"prune": {"rate": -0.2}}, ["[prune] rate", "-0.2", "at least 0"]),
        ({"prune": {"rate": {"dense": 1.5}}}, ["[prune] rate", "1.5"]),
        ({"prune": {"rate": None}}, ["give one of rate, target, densities", "with levels = 3 there is none"]),
        ({"prune": {"target": 0.1}}, ["without levels; with levels = 3 there is rate and target"]),
        ({"prune": {"levels": None}}, ["levels is missing"]),
        ({"prune": {"levels": None, "target": 9, "rate": {"dense": 0.2}}}, ["without levels there is rate and target"]),
        ({"prune": {"rewind": "initt"}}, ["[prune] rewind", "did you mean 'init'?"]),
        ({"prune": {"rewind": -1}}, ["[prune] rewind: -1 is not", "or a whole number, the step to rewind to"]),
        ({"prune": {"rewind": "step"}}, ["'step' is not 'init', 'lr' or 'none', or a whole number, the step"]),
        ({"prune": {"rewind": True}}, ["[prune] rewind: true is not"]),
        ({"prune": {"rewind": 10}}, ["prune.rewind = 10", "train.steps = 10"]),
        ({"prune": {"rewind": "2ep"}, "train": {"steps": "2ep"}}, ["prune.rewind = 2ep", "train.steps = 2ep"]),
        ({"train": {"steps": "2 epochs"}}, ["[train] steps: '2 epochs' is neither", 'as in "2ep"']),
        ({"train": {"steps": "-1ep"}}, ["[train] steps: '-1ep' is neither"]),
        ({"train": {"lr_milestones": ["ep"]}}, ["[train] lr_milestones: 'ep' is neither"]),
        ({"prune": {"levels": -1}}, ["[prune] levels"]),
        ({"prune": {"levels": 2.5}}, ["[prune] levels: 2.5 is not a whole number"]),
        ({"prune": {"bias": "apart"}}, ["is not 'separate' or 'together', or true or false; did you mean"]),
        ({"train": {"momentum": 0.9}}, ["[train]", "momentum belongs to sgd"]),
        ({"run": {"trials": 0}}, ["[run] trials"]),
        ({"run": {"seed": -1}}, ["[run] seed: -1 is not a whole number, 0 or more, or a list"]),
        ({"run": {"seed": []}}, ["[run] seed: [] is not"]),
        ({"run": {"seed": [1, -1]}}, ["[run] seed: [1, -1] is not"]),
        ({"run": {"seed": [1, True]}}, ["[run] seed: [1, True] is not"]),
        ({"run": {"seed": [4, 4]}}, ["[run] seed: [4, 4] lists a seed twice"]),
        ({"run": {"seed": [4, 5], "trials": 3}}, ["trials = 3, but seed lists 2", "leave out trials"]),
        ({"model": {"hidden": 0}}, ["[model] hidden"]),
        ({"model": {"dense": [], "hidden": 8}}, ["hidden = 8 is the size of dense layers, and there are none"]),
        ({"model": {"kind": "plan", "conv": [8, "Q"]}}, ["[model] conv", "'Q'"]),
        ({"model": {"kind": "timm"}}, ['kind = "timm" takes name and settings, and no dense']),
        ({"model": {"name": "resnet18"}}, ['kind = "mlp" takes no name', 'kind = "timm"']),
        (
            {"model": {"kind": "my_nets:build"}},
            ['"my_nets:build", a function of your own, takes settings and no dense'],
        ),
        ({"data": {"settings": {"a": 1}}}, ["settings are for a function of your own; digits takes none"]),
        ({"prune": {"settings": {"a": 1}}}, ["settings are for a score of your own; magnitude takes none"]),
        ({"prune": {"score": "my_scores:"}}, ["[prune] score: unknown score 'my_scores:'", "my_module:my_function"]),
        ({"prune": {"score": "a b:c"}}, ["[prune] score: unknown score 'a b:c'"]),
        (
            {"train": {"lrr": 1, "steps": 0}, "prune": {"rate": 2}, "data": {"name": "mnits"}, "run": {"trial": 2}},
            ["5 faults", "did you mean 'lr'?", "[train] steps", "[prune] rate", "[data] name", "'trials'"],
        ),
    ],
)
def test_all_faults_of_a_recipe_are_named_at_once_with_their_place(tables: dict[str, Any], faults: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(**tables)
    message = str(caught.value)
    assert message.startswith("my has ")
    assert all(fault in message for fault in faults), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("prune", "rate", 1.5),
        ("prune", "rewind", "step"),
        ("prune", "score", "magnitud"),
        ("prune", "bias", "apart"),
        ("prune", "levels", 2.5),
        ("data", "name", "mnits"),
        ("model", "conv", ["Q"]),
        ("model", "dense", [-7]),
        ("train", "lr", -1),
    ],
)
def test_a_faulty_value_is_told_once(table: str, key: str, value: object) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(**{table: {key: value}})
    shown = value[0] if isinstance(value, list) else value
    assert str(caught.value).count(repr(shown)) == 1


def test_a_recipe_file_that_is_not_there_is_called_just_that(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "nofile.toml")
    assert str(caught.value) == f"there is no file {tmp_path / 'nofile.toml'}."


@pytest.mark.parametrize("missing", ["model", "data", "train", "prune"])
def test_a_missing_table_and_a_missing_key_are_named(missing: str) -> None:
    with pytest.raises(RecipeError, match=rf"\[{missing}\]: this table is missing"):
        parse_recipe({name: table for name, table in TABLES.items() if name != missing}, "my")
    with pytest.raises(RecipeError, match=r"\[train\] lr: this key is missing"):
        parse_recipe(TABLES | {"train": {key: value for key, value in TABLES["train"].items() if key != "lr"}}, "my")


@pytest.mark.parametrize(
    ("setting", "place", "value"),
    [
        ("train.lr=3e-4", "train.lr", 3e-4),
        (" train . lr = 3e-4 ", "train.lr", 3e-4),
        ('model.activation="relu"', "model.activation", "relu"),
        ("model.activation=relu", "model.activation", "relu"),
        ("model.dense=[5, 4]", "model.dense", (5, 4)),
        ("run.keep_early_stop=true", "run.keep_early_stop", True),
        ("prune.rate=0.5", "prune.rate", 0.5),
        ("prune.rate.dense=0.5", "prune.rate", {"dense": 0.5, "output": 0.1}),
        ("prune.rate.dense2=0.5", "prune.rate", {"dense": 0.2, "output": 0.1, "dense2": 0.5}),
        ("prune.rate={conv=0.5}", "prune.rate", {"conv": 0.5}),
        ("prune.rewind=3", "prune.rewind", 3),
        ("model.hidden=38", "model.hidden", 38),
    ],
)
def test_a_setting_replaces_one_value_and_leaves_the_rest(setting: str, place: str, value: object) -> None:
    table, key = place.split(".")
    changed = load_recipe("lenet-digits", [setting]).model_dump()
    before = load_recipe("lenet-digits").model_dump()
    assert changed[table].pop(key) == value
    before[table].pop(key)
    assert changed == before


@pytest.mark.parametrize("schedule", ["prune.target=600", "prune.target=0.05", "prune.densities=[0.5, 100]"])
def test_setting_one_schedule_puts_the_others_aside(schedule: str) -> None:
    prune = load_recipe("lenet-digits", ["prune.levels=2", schedule]).prune
    assert prune.rate is None
    back = load_recipe("lenet-digits", ["prune.levels=2", schedule, "prune.rate.dense=0.5"]).prune
    assert (back.rate, back.target, back.densities) == ({"dense": 0.5}, None, None)


@pytest.mark.parametrize("settings", [["prune.rate=0.2", "prune.target=600"], ["prune.target=600", "prune.rate=0.2"]])
def test_setting_a_rate_and_a_target_puts_the_levels_aside(settings: list[str]) -> None:
    assert load_recipe("lenet-digits", settings).prune.levels is None
    prune = preview_recipe(load_recipe("lenet-digits", settings)).recipe.prune
    assert (prune.levels, prune.rate, prune.target) == (20, 0.2, None)
    with pytest.raises(RecipeError, match="with levels = 4 there is rate and target"):
        load_recipe("lenet-digits", [*settings, "prune.levels=4"])
    with pytest.raises(RecipeError, match="with levels = 4 there is rate and target"):
        load_recipe("lenet-digits", ["prune.levels=4", *settings])
    assert load_recipe("lenet-digits", [*settings, "prune.rate.dense=0.5", "prune.levels=4"]).prune.target is None


def test_a_setting_of_a_recipe_with_a_rate_and_a_target_replaces_just_that(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = bundled()["lenet-digits"]
    path.write_text(text.replace("levels = 12", "target = 600").replace("{ dense = 0.2, output = 0.1 }", "0.2"))
    changes: tuple[list[str], ...] = ([], ["prune.rate=0.4"], ["prune.target=6000"])
    levels = [preview_recipe(load_recipe(path, settings)).recipe.prune.levels for settings in changes]
    assert levels == [20, 9, 10]
    assert load_recipe(path, ["prune.densities=[0.5]", "prune.levels=1"]).prune.rate is None


def test_setting_a_list_of_seeds_puts_the_number_of_trials_aside() -> None:
    assert load_recipe("lenet-digits", ["run.seed=[3, 4]"]).run.trials == 2
    assert load_recipe("lenet-digits", ["run.seed=4"]).run.trials == 5
    for settings in (["run.seed=[3, 4]", "run.trials=3"], ["run.trials=3", "run.seed=[3, 4]"]):
        with pytest.raises(RecipeError, match="trials = 3, but seed lists 2"):
            load_recipe("lenet-digits", settings)


@pytest.mark.parametrize("setting", ["lr=3", "train.lr", "train..lr=3", ".lr=3", "train.=3", "=3", "", "train"])
def test_a_setting_that_cannot_be_read_is_quoted(setting: str) -> None:
    with pytest.raises(RecipeError, match=r"write table\.key=value") as caught:
        load_recipe("lenet-digits", [setting])
    assert repr(setting) in str(caught.value)


def test_an_unknown_recipe_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(RecipeError, match=r"unknown recipe 'lenet-mnits'; did you mean 'lenet-mnist'\?") as caught:
        load_recipe("lenet-mnits")
    assert all(name in str(caught.value) for name in bundled())


@pytest.mark.parametrize("content", [b"[model", b"\xff\xfe", b"model = 3", None])
def test_a_file_that_is_no_recipe_is_refused_by_its_path(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "my.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_epochs_become_steps_once_the_samples_are_counted() -> None:
    lengths = {"steps": "2ep", "evaluate_every": "0.5ep", "warmup": "0.1ep", "lr_milestones": ["1ep", 30]}
    declared = parse(train=lengths, prune={"rewind": "0.25ep"})
    preview = preview_recipe(declared)  # 1,200 samples in batches of 60
    train, prune = preview.recipe.train, preview.recipe.prune
    assert (train.steps, train.evaluate_every, train.warmup, train.lr_milestones) == (40, 10, 2, (20, 30))
    assert (prune.rewind, preview.search.rewind.at) == (5, 5)  # type: ignore[union-attr]
    assert tomllib.loads(preview.recipe.to_toml())["train"]["steps"] == 40
    assert preview_recipe(preview.recipe).recipe == preview.recipe
    assert preview_recipe(parse(train={"steps": "1.5ep", "batch_size": 70})).recipe.train.steps == 26  # of 17 batches


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"train": {"steps": "0.01ep"}}, r"20 steps to an epoch, has a fault: \[train\] steps.*equal to 1 \(it is 0"),
        ({"train": {"steps": "1ep"}, "prune": {"rewind": 20}}, "prune.rewind = 20 is not before the end.*= 20"),
        ({"train": {"steps": 20, "warmup": "1ep"}}, "warmup = 20 is not before the end"),
        ({"train": {"steps": "1ep", "batch_size": 1201}}, "only 1,200 training samples"),
    ],
)
def test_epochs_that_do_not_fit_the_data_are_refused(tables: dict[str, Any], says: str) -> None:
    with pytest.raises(LthpruneError, match=says):
        preview_recipe(parse(**tables))


def test_a_recipe_in_epochs_does_not_train_before_it_is_previewed() -> None:
    recipe = parse(train={"steps": "1ep"}, prune={"rewind": "0.5ep"})
    with pytest.raises(RecipeError, match="call preview_recipe"):
        train(nn.Linear(1, 1), noise(), recipe.train, torch.Generator())
    with pytest.raises(RecipeError, match="becomes a step"):
        recipe.prune.search(0)


def test_the_path_of_an_npz_file_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "own.npz")
    monkeypatch.chdir(tmp_path)
    assert tiny("data.name=own.npz").data.name == str((tmp_path / "own.npz").resolve())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tiny("data.name=~/own.npz").data.name == str(tmp_path / "own.npz")


def test_waiting_for_tasks_to_separate_takes_several_tasks() -> None:
    assert load_recipe("moons-circles", ["run.stop_when=separated"]).run.stop_when == "separated"
    with pytest.raises(RecipeError, match="needs several tasks"):
        load_recipe("lenet-mnist", ["run.stop_when=degraded"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "digits"}, r"\[pretrain\.data\] validation: this key is missing"),
        (
            {"nme": "digits", "name": "digits", "validation": 9},
            r"\[pretrain\.data\] nme: unknown key; did you mean 'name'",
        ),
        ("digits", r"\[pretrain\] data: 'digits' is not a table"),
    ],
)
def test_a_fault_in_a_table_inside_a_table_is_placed_there(settings: object, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe(TABLES | {"pretrain": {"steps": 5, "data": settings}}, "my")
