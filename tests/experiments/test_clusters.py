"""Runs, controls and sweeps on a cluster that works in this process; ``integrations/test_ray.py`` has a real one."""

import os
import shutil
from collections import deque
from pathlib import Path

import pytest

from lthprune.errors import LthpruneError, RecipeError, StorageError
from lthprune.experiments.clusters import resume_run_on, run_controls_on, run_recipe_on, run_sweep_on
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.jobs import Evaluated, Job, Lost, Message, Written, perform
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.experiments.spec import ResourceSpec
from lthprune.experiments.sweep import Sweep, begin_sweep, run_sweep
from tests.fragile import fragile
from tests.tiny import SETTINGS, contents, joined, tiny, write_npz


class DeadError(Exception):
    pass


class Here:
    """A cluster that does one job after the other, in this process.

    Args:
        losses: by the name of a job, how many messages its workers send before they die, worker by worker.
    """

    def __init__(self, losses: dict[str, list[int]] | None = None) -> None:
        self.losses, self.jobs, self.given = losses or {}, deque[Job](), list[ResourceSpec]()
        self.messages, self.cancelled = deque[tuple[str, Message]](), 0

    def submit(self, job: Job, resources: ResourceSpec) -> None:
        self.jobs.append(job)
        self.given.append(resources)

    def receive(self) -> tuple[str, Message]:
        while not self.messages:
            job = self.jobs.popleft()
            fatal = self.losses.get(job.name) or [10**6]
            left = fatal.pop(0)

            def send(message: Message, job: Job = job) -> None:
                nonlocal left
                if left == 0:
                    raise DeadError
                left -= 1
                self.messages.append((job.name, message))

            try:
                perform(job, send)
            except DeadError:
                self.messages.append((job.name, Lost("its node was switched off")))
        return self.messages.popleft()

    def cancel(self) -> None:
        self.jobs.clear()
        self.messages.clear()
        self.cancelled += 1


def bits(run: Run) -> tuple[object, bytes]:
    return contents(run.folder), (run.folder / "manifest.json").read_bytes()


def names(run: Run) -> set[str]:
    return {path.name for path in run.folder.iterdir()} - {".lock"}


@pytest.mark.parametrize(
    "words", [(), ("prune.rewind=3",), ("pretrain.steps=3", "pretrain.data.name=digits", "pretrain.data.validation=9")]
)
def test_a_run_on_a_cluster_has_the_bits_of_a_local_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    recipe = tiny("run.trials=3", "resources.cpus=2", *words)
    began: list[Path] = []
    seen: set[int] = set()
    levels: list[tuple[int, ...]] = []
    watcher = Watcher(
        on_begin=lambda run: began.append(run.folder),
        on_evaluation=lambda level, trial, evaluation: seen.add(trial),
        on_level=lambda tickets: levels.append(tuple(ticket.trial for ticket in tickets)),
    )
    cluster = Here()
    run = run_recipe_on(cluster, recipe, "tiny", out=tmp_path, threads=1, watcher=watcher)
    local = run_recipe(recipe, "tiny", out=tmp_path / "local")
    assert bits(run) == bits(local)
    assert names(run) == names(local)
    assert (began, seen, levels) == ([run.folder], {0, 1, 2}, [(0, 1, 2)] * 3)
    assert [each.cpus for each in cluster.given] == [2, 2, 2]
    assert cluster.cancelled == 1
    assert set(run.environment()["seconds_per_level"]) == {"0", "1", "2"}


def test_a_lost_job_goes_on_after_its_last_level_and_the_bits_stay(tmp_path: Path) -> None:
    recipe = tiny("run.trials=2")
    cluster = Here({"trial-0": [0, 3]})
    with pytest.warns(
        UserWarning, match=r"trial-0 lost its worker \(its node was switched off\); it goes on elsewhere"
    ):
        run = run_recipe_on(cluster, recipe, "tiny", out=tmp_path, threads=1)
    assert bits(run) == bits(run_recipe(recipe, "tiny", out=tmp_path / "local"))
    assert len(cluster.given) == 4


def test_a_resubmitted_job_starts_with_the_levels_that_the_driver_has(tmp_path: Path) -> None:
    finished: list[int] = []

    class Counting(Here):
        def submit(self, job: Job, resources: ResourceSpec) -> None:
            super().submit(job, resources)
            finished.append(sum("level-" in path for path in job.files[0]))

    with pytest.warns(UserWarning, match="lost its worker"):
        run_recipe_on(Counting({"trial-0": [3]}), tiny("run.trials=1"), "tiny", out=tmp_path, threads=1)
    assert finished == [0, 1]


