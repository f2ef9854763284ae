"""The command line with functions of one's own: found beside the recipe, imported for whoever runs it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lthprune.experiments.folders import find_runs
from lthprune.experiments.recipe import load_recipe
from tests.cli.conftest import Cli
from tests.own_parts import forget, imports_restored, write_module
from tests.tiny import SETTINGS

NAME = "my_parts_for_the_cli"


@pytest.fixture
def recipe(tmp_path: Path) -> Iterator[Path]:
    """A recipe that names a model and a score, in a folder with their module that is not the current one."""
    folder = tmp_path / "there"
    folder.mkdir()
    write_module(folder, NAME)
    own = (f"model.kind={NAME}:build", f"prune.score={NAME}:by_power", "prune.rate=0.3")
    path = folder / "mine.toml"
    path.write_text(load_recipe("lenet-digits", [*(each for each in SETTINGS if "model" not in each), *own]).to_toml())
    with imports_restored(NAME):
        yield path


@pytest.mark.parametrize("verb", [["show"], ["run"], ["sweep", "--over", "model.settings.width=[3]"]])
def test_modules_beside_the_recipe_are_found(cli: Cli, recipe: Path, verb: list[str]) -> None:
    done = cli(verb[0], recipe, *verb[1:])
    assert (done.code, done.err) == (0, "")
    assert done.narrow


@pytest.mark.filterwarnings("default:no figures of")
def test_a_run_on_disk_is_resumed_and_looked_into_only_with_consent(cli: Cli, recipe: Path) -> None:
    assert cli("run", recipe).code == 0
    (run,) = find_runs("runs")
    forget(NAME)
    sys.path.remove(str(recipe.parent))
    for verb in ("resume", "analyze", "export"):
        refused = cli(verb, run.folder)
        assert refused.code == 2
        assert "--trust-code" in refused.err
    assert (cli("runs").code, cli("summary", run.folder).code) == (0, 0)
    assert run.resume_command == f"lthprune resume {run.folder} --trust-code"
    plotted = cli("plot", run.folder)
    assert plotted.code == 0
    assert "Warning: no figures of states" in plotted.err
    assert "--trust-code" in plotted.err
    assert NAME not in sys.modules
    lost = cli("resume", run.folder, "--trust-code")
    assert lost.code == 2
    assert "Change into the folder of my_parts_for_the_cli.py" in " ".join(lost.err.split())
    write_module(Path.cwd(), NAME)
    for verb in ("resume", "analyze", "export", "plot"):
        done = cli(verb, run.folder, "--trust-code")
        assert (done.code, done.err) == (0, ""), done.err


def test_showing_a_recipe_inside_a_run_directory_imports_nothing_that_lies_beside_it(cli: Cli, recipe: Path) -> None:
    assert cli("run", recipe).code == 0
    (run,) = find_runs("runs")
    forget(NAME)
    sys.path.remove(str(recipe.parent))
    write_module(run.folder, NAME)
    shown = cli("show", run.folder / "recipe.toml")
    assert shown.code == 2
    assert NAME not in sys.modules
