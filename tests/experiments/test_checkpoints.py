"""Runs, controls and transfers that end in the middle of a level continue from their checkpoints."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.run import Run
from lthprune.experiments.transfer import transfer_run
from lthprune.training import checkpoint
from lthprune.training.checkpoint import Checkpoint
from lthprune.training.record import Evaluation
from tests.tiny import contents, copied_before_writes, environment, tiny, toys

LONG = ("train.steps=40", "train.evaluate_every=4", "prune.levels=1")
VARIED = ("run.keep_early_stop=true", "train.patience=1", "prune.rewind=3", "train.optimizer=adam")
NORMED = (
    "model.kind=plan",
    'model.conv=["2B", "M"]',
    "prune.rate=0.3",
    "train.augment=['crop', 'flip']",
    "train.steps=4",
    "train.evaluate_every=1",
    "prune.levels=1",
)


class KilledError(Exception):
    """The process ends here."""


@pytest.fixture(autouse=True)
def a_checkpoint_at_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("checkpoint-*"))


def broken_off(go: Callable[[Watcher], Run], at: tuple[int, int]) -> tuple[Run, list[tuple[int, int]]]:
    """Do something until an evaluation, given by level and step, and again; return the evaluations of the second."""
    seen: list[tuple[int, int]] = []

    def stop(level: int, trial: int, evaluation: Evaluation) -> None:
        if (level, evaluation.step) == at:
            raise KilledError

    with pytest.raises(KilledError):
        go(Watcher(on_evaluation=stop))
    return go(Watcher(on_evaluation=lambda level, trial, evaluation: seen.append((level, evaluation.step)))), seen


def begun_or_resumed(out: Path, *words: str) -> Callable[[Watcher], Run]:
    """Return a function that begins a run in a folder, and resumes it when called again."""

    def go(watcher: Watcher) -> Run:
        there = list((out / "broken off").glob("*"))
        if there:
            return resume_run(Run(there[0]), watcher=watcher)
        return run_recipe(tiny(*words), "tiny", out=out / "broken off", watcher=watcher)

    return go


@pytest.mark.parametrize("words", [(), VARIED, NORMED, ("train.engine=reference", *VARIED)], ids=" ".join)
def test_a_run_killed_before_any_of_its_writes_resumes_to_the_same_bits(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, copies = copied_before_writes(
        tmp_path, monkeypatch, lambda out: run_recipe(tiny("prune.levels=1", *words), "tiny", out=out)
    )
    assert not checkpoints(whole.folder)
    expected, continued = contents(whole.folder), 0
    for copy in copies:
        if (copy / "manifest.json").exists():
            continued += len(checkpoints(copy))
            assert contents(resume_run(Run(copy)).folder) == expected, copy
            assert not checkpoints(copy)
    assert continued >= 3


def test_a_copy_kept_before_a_checkpoint_and_never_again_is_stored_with_the_same_bits(tmp_path: Path) -> None:
    words = ("run.keep_early_stop=true", "train.optimizer=sgd", "train.lr=30", *LONG)
    whole = run_recipe(tiny(*words), "tiny", out=tmp_path / "whole")
    best = [ticket.metrics["early_stop_step"] for ticket in whole.tickets.level(1)]
    assert min(best) < 32
    run, _ = broken_off(begun_or_resumed(tmp_path, *words), at=(1, 36))
    assert contents(run.folder) == contents(whole.folder)


def test_a_run_killed_with_signal_nine_continues_within_level_0_to_the_same_bits(tmp_path: Path) -> None:
    program = f"""if True:
        import os, signal
        from lthprune import run_recipe
        from lthprune.experiments import Watcher
        from lthprune.training import checkpoint
        from tests.tiny import tiny

        def kill(level, trial, evaluation):
            if evaluation.step == 28 and trial == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.EVERY = 0.0
        run_recipe(tiny(*{LONG!r}), "tiny", out={str(tmp_path / "killed")!r}, watcher=Watcher(on_evaluation=kill))
    """
    env = environment(PYTHONPATH=os.pathsep.join(sys.path))
    killed = subprocess.run([sys.executable, "-c", program], env=env, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    (folder,) = (tmp_path / "killed").iterdir()
    assert checkpoints(folder) == ["checkpoint-0.safetensors"]
    seen: list[tuple[int, int]] = []
    watcher = Watcher(on_evaluation=lambda level, trial, evaluation: seen.append((level, evaluation.step)))
    resumed = resume_run(Run(folder), watcher=watcher)
    assert seen[:2] == [(0, 28), (0, 28)]  # of both trials
    whole = run_recipe(tiny(*LONG), "tiny", out=tmp_path / "whole")
    assert contents(resumed.folder) == contents(whole.folder)


@pytest.mark.parametrize("kind", ["shuffled", "reinitialised", "dense-longer", "one-shot", "small-dense"])
def test_a_control_continues_within_a_level_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    run = run_recipe(tiny(*LONG, *VARIED, 'model.kind="mlp"'), "tiny", out=tmp_path / "a")
    other = run_recipe(tiny(*LONG, *VARIED, 'model.kind="mlp"'), "tiny", out=tmp_path / "b")
    control, seen = broken_off(lambda watcher: run_control(run, kind, watcher=watcher), (1, 12))
    assert min(seen) == (1, 12)
    assert contents(control.folder) == contents(run_control(other, kind).folder)
    assert not checkpoints(run.folder)


def test_early_birds_continue_with_each_trial_where_it_was(tmp_path: Path) -> None:
    words = ("train.steps=200", "train.evaluate_every=10", "prune.levels=1")
    run, other = (run_recipe(tiny(*words), "tiny", out=tmp_path / name) for name in "ab")
    before: list[tuple[int, int]] = []
    after: list[tuple[int, int]] = []

    def stop(level: int, trial: int, evaluation: Evaluation) -> None:
        before.append((trial, evaluation.step))
        if [trial for trial, _ in before].count(1) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        run_control(run, "early-bird", watcher=Watcher(on_evaluation=stop))
    folder = run.folder / "controls" / "early-bird-0"
    assert checkpoints(folder) == ["checkpoint-0.safetensors", "checkpoint-1.safetensors"]
    watcher = Watcher(on_evaluation=lambda level, trial, evaluation: after.append((trial, evaluation.step)))
    control = run_control(run, "early-bird", watcher=watcher)
    assert after[:2] == [(0, 200), before[-1]]
    assert contents(control.folder) == contents(run_control(other, "early-bird").folder)


def test_a_transfer_continues_within_a_level_to_the_same_bits(tmp_path: Path) -> None:
    run, other = (run_recipe(tiny(*LONG), "tiny", out=tmp_path / name) for name in "ab")
    recipe = tiny(*LONG, "train.optimizer=sgd", "train.momentum=0.9")
    transferred, seen = broken_off(lambda watcher: transfer_run(run, recipe, "sgd", watcher=watcher), (0, 24))
    assert min(seen) == (0, 24)
    assert contents(transferred.folder) == contents(transfer_run(other, recipe, "sgd").folder)


def test_a_checkpoint_of_another_level_or_another_run_is_not_used(tmp_path: Path) -> None:
    first, second = tiny(*LONG), tiny(*LONG, "train.lr=0.01")
    runs: list[Run] = []

    def stop(level: int, trial: int, evaluation: Evaluation) -> None:
        if (level, evaluation.step) == (1, 20):
            raise KilledError

    for recipe in (first, second):
        with pytest.raises(KilledError):
            run_recipe(recipe, "tiny", out=tmp_path, watcher=Watcher(runs.append, stop))
    one, other = (run.folder / "checkpoint-0.safetensors" for run in runs)
    other.write_bytes(one.read_bytes())
    seen: list[tuple[int, int]] = []
    resumed = resume_run(
        runs[1], watcher=Watcher(on_evaluation=lambda level, trial, each: seen.append((level, each.step)))
    )
    assert min(seen) == (1, 4)
    assert contents(resumed.folder) == contents(run_recipe(second, "tiny", out=tmp_path / "whole").folder)


@pytest.mark.filterwarnings("ignore::lthprune.errors.LayerCollapseWarning")
@pytest.mark.parametrize("words", [(), ("run.stop_when=degraded",)])
def test_a_checkpoint_that_a_kill_left_beside_a_finished_level_is_removed(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    run = run_recipe(toys(*words), "tiny", out=tmp_path)
    expected = contents(run.folder)
    Checkpoint(run.folder / "checkpoint-0.safetensors", "").write({"weight": torch.zeros(1)})
    assert contents(resume_run(run).folder) == expected
