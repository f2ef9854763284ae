"""The verbs on networks of torchvision: what one of them cannot follow, the others still show."""

from pathlib import Path

import pytest

from lthprune.experiments.execution import run_recipe
from lthprune.experiments.run import Run
from tests.cli.conftest import Cli
from tests.named import UNFOLLOWED, colours, recipe


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    own = recipe(colours(folder / "colours.npz"), kind=UNFOLLOWED, prune={"levels": 1})
    return run_recipe(own, "unknown", out=folder)


@pytest.mark.filterwarnings("default:no figures of:UserWarning")
@pytest.mark.parametrize("verb", ["analyze", "plot", "summary", "resume", "export"])
def test_no_verb_fails_on_a_network_that_cannot_be_followed(unknown: Run, cli: Cli, verb: str) -> None:
    result = cli(verb, unknown.folder, "--trust-code", *(["--out", "it"] if verb == "export" else []))
    assert result.code == (2 if verb == "analyze" else 0)
    assert "Traceback" not in result.out + result.err
    assert ("lthprune failed" in result.err, "cumsum" in result.err) == (False, verb in ("analyze", "plot"))


def test_show_lists_a_network_whose_names_are_longer_than_a_line(cli: Cli) -> None:
    words = ["model.kind=torchvision", "model.name=mobilenet_v3_small", "data.name=cifar10", "prune.rate=0.2"]
    result = cli("show", "lenet-digits", *(word for setting in words for word in ("--set", setting)))
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert "model.name" in result.out
    assert "model.init" not in result.out


def test_run_refuses_a_network_that_does_not_fit_with_a_sentence_and_writes_nothing(cli: Cli) -> None:
    words = ["model.kind=torchvision", "model.name=resnet18"]
    result = cli("run", "lenet-digits", *(word for setting in words for word in ("--set", setting)))
    assert (result.code, list(Path().iterdir())) == (2, [])
    assert "torchvision's resnet18 needs images with 3 channels" in " ".join(result.err.split())
