"""The verb ``control``, and what ``summary`` says of controls."""

import json
import shutil
from pathlib import Path

import pytest

from lthprune.experiments.control_kinds import BEFORE_TRAINING, CONTROLS, DENSITIES, EARLY_BIRDS
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.run import Run
from tests.cli.conftest import Cli
from tests.tiny import contents, tiny


def test_control_trains_each_kind_and_repetition_and_says_how_the_tickets_compare(finished: Run, cli: Cli) -> None:
    run = shutil.copytree(finished.folder, "run")
    result = cli("control", run, "--kind", "shuffled", "--kind", "one-shot", "--repeats", "2")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert sorted(path.name for path in Path(run).glob("controls/*")) == ["one-shot-0", "shuffled-0", "shuffled-1"]
    for words in ("shuffled (the initial weights; each layer's mask shuffled", "repetition 1", "2 per trial"):
        assert words in " ".join(result.out.split())
    sentences = [line for line in result.out.splitlines() if line.startswith(("one-shot: ", "shuffled: "))]
    assert len(sentences) == 2
    table = result.out[result.out.index("Test accuracy of tickets minus control") :]
    assert cli("summary", run).out.endswith(table)
    before = contents(Path(run) / "controls/shuffled-0")
    assert cli("control", run, "--kind", "shuffled").out.endswith(table)
    assert contents(Path(run) / "controls/shuffled-0") == before


def test_all_trains_every_kind_that_applies(cli: Cli) -> None:
    run = run_recipe(tiny("prune.method=osp", "prune.rewind=lr", "run.trials=1"), "tiny")
    result = cli("control", run.folder, "--kind", "all")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    trained = {path.name.removesuffix("-0") for path in run.folder.glob("controls/*")}
    too_short = {*EARLY_BIRDS}
    assert trained == {*CONTROLS} - {*DENSITIES} - {*BEFORE_TRAINING} - too_short - {"one-shot"}
    assert "a single trial gives no intervals" in " ".join(result.out.split())


def test_resume_continues_a_control_after_its_last_finished_level(finished: Run, cli: Cli) -> None:
    run = Path(shutil.copytree(finished.folder, "run"))
    assert cli("control", run, "--kind", "shuffled").code == 0
    control = run / "controls/shuffled-0"
    whole = contents(control)
    manifest = control / "manifest.json"

    kept = json.loads(manifest.read_text())
    del kept["finished"][1:]
    manifest.write_text(json.dumps(kept))
    result = cli("resume", control)
    assert (result.code, result.err) == (0, "")
    assert "All 3 levels are finished" in result.out
    assert contents(control) == whole


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--kind", "shufled"), "unknown control 'shufled'; did you mean 'shuffled'?"),
        (("run/controls/shuffled-0", "--kind", "shuffled"), "is itself a control. Name the run that it controls"),
        (("nowhere", "--kind", "shuffled"), "nowhere does not exist"),
        (("begun", "--kind", "shuffled"), "no level of begun is finished yet; resume with: lthprune resume begun"),
    ],
)
def test_what_cannot_be_controlled_is_refused_in_one_paragraph(
    arguments: tuple[str, ...], words: str, finished: Run, cli: Cli
) -> None:

    run, begun = (Path(shutil.copytree(finished.folder, name)) for name in ("run", "begun"))
    assert cli("control", run, "--kind", "shuffled").code == 0
    manifest = json.loads((begun / "manifest.json").read_text()) | {"finished": []}
    (begun / "manifest.json").write_text(json.dumps(manifest))
    result = cli("control", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in " ".join(result.err.split())
