"""What the command line says of trials that diverged, collapsed or are dead."""

import json
import re
from pathlib import Path

import pytest

from lthprune.experiments.execution import run_recipe
from lthprune.search import Failure
from lthprune_cli.failures import count_failures, describe_failures
from tests.cli.conftest import Cli
from tests.fragile import fragile
from tests.tiny import SETTINGS

pytestmark = pytest.mark.filterwarnings("ignore::lthprune.errors.DivergedWarning")


def test_trials_that_diverge_are_named_at_once_and_ones_of_which_all_do_end_the_command(cli: Cli) -> None:
    settings = [word for each in (*SETTINGS, "train.optimizer=sgd", "train.lr=1e38") for word in ("--set", each)]
    result = cli("run", "lenet-digits", *settings)
    said = " ".join(result.err.split())
    for trial in range(2):
        where = rf"Warning: trial {trial} diverged at level 0, step [246], learning rate 1e\+38: the training loss is "
        assert re.search(where, said)
    assert "Error: the training of every trial diverged" in said
    assert "--set train.lr=1e+37" in said
    assert (result.code, result.narrow) == (2, True)
    (folder,) = Path("runs").iterdir()
    again = cli("resume", folder)
    assert (again.code, "resume with" in again.out) == (2, False)
    for verb in ("plot", "analyze", "export"):
        refused = cli(verb, folder)
        assert refused.code == 2
        assert "every trial diverged" in " ".join(refused.err.split()), verb
    assert "ended" in cli("runs").out


def test_the_summary_the_list_of_runs_and_json_name_the_trials_that_failed(cli: Cli, tmp_path: Path) -> None:
    with fragile(tmp_path) as recipe:
        run = run_recipe(recipe, "fragile", out="runs")
        described = json.loads(cli("analyze", run.folder, "--trust-code", "--json", "-").out)
    summary = cli("summary", run.folder)
    said = " ".join(summary.out.split())
    assert "Trial 1 diverged at level 0, step 2, learning rate 0.0012: the training loss is NaN." in said
    assert "3 of 4" in said
    assert "2 of 4" in said
    assert (summary.code, summary.narrow) == (0, True)
    assert f"Of the trials of {run.name}, 2 diverged." in " ".join(cli("runs").out.split())
    assert [each["kind"] for each in described["failures"]] == ["diverged"]


def test_failures_are_counted_and_described_trial_by_trial() -> None:
    failures = [Failure(kind="dead", trial=1, level=level, reason="it is") for level in (2, 3, 5)]
    failures.append(Failure(kind="diverged", trial=0, level=1, reason="it did", step=3_000, lr=0.5))
    assert count_failures(failures) == "1 diverged, 1 dead"
    assert describe_failures(failures) == [
        "Trial 0 diverged at level 1, step 3,000, learning rate 0.5: it did.",
        "Trial 1 is dead at levels 2-3 and 5: it is.",
    ]
    failures.append(Failure(kind="dead", trial=1, level=6, reason="it still is"))
    assert describe_failures(failures)[1] == "Trial 1 is dead at levels 2-3 and 5-6: at first it is."
    assert count_failures([]) == ""
