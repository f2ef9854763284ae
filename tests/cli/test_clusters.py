import sys
from pathlib import Path

import pytest

from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.run import Run
from tests.cli.conftest import Cli
from tests.tiny import SETTINGS, tiny

WORDS = [part for word in SETTINGS for part in ("--set", word)]


def flat(text: str) -> str:
    """Printed text without the ends of its lines."""
    return " ".join(text.split())


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_an_address_without_a_cluster_is_refused_before_anything_is_written(cli: Cli, verb: str) -> None:
    over = ["--over", "train.lr=[0.1]"] if verb == "sweep" else []
    result = cli(verb, "lenet-digits", *over, *WORDS, "--address", "here:6379")
    assert result.code == 2
    assert "--address here:6379 is that of a Ray cluster. Add --engine ray" in flat(result.err)
    assert not list(Path().iterdir())


def test_verbs_that_take_the_engine_of_a_recipe_accept_only_ray(cli: Cli, finished: Run) -> None:
    for verb in (["control", finished.folder, "--kind", "shuffled"], ["resume", finished.folder]):
        result = cli(*verb, "--engine", "compiled")
        assert (result.code, result.narrow) == (2, True)
        assert "--engine compiled: here only ray can be chosen" in flat(result.err)


def test_a_missing_ray_is_named_with_the_command_that_installs_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "lthprune.integrations.ray", raising=False)
    result = cli("run", "lenet-digits", *WORDS, "--engine", "ray")
    assert result.code == 2
    assert "pip install 'lthprune[ray]'" in flat(result.err)
    assert not list(Path().iterdir())


def test_a_control_or_transfer_is_not_resumed_on_a_cluster(cli: Cli) -> None:

    control = run_control(run_recipe(tiny(), "tiny", out="runs"), "shuffled")
    result = cli("resume", control.folder, "--engine", "ray")
    assert result.code == 2
    assert "--kind KIND --engine ray" in flat(result.err)
