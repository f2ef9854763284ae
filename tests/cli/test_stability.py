"""The verb ``stability``."""

import json
import shutil
from pathlib import Path

import pytest

from lthprune.experiments.run import Run
from tests.cli.conftest import Cli


def test_stability_shows_barriers_says_from_where_on_networks_are_stable_and_names_its_figures(
    finished: Run, cli: Cli
) -> None:
    run = Path(shutil.copytree(finished.folder, "run"))
    result = cli("stability", run, "--at", "0,3,6", "--points", 1)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    lines = result.out.splitlines()
    assert [line.split()[1:6:2] for line in lines if line.startswith("step  ")] == [
        [step, level, trial] for step in "036" for level in "02" for trial in "01"
    ]
    dense, ticket = Run(run).stability()
    for each in (dense, ticket):
        means = [f"{100 * each.mean_barriers(data)[0]:.2f}" for data in ("test", "train")]
        (row,) = (line.split() for line in lines if line.split()[:3] == [str(each.level), f"{each.density:.2%}", "0"])
        assert [row[3], row[5]] == means
        assert row[7:] == [f"{each.distances()[0].mean():.2f}", f"{each.angles()[0].mean():.0f}"]
    text = " ".join(result.out.split())
    for name, each in (("The dense network", dense), ("The ticket of level 2", ticket)):
        stable = [each.earliest_stable(data) for data in ("test", "train")]
        words = ["not yet stable at step 3" if step is None else f"stable from step {step}" for step in stable]
        assert f"{name}: {words[0]} by test error; {words[1]} by training error." in text
    paths = [Path(line) for line in lines if line.startswith("run/")]
    assert {path.name for path in paths} == {
        f"{name}.{ending}" for name in ("stability", "interpolation") for ending in ("png", "svg", "pdf")
    }
    assert all(path.is_file() for path in paths)

    again = cli("stability", run, "--at", "3", "--level", 2, "--points", 1)
    assert "trial" not in again.out
    assert "The dense network" not in again.out

    last = cli("stability", run, "--at", "6", "--level", 0, "--points", 1)
    assert "The dense network: unknown, since no copy moved. Measure earlier steps." in " ".join(last.out.split())
    for path in (run / "stability").glob("level-00-step-3-*.json"):
        stored = json.loads(path.read_text())
        stored["pairs"][0]["errors"]["test"] = [0.1, 0.5, 0.1]
        path.write_text(json.dumps(stored))
    unstable = cli("stability", run, "--at", "3,6", "--level", 0, "--points", 1)
    assert "The dense network: not yet stable at step 3 by test error" in " ".join(unstable.out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--at", "0,x"), "--at 0,x: list steps with commas between them, as in --at 0,100,500."),
        (("run", "--at", "3,0"), "at = 3, 0: list the steps in ascending order, each once"),
        (("run", "--at", "0,7"), "the training of run ends at step 6"),
        (("run", "--at", "0", "--level", "3"), "level 3 of run is not finished; levels 0 to 2 are"),
        (("run", "--at", "0", "--copies", "1"), "copies = 1: this must be 2 or more"),
        (("nowhere", "--at", "0"), "nowhere does not exist"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_paragraph(
    arguments: tuple[str, ...], words: str, finished: Run, cli: Cli
) -> None:
    run = Path(shutil.copytree(finished.folder, "run"))
    result = cli("stability", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in " ".join(result.err.split())
    assert not (run / "stability").exists()
