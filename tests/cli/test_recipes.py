from pathlib import Path

import pytest

from lthprune.experiments.preview import preview_recipe
from lthprune.experiments.recipe import Recipe, bundled, load_recipe
from tests.cli.conftest import Cli


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
    for section in Recipe.model_fields:
        for key, value in getattr(recipe, section).model_dump(exclude_none=True).items():
            assert f"{section}.{key}" in result.out
            assert str(value) in result.out or not isinstance(value, int | float | str)
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
