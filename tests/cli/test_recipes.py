from pathlib import Path

import pytest

from lthprune.experiments.axes import in_toml
from lthprune.experiments.preview import preview_recipe
from lthprune.experiments.recipe import bundled, load_recipe
from lthprune_cli.recipes import duration
from tests.cli.conftest import Cli
from tests.tiny import SETTINGS


def test_ls_lists_every_bundled_recipe_with_its_title(cli: Cli) -> None:
    result = cli("ls")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert all(name in result.out for name in bundled())
    assert "scikit-learn's" in result.out


@pytest.mark.parametrize("name", bundled())
def test_show_shows_every_setting_layer_and_count_left_and_runs_nothing(name: str, cli: Cli) -> None:
    result = cli("show", name)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    recipe, table = load_recipe(name), preview_recipe(load_recipe(name))
    for section, values in recipe.model_dump(exclude_none=True).items():
        for key, value in values.items():
            assert f"{section}.{key}" in result.out
            assert in_toml(value) in result.out or not isinstance(value, int | float | str)
    rows = [set(line.replace("│", " ").replace("┃", " ").split()) for line in result.out.splitlines()]
    for layer in table.layers:
        words = {layer.layer, layer.kind, f"{layer.weights:,}", f"{layer.biases:,}"}
        words |= set() if layer.rate is None else {f"{layer.rate:.3g}"}
        assert any(words <= row for row in rows), layer
    for scope, counts in table.counts.items():
        for level, left in enumerate(counts):
            assert any({str(level), f"{left:,}"} <= row for row in rows), (scope, level)
    for level, counts in enumerate(zip(*table.counts.values(), strict=True)):
        assert any({str(level), f"{sum(counts):,}"} <= row for row in rows)
    assert list(Path().iterdir()) == []


def test_show_takes_settings_and_a_recipe_by_its_path(cli: Cli) -> None:
    Path("mine.toml").write_text(bundled()["lenet-digits"])
    result = cli("show", "mine.toml", "--set", "prune.target=600", "--set", "prune.scope=global")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert "mine.toml: settings" in result.out
    assert "600" in result.out.splitlines()[-2]
    assert "prune.rate" not in result.out


def test_show_gives_lengths_in_steps_and_in_epochs(cli: Cli) -> None:
    result = cli("show", "lenet-digits", "--set", "train.steps=2ep", "--set", 'train.lr_milestones=["1ep"]')
    assert '40 # "2ep"' in result.out
    assert '[20] # ["1ep"]' in result.out


def test_show_is_not_cut_for_a_network_of_many_layers(cli: Cli) -> None:
    settings = ["model.kind=mlp", f"model.dense={[1000] * 12}", "prune.bias=separate"]
    result = cli("show", "lenet-digits", *(word for setting in settings for word in ("--set", setting)))
    assert (result.code, result.narrow) == (0, True)
    assert all(f"dense{index}" in result.out for index in range(1, 13))


def shown(cli: Cli, *settings: str) -> str:
    result = cli("show", "lenet-digits", *(word for setting in settings for word in ("--set", setting)))
    assert (result.code, result.err, result.narrow) == (0, "", True)
    return " ".join(result.out.replace("│", " ").replace("┃", " ").split())


def test_show_shows_the_trajectory_and_the_levels_that_follow_from_it(cli: Cli) -> None:
    text = shown(cli, "prune.rate=0.2", "prune.target=600", "prune.scope=global")
    assert "prune.levels 20 " in text
    assert "prune.target" not in text
    assert "weights levels rate target" in text
    assert " 50,200 20 0.2 579 " in text
    assert "Extensions" not in text  # hidden layers of 300 and 100 units


def test_show_shows_the_larger_networks_on_the_trajectory(cli: Cli) -> None:
    text = shown(cli, "prune.rate=0.2", "prune.target=600", "prune.scope=global", "model.hidden=40")
    assert " 4,560 10 0.2 490 " in text
    assert "times hidden weights levels" in text
    assert " 1 47 5,687 11 " in text
    assert " 5 87 14,007 15 " in text


def test_show_shows_no_trajectory_where_layers_have_rates_of_their_own(cli: Cli) -> None:
    assert "Trajectory" not in shown(cli)


@pytest.mark.parametrize("name", bundled())
def test_every_value_that_show_prints_is_one_that_set_takes(name: str, cli: Cli) -> None:
    lines = cli("show", name).out.partition("Layers")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    settings: list[list[str]] = []
    for key, value in cells:
        if key:
            settings.append([key, value])
        else:  # a value that takes two lines
            settings[-1][1] += f" {value}"
    given = [word for key, value in settings for word in ("--set", f"{key}={value}")]
    again = cli("show", name, *given)
    assert (again.code, again.out.partition("Layers")[0].splitlines()) == (0, lines)


def test_show_takes_the_options_of_run_that_stand_for_settings(cli: Cli) -> None:
    options = ("--method", "osp", "--trials", 3, "--seed", 7, "--engine", "reference")
    result = cli("show", "lenet-digits", *options)
    words = " ".join(result.out.replace("│", " ").split())
    assert 'prune.method "osp"' in words
    assert 'train.engine "reference"' in words
    assert "run.trials 3 run.seed 7" in words


def test_show_gives_the_rate_under_a_global_scope_in_a_sentence(cli: Cli) -> None:
    text = shown(cli, "prune.scope=global", "prune.rate=0.2")
    assert "The scope is global: all prunable weights compete. Every level prunes 20% of those that remain." in text
    assert "parameters rate" not in text
    assert "The scope is" not in shown(cli)


def test_show_with_time_estimates_a_run_and_names_the_basis(cli: Cli) -> None:
    result = cli("show", "lenet-digits", "--time", *(word for setting in SETTINGS for word in ("--set", setting)))
    assert (result.code, result.err, result.narrow) == (0, "", True)
    estimate = result.out.partition("\nTime")[2]
    rows = [line.split("│")[1:4] for line in estimate.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["0", "100.00%", "compiled"],
        ["1", "81.42%", "compiled"],
        ["2", "66.39%", "compiled"],
    ]
    words = " ".join(estimate.split())
    assert "A run takes about " in words
    assert ": 3 levels of 6 steps and 3 evaluations, 2 trials." in words
    assert "measured just now with 1 thread." in words
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "a second"),
        (2.4, "2 seconds"),
        (119, "119 seconds"),
        (150, "2.5 minutes"),
        (3600 * 3.14, "3.1 hours"),
        (86_400 * 4.16, "4.2 days"),
        (86_400 * 33, "33 days"),
    ],
)
def test_a_duration_has_the_unit_that_it_fills(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_show_prints_with_how_many_weights_a_network_of_several_tasks_can_be_separated(cli: Cli) -> None:
    result = cli("show", "moons-circles", "--set", "model.hidden=8", "--set", "prune.target=20")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    table = result.out.partition("Active weights of a separated network")[2]
    assert ["74", "56", "8"] in [line.replace("│", " ").split() for line in table.splitlines()]
    words = " ".join(table.split())
    assert "38 of 112 weights or more must be pruned or inactive before" in words
    assert "an interconnected network needs only 7 weights." in words
    assert "Active weights" not in cli("show", "lenet-digits").out