def test_a_job_that_is_lost_again_and_again_ends_the_run_which_can_be_resumed(tmp_path: Path) -> None:
    recipe = tiny("run.trials=2")
    with (
        pytest.warns(UserWarning, match="lost its worker"),
        pytest.raises(LthpruneError, match="trial-1 lost its worker 3 times without finishing a level"),
    ):
        run_recipe_on(Here({"trial-1": [0, 0, 0]}), recipe, "tiny", out=tmp_path / "runs", threads=1)
    (folder,) = (tmp_path / "runs").iterdir()
    run = Run(folder)
    assert (run.tickets.finished, Run(folder / "pieces" / "trial-0").tickets.finished) == (0, 3)
    cluster = Here()
    resume_run_on(cluster, run, threads=1)
    assert len(cluster.given) == 1  # trial 0 was finished
    local = run_recipe(recipe, "tiny", out=tmp_path / "local")
    assert (bits(run), names(run)) == (bits(local), names(local))


def interrupted(recipe: Recipe, out: Path, level: int) -> Run:
    """A run on a cluster that Ctrl-C stops once a level is finished."""

    def stop(tickets: object) -> None:
        if Run(next(iter(out.iterdir()))).tickets.finished > level:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe_on(Here(), recipe, "tiny", out=out, threads=1, watcher=Watcher(on_level=stop))
    return Run(next(iter(out.iterdir())))


@pytest.mark.parametrize("on_cluster", [True, False])
def test_an_interrupted_run_is_resumed_on_a_cluster_or_without_one(tmp_path: Path, on_cluster: bool) -> None:
    recipe = tiny("run.trials=2")
    run = interrupted(recipe, tmp_path / "runs", 0)
    assert run.state == "resumable"
    assert run.summary()[0].level == 0
    resume_run_on(Here(), run, threads=1) if on_cluster else resume_run(run)
    local = run_recipe(recipe, "tiny", out=tmp_path / "local")
    assert (bits(run), names(run)) == (bits(local), names(local))


def test_a_run_that_went_on_without_the_cluster_splits_its_pieces_anew(tmp_path: Path) -> None:
    recipe = tiny("run.trials=2", "prune.levels=3")
    run = interrupted(recipe, tmp_path / "runs", 0)
    shutil.rmtree(run.folder / "pieces" / "trial-1")
    (run.folder / "pieces" / "trial-0" / "manifest.json").unlink()
    resume_run_on(Here(), run, threads=1)
    assert bits(run) == bits(run_recipe(recipe, "tiny", out=tmp_path / "local"))


@pytest.mark.filterwarnings("ignore:.*layer collapse")
def test_a_run_on_a_cluster_ends_where_its_stop_when_says(tmp_path: Path) -> None:
    words = ("model.dense=[6, 6]", "prune.scope=global", "prune.target=2", "prune.levels=8", "run.stop_when=degraded")
    recipe = joined(*words)
    run = run_recipe_on(Here(), recipe, "tiny", out=tmp_path, threads=1)
    assert run.tickets.ended is not None
    assert bits(run) == bits(run_recipe(recipe, "tiny", out=tmp_path / "local"))


@pytest.mark.filterwarnings("ignore::lthprune.errors.DivergedWarning")
@pytest.mark.parametrize("trials", [4, 2])
def test_trials_that_diverge_on_a_cluster_are_kept_as_those_of_a_local_run(tmp_path: Path, trials: int) -> None:
    stopped: list[tuple[int, int]] = []
    watcher = Watcher(on_diverged=lambda failure: stopped.append((failure.trial, failure.level)))
    with fragile(tmp_path, f"run.trials={trials}") as recipe:
        run = run_recipe_on(Here(), recipe, "fragile", out=tmp_path / "runs", threads=1, watcher=watcher)
        local = run_recipe(recipe, "fragile", out=tmp_path / "local")
    assert stopped == [(0, 1), (1, 0)]
    assert (bits(run), names(run)) == (bits(local), names(local))
    assert (run.tickets.ended is None) == (trials == 4)


