import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lthprune.experiments.execution import run_recipe
from lthprune.experiments.folders import find_runs
from tests.cli.conftest import Cli
from tests.tiny import SETTINGS, command, contents, environment, tiny

WORDS = [part for word in (*SETTINGS, "run.trials=3") for part in ("--set", word)]
PAGE = (Path(__file__).parents[2] / "docs/how-to/many-machines.md").read_text("utf-8")


def test_pieces_are_run_and_merged(cli: Cli) -> None:
    for trials in ("0..1", "2..2"):
        result = cli("run", "lenet-digits", *WORDS, "--trials", trials, "--out", "pieces")
        assert (result.code, result.err, result.narrow) == (0, "", True)
        assert "This is a piece of a run: trial" in result.out
    pieces = find_runs("pieces")
    listed = cli("runs", "--out", "pieces")
    assert ("imp x2 of 3" in listed.out, "imp x1 of 3" in listed.out, listed.narrow) == (True, True, True)
    merged = cli("merge", *(piece.folder for piece in pieces), "--out", "merged")
    assert (merged.code, merged.err, merged.narrow) == (0, "", True)
    assert "Run directory: merged" in merged.out
    assert "All 3 levels are finished" in merged.out
    assert "piece" not in merged.out
    cli("run", "lenet-digits", *WORDS, "--out", "whole")
    (whole,) = find_runs("whole")
    assert contents(Path("merged")) == contents(whole.folder)


@pytest.mark.heavy
def test_a_piece_is_plotted_by_its_first_trial(cli: Cli) -> None:
    cli("run", "lenet-digits", *WORDS, "--trials", "1..2")
    result = cli("plot", "latest")
    assert (result.code, result.err) == (0, "")


def test_a_piece_is_analysed_and_exported_by_its_first_trial(cli: Cli) -> None:
    cli("run", "lenet-digits", *WORDS, "--trials", "1..2")
    analysed, exported = cli("analyze", "latest"), cli("export", "latest", "--compact")
    assert (analysed.code, exported.code) == (0, 0)
    assert "trial 1: structural states" in analysed.out
    assert "Level 2, trial 1" in exported.out
    assert "exports/level-02-trial-1/" in exported.out


@pytest.mark.parametrize("trials", ["", "3..2", "two", "1..", "-1..2", "0...2"])
def test_trials_that_cannot_be_read_are_refused(cli: Cli, trials: str) -> None:
    result = cli("run", "lenet-digits", *WORDS, f"--trials={trials}")
    assert result.code == 2
    assert f"--trials {trials}: give the number of trials" in flat(result.err)
    assert not Path("runs").exists()


def test_trials_beyond_the_recipes_are_refused(cli: Cli) -> None:
    for last in (3, 10**12):
        result = cli("run", "lenet-digits", *WORDS, "--trials", f"2..{last}")
        assert result.code == 2
        assert "there is no trial 3 to train: the recipe has trials 0-2" in flat(result.err)
    assert not Path("runs").exists()


def test_pieces_that_do_not_make_a_run_are_refused(cli: Cli) -> None:
    cli("run", "lenet-digits", *WORDS, "--trials", "0..1", "--out", "pieces")
    (piece,) = find_runs("pieces")
    result = cli("merge", piece.folder, "--out", "merged")
    assert result.code == 2
    assert "trial 2 of 3 is in no piece" in flat(result.err)
    assert not Path("merged").exists()


@pytest.mark.heavy
def test_the_job_array_of_the_how_to_makes_the_run(tmp_path: Path) -> None:
    """As SLURM would start it, without SLURM; one task is killed and started again."""
    script, merging = (block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "pieces/trial-" in block)
    recipe = tiny("run.trials=3", "model.dense=[40]", "train.steps=2000", "train.evaluate_every=500")
    (tmp_path / "own.toml").write_text(recipe.to_toml())
    (tmp_path / "array.sh").write_text(script.replace("run lenet-mnist", "run own.toml"))
    (tmp_path / "lthprune").write_text(f'#!/bin/sh\nexec {shlex.join(command())} "$@"\n')
    (tmp_path / "lthprune").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    def start(words: list[str], number: int = 0) -> "subprocess.Popen[bytes]":
        variables = environment(SLURM_ARRAY_TASK_ID=str(number), PATH=path)
        return subprocess.Popen(words, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, start_new_session=True)

    task = start(["bash", "array.sh"], 2)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("pieces/trial-2/*/trial-2/level-00.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.killpg(task.pid, signal.SIGKILL)
    task.wait()
    for number in range(3):
        assert start(["bash", "array.sh"], number).wait(120) == 0
    assert [len(list(tmp_path.glob(f"pieces/trial-{number}/*"))) for number in range(3)] == [1, 1, 1]
    assert start(["bash", "-c", merging]).wait(120) == 0
    whole = run_recipe(recipe, "own", out=tmp_path / "whole", threads=1)
    assert contents(tmp_path / "runs" / "lenet-mnist") == contents(whole.folder)


def flat(text: str) -> str:
    """Printed text without the ends of its lines."""
    return " ".join(text.split())
