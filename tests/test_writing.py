"""One writer at a time in a folder, and what killed writers leave there."""

import json
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lthprune import imp
from lthprune.errors import StorageError
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import resume_run, run_in, run_recipe
from lthprune.experiments.run import Run
from lthprune.files import write_atomically
from lthprune.writing import only_writer
from tests.nets import net
from tests.tiny import contents, environment, tiny

HOLD = """
import sys, time
from pathlib import Path
from lthprune.writing import Writer

writer = Writer(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def other_writer(folder: Path) -> Iterator[int]:
    """Another process that writes to a folder until it is killed; yields its number."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process.pid
        finally:
            process.kill()


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for those of its lock."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", ".writer"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_second_writer_is_refused_and_told_the_process_and_host_of_the_first(tmp_path: Path) -> None:
    with other_writer(tmp_path) as number, pytest.raises(StorageError) as refused, only_writer(tmp_path):
        pass
    assert f"process {number} on {platform.node()}" in str(refused.value)


def test_a_lock_that_its_holder_is_about_to_release_is_waited_for(tmp_path: Path) -> None:
    with other_writer(tmp_path):
        (tmp_path / ".writer").unlink()
        with pytest.raises(StorageError, match="another process writes there"), only_writer(tmp_path):
            pass
    with other_writer(tmp_path) as number:
        (tmp_path / ".writer").unlink()
        releasing = threading.Timer(0.15, os.kill, (number, signal.SIGKILL))
        releasing.start()
        with only_writer(tmp_path):
            assert f"process {os.getpid()} " in (tmp_path / ".writer").read_text()
        releasing.join()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with other_writer(tmp_path):
        pass
    with only_writer(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".writer").read_text()


def test_a_process_takes_its_own_lock_again_and_keeps_it_until_the_last_release(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        with only_writer(tmp_path):
            pass
        assert (tmp_path / ".writer").exists()
        with pytest.raises(subprocess.CalledProcessError):
            subprocess.run(
                [sys.executable, "-c", HOLD, str(tmp_path)], check=True, env=environment(), stderr=subprocess.DEVNULL
            )
    assert not (tmp_path / ".writer").exists()


def test_two_searches_cannot_share_a_store(tmp_path: Path) -> None:
    imp(net(), lambda model: None, levels=1, store=tmp_path, progress=False)
    kept = files(tmp_path)
    manifest = json.loads(kept["manifest.json"])
    manifest["finished"].pop()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with other_writer(tmp_path), pytest.raises(StorageError, match="is in use"):
        imp(net(), lambda model: pytest.fail("trained"), levels=1, store=tmp_path, progress=False)
    imp(net(), lambda model: None, levels=1, store=tmp_path, progress=False)
    assert files(tmp_path) == kept


def test_a_finished_store_is_read_while_another_process_has_it(tmp_path: Path) -> None:
    imp(net(), lambda model: None, levels=1, store=tmp_path, progress=False)
    with other_writer(tmp_path):
        assert len(imp(net(), lambda model: None, levels=1, store=tmp_path, progress=False)) == 2


def test_a_run_and_a_control_that_another_process_trains_are_not_resumed(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    control = run_control(run, "shuffled")
    before = files(run.folder)
    with other_writer(run.folder), pytest.raises(StorageError, match="is in use"):
        resume_run(run)
    with other_writer(control.folder), pytest.raises(StorageError, match="is in use"):
        run_control(run, "shuffled")
    assert files(run.folder) == before


def test_controls_of_one_run_are_trained_by_several_processes(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    with other_writer(run.folder), other_writer(run.folder / "controls" / "constant-0"):
        assert run_control(run, "shuffled").complete


def test_a_folder_that_holds_a_run_is_not_begun_again(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    before = files(run.folder)
    with pytest.raises(StorageError, match="already holds a run"):
        run_in(run.folder, tiny("train.steps=4"), "tiny")
    assert files(run.folder) == before


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    inside = tmp_path / "controls" / "other-0"
    with only_writer(inside):
        pass
    leftovers = [
        tmp_path / ".manifest.json.abcd_123.part",
        tmp_path / "trial-0" / ".level-01.safetensors.a1b2c3d4.part",
    ]
    others = [tmp_path / ".notes.part", tmp_path / "x.abcd_123.part", inside / ".manifest.json.abcd_123.part"]
    for path in [*leftovers, *others]:
        write_atomically(path, b"")
    (tmp_path / ".folder.abcd_123.part").mkdir()
    with only_writer(tmp_path):
        pass
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in others)
    assert (tmp_path / ".folder.abcd_123.part").is_dir()


def test_a_run_killed_before_its_manifest_is_begun_again_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_atomically(folder / "recipe.toml", b"half")
    write_atomically(folder / ".manifest.json.abcd_123.part", b"half")
    run = run_in(folder, tiny(), "tiny")
    other = run_in(tmp_path / "other", tiny(), "tiny")
    assert contents(Run(folder).folder) == contents(other.folder)
    assert run.complete
    assert not list(folder.glob(".*.part"))


@pytest.mark.parametrize("failing", ["write_text", "unlink"])
def test_a_writer_that_cannot_write_releases_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    write_atomically(tmp_path / ".manifest.json.abcd_123.part", b"half")

    def full(*arguments: object, **words: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, failing, full)
        with pytest.raises(StorageError) as refused, only_writer(tmp_path):
            pass
    assert "No space left" in str(refused.value)
    with other_writer(tmp_path):
        pass


@pytest.mark.parametrize("name", [".lock", ".writer", "trial-0", "controls/shuffled-0"])
def test_nothing_is_written_through_a_link_out_of_a_run(tmp_path: Path, name: str) -> None:
    run = run_recipe(tiny("prune.levels=1", "run.trials=1"), "tiny", out=tmp_path / "runs")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    link = run.folder / name
    if link.is_dir():
        link.rename(run.folder / "moved")
    else:
        link.unlink(missing_ok=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside / "mine" if name.startswith(".") else outside)
    for write in (resume_run, lambda run: run_control(run, "shuffled")):
        with pytest.raises(StorageError, match=r"is a link to .*, outside of"):
            write(run)
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("mine", "mine")]


def test_links_within_a_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").symlink_to("there")
    with only_writer(tmp_path):
        write_atomically(tmp_path / "here" / "file", b"1")
    assert (tmp_path / "there" / "file").read_bytes() == b"1"