def test_controls_on_a_cluster_have_the_bits_of_local_ones(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path / "here")
    shutil.copytree(run.folder, tmp_path / "there")
    there, controls = Run(tmp_path / "there"), [("shuffled", 0), ("shuffled", 1), ("one-shot", 0)]
    levels: list[tuple[str, int]] = []
    with pytest.warns(UserWarning, match="shuffled-1 lost its worker"):
        done = run_controls_on(
            Here({"shuffled-1": [3]}),
            there,
            controls,
            threads=1,
            watch=lambda kind, repeat: Watcher(on_level=lambda tickets: levels.append((kind, tickets[0].level))),
        )
    for (kind, repeat), control in zip(controls, done, strict=True):
        assert control.control == {"kind": kind, "repeat": repeat}
        assert bits(control) == bits(run_control(run, kind, repeat))
    assert sorted(levels) == sorted((kind, level) for kind, _ in controls for level in range(3))
    assert len(there.comparisons()) == 2


def test_a_control_that_does_not_apply_is_refused_before_any_is_sent(tmp_path: Path) -> None:
    run, cluster = run_recipe(tiny("prune.method=osp"), "tiny", out=tmp_path), Here()
    with pytest.raises(RecipeError, match="one-shot"):
        run_controls_on(cluster, run, [("shuffled", 0), ("one-shot", 0)])
    assert not cluster.given
    assert not (run.folder / "controls").exists()


def test_a_sweep_on_a_cluster_has_the_bits_of_a_local_one(tmp_path: Path) -> None:
    axes = {"train.lr": [0.01, 0.1], "prune.method": ["imp", "osp"]}
    here, there = (begin_sweep("lenet-digits", axes, SETTINGS, out=tmp_path / name) for name in ("here", "there"))
    run_sweep(here)
    first = there.cells()[0]
    with pytest.warns(UserWarning, match="lost its worker"):
        run_sweep_on(Here({first.run.name: [2]}), there, threads=1)
    assert [bits(cell.run) for cell in there.cells()] == [bits(cell.run) for cell in here.cells()]
    assert all(cell.finished for cell in Sweep(there.folder).cells())
    cluster = Here()
    run_sweep_on(cluster, there)
    assert not cluster.given


def test_a_worker_with_other_data_is_refused_and_named(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "own.npz")
    recipe = tiny(f"data.name={data}", "data.validation=10", "train.batch_size=10")

    class Elsewhere(Here):
        def receive(self) -> tuple[str, Message]:
            write_npz(data, seed=1)
            return super().receive()

    with pytest.raises(StorageError, match=rf"on {os.uname().nodename}: the data of {tmp_path}/runs/.* are not those"):
        run_recipe_on(Elsewhere(), recipe, "tiny", out=tmp_path / "runs", threads=1)


def test_workers_read_the_data_root_of_their_own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTHPRUNE_DATA", str(tmp_path / "mine"))
    run = run_recipe_on(Here(), tiny("run.trials=1"), "tiny", out=tmp_path / "runs", threads=1)
    assert run.data_dir == str(tmp_path / "mine")
    given = run_recipe_on(Here(), tiny("run.trials=1"), "tiny", out=tmp_path, data_dir=tmp_path / "own", threads=1)
    assert given.data_dir == str(tmp_path / "own")
    monkeypatch.setenv("LTHPRUNE_DATA", str(tmp_path / "another"))
    (control,) = run_controls_on(Here(), run, [("shuffled", 0)], threads=1)
    assert control.data_dir == str(tmp_path / "another")


def test_resources_change_neither_the_results_nor_the_identity_of_a_run(tmp_path: Path) -> None:
    one, other = (run_recipe(tiny(f"resources.cpus={cpus}"), "tiny", out=tmp_path) for cpus in (1, 4))
    assert bits(one) == bits(other)
    assert (one.recipe().resources.cpus, other.recipe().resources.cpus) == (1, 4)
    (one.folder / "recipe.toml").write_text((other.folder / "recipe.toml").read_text())
    assert resume_run(one).recipe().resources.cpus == 4


def test_a_worker_sends_what_it_wrote_once_and_the_manifest_with_it(tmp_path: Path) -> None:
    run = run_recipe(tiny("run.trials=1"), "tiny", out=tmp_path)
    sent: list[Message] = []
    perform(Job("again", ({},), lambda folder, watcher: _write_twice(folder, watcher), ".", "here"), sent.append)
    assert [sorted(each.files) for each in sent if isinstance(each, Written)] == [["one"], ["two"]]
    assert not [each for each in sent if isinstance(each, Evaluated)]
    assert run.complete


def _write_twice(folder: Path, watcher: Watcher) -> None:
    (folder / "one").write_text("1")
    (folder / ".lock").write_text("")
    watcher.on_level(())
    (folder / "two").write_text("2")
