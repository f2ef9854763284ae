from pathlib import Path

import pytest

from lthprune.layers import tabulate_layers
from lthprune.recipe import Recipe, bundled, load_recipe
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
    recipe, table = load_recipe(name), tabulate_layers(load_recipe(name))
    for section in Recipe.model_fields:
        for key, value in getattr(recipe, section).model_dump(exclude_none=True).items():
            assert f"{section}.{key}" in result.out
            assert str(value) in result.out or not isinstance(value, int | float | str)
    rows = [set(line.replace("│", " ").replace("┃", " ").split()) for line in result.out.splitlines()]
    for layer in table.layers:
        words = {layer.layer, layer.kind, f"{layer.weights:,}", f"{layer.biases:,}", f"{layer.rate:.3g}"}
        assert any(words <= row for row in rows), layer
        for level, left in enumerate(table.left[layer.layer]):
            assert any({str(level), f"{left:,}"} <= row for row in rows), (layer, level)
    for level, counts in enumerate(zip(*table.left.values(), strict=True)):
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
