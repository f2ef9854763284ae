"""The number of threads of a run: asked for, kept, used while it runs, and restored for the caller."""

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from lthprune.errors import LthpruneError, StorageError
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.folders import find_runs
from lthprune.experiments.run import Run
from lthprune.experiments.sweep import Sweep, begin_sweep, run_sweep
from lthprune.experiments.threads import torch_threads
from lthprune.experiments.timing import estimate_time
from tests.tiny import SETTINGS, tiny

BAD: list[Any] = [0, -1, 5, 10**9, 1.5, True, "2"]
REFUSED = "threads = .*: this must be a whole number from 1 to the number of cores, here 4"


class InterruptionError(Exception):
    pass


@pytest.fixture(autouse=True)
def _caller_with_three_threads_on_four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == 3


def noting(seen: list[int], *, interrupt: bool = False) -> Watcher:
    """A watcher that notes with how many threads each level was trained, and may interrupt the run after the first."""

    def note(tickets: object) -> None:
        seen.append(torch.get_num_threads())
        if interrupt:
            raise InterruptionError

    return Watcher(on_level=note)


def kept(run: Run) -> tuple[object, object]:
    environment = run.environment()
    return environment["threads_asked"], environment["threads"]


@pytest.mark.parametrize(("asked", "used"), [(1, 1), (2, 2), (None, 3)])
def test_a_run_computes_with_the_threads_asked_for_and_keeps_both_numbers(
    tmp_path: Path, asked: int | None, used: int
) -> None:
    seen: list[int] = []
    run = run_recipe(tiny(), "tiny", out=tmp_path, threads=asked, watcher=noting(seen))
    assert seen == [used] * 3
    assert kept(run) == (asked, used)


def test_a_resumed_run_computes_with_the_threads_that_it_was_asked_for(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(InterruptionError):
        run_recipe(tiny(), "tiny", out=tmp_path, threads=2, watcher=noting(seen, interrupt=True))
    (run,) = find_runs(tmp_path)
    resume_run(run, watcher=noting(seen))  # without a warning of other roundings
    assert seen == [2, 2, 2]
    assert kept(run) == (2, 2)


def test_a_run_resumed_with_other_threads_warns_of_other_roundings(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(InterruptionError):
        run_recipe(tiny(), "tiny", out=tmp_path, threads=2, watcher=noting(seen, interrupt=True))
    (run,) = find_runs(tmp_path)
    with pytest.warns(UserWarning, match="threads was 2 and is 1"):
        resume_run(run, threads=1, watcher=noting(seen))
    assert seen == [2, 1, 1]


@pytest.mark.parametrize("number", BAD)
def test_bad_numbers_of_threads_are_refused_before_anything_is_made(tmp_path: Path, number: Any) -> None:
    with pytest.raises(LthpruneError, match=REFUSED):
        run_recipe(tiny(), "tiny", out=tmp_path, threads=number)
    with pytest.raises(LthpruneError, match=REFUSED):
        begin_sweep("lenet-digits", {"train.lr": [0.1]}, SETTINGS, out=tmp_path, threads=number)
    with pytest.raises(LthpruneError, match=REFUSED):
        estimate_time(tiny(), threads=number)
    assert list(tmp_path.iterdir()) == []


def test_more_threads_than_the_cores_of_another_machine_are_refused_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path, threads=4)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(LthpruneError, match=r"threads = 4: .*here 2"):
        resume_run(run)
    assert before == {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.warns(UserWarning, match="threads was 4 and is 2"):
        resume_run(run, threads=2)


def test_a_sweep_keeps_its_threads_for_all_its_cells(tmp_path: Path) -> None:
    seen: list[int] = []
    over = {"train.lr": [0.1, 0.2]}
    sweep = begin_sweep("lenet-digits", over, SETTINGS, out=tmp_path, threads=2)
    with pytest.raises(InterruptionError):
        run_sweep(sweep, watch=lambda cell: nullcontext(noting(seen, interrupt=True)))
    again = Sweep(sweep.folder)
    assert again.declaration()["threads"] == 2
    run_sweep(again, watch=lambda cell: nullcontext(noting(seen)))
    assert seen == [2] * 6
    assert [kept(cell.run) for cell in again.cells()] == [(2, 2)] * 2


def test_a_sweep_without_a_number_of_threads_uses_those_of_its_caller(tmp_path: Path) -> None:
    seen: list[int] = []
    sweep = begin_sweep("lenet-digits", {"train.lr": [0.1]}, SETTINGS, out=tmp_path)
    assert sweep.declaration()["threads"] is None
    run_sweep(sweep, watch=lambda cell: nullcontext(noting(seen)))
    assert seen == [3] * 3
    file = sweep.folder / "sweep.toml"
    file.write_text(f'threads = "many"\n{file.read_text()}')
    with pytest.raises(StorageError, match="threads = 'many'"):
        sweep.declaration()


def test_an_estimate_is_made_with_the_threads_asked_for() -> None:
    assert [estimate_time(tiny(), threads=number).threads for number in (2, None)] == [2, 3]


def test_threads_are_restored_after_an_error() -> None:
    def fail() -> None:
        with torch_threads(1):
            assert torch.get_num_threads() == 1
            raise InterruptionError

    with pytest.raises(InterruptionError):
        fail()


def test_a_run_of_an_earlier_version_is_resumed_with_the_callers_threads(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    environment = run.environment()
    del environment["threads_asked"]
    (run.folder / "environment.json").write_text(json.dumps(environment))
    seen: list[int] = []
    resume_run(run, watcher=noting(seen))
    assert run.environment() == environment


def test_a_run_of_a_version_without_compiled_kernels_is_resumed_with_a_warning(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    environment = run.environment()
    del environment["packages"]["numba"]
    (run.folder / "environment.json").write_text(json.dumps(environment))
    with pytest.warns(UserWarning, match="numba was not used and is .* may differ in their last bits"):
        resume_run(run)
