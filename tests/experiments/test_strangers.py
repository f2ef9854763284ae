"""Run directories and sweeps of strangers: pipes, forged entries and deep nesting end with an error that says so."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lthprune.errors import LthpruneError, RecipeError, StorageError
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.sweep import Sweep, begin_sweep
from lthprune.files import read_tensors, write_tensors
from tests.tiny import SETTINGS, tiny

DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; not to be changed."""
    return run_recipe(tiny(), "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(original: Run, tmp_path: Path) -> Run:
    """A copy of the finished run."""
    return Run(shutil.copytree(original.folder, tmp_path / "run"))


@pytest.mark.parametrize("name", ["recipe.toml", "histories.npz", "manifest.json", "trial-0/level-01.safetensors"])
@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_refused_at_once(run: Run, name: str, kind: str) -> None:
    path = run.folder / name
    path.unlink()
    os.mkfifo(path) if kind == "a pipe" else path.mkdir()
    reads = {"recipe.toml": run.recipe, "histories.npz": run.histories, "manifest.json": run.summary}
    with pytest.raises(StorageError, match=name.partition(".")[0]):
        reads.get(name, lambda: run.tickets.level(1))()
    with pytest.raises(StorageError):
        resume_run(run)


@pytest.mark.parametrize("name", [".writer", ".lock", "environment.json", "trial-0/pipe"])
def test_nothing_is_written_to_a_folder_with_a_pipe_in_it(run: Run, name: str) -> None:
    (run.folder / name).unlink(missing_ok=True)
    os.mkfifo(run.folder / name)
    with pytest.raises(StorageError, match="is a pipe or a device, where nothing can be kept"):
        resume_run(run)


def test_an_environment_that_is_a_pipe_or_nested_without_end_is_not_waited_for(run: Run) -> None:
    path = run.folder / "environment.json"
    path.write_text(DEEP)
    with pytest.raises(StorageError, match="recursion limit"):
        run.environment()
    path.unlink()
    os.mkfifo(path)
    assert run.recorded() == {}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({}, "settings.prune: Field required"),
        ({"prune": {"method": "imp", "levels": 10**9}, "run": {"trials": 2}}, "settings.prune.levels: Input should be"),
        ({"prune": {"method": "imp", "levels": 2}, "run": {"trials": "2"}}, "settings.run.trials: Input should be"),
    ],
)
def test_settings_of_a_manifest_that_cannot_be_are_refused(run: Run, settings: object, fault: str) -> None:
    path = run.folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["search"]["settings"] = settings
    path.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=fault):
        _ = run.state
    path.write_text(DEEP)
    with pytest.raises(StorageError, match="recursion limit"):
        _ = run.state


def test_a_forged_ticket_whose_hash_the_manifest_has_is_refused_when_a_run_is_resumed(run: Run) -> None:
    manifest = json.loads((run.folder / "manifest.json").read_bytes())
    manifest["finished"].pop()
    path = run.folder / "trial-0" / "level-01.safetensors"
    tensors, header = read_tensors(path)
    write_tensors(path, tensors, json.dumps(json.loads(header) | {"metrics": {"history": {"val_loss": "x"}}}))
    manifest["finished"][1]["trial-0/level-01.safetensors"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="level 1 of trial 0 is damaged: it has no history of this run"):
        resume_run(run)


@pytest.mark.parametrize(
    "forged",
    [
        {"val_acc": np.full((2, 3, 3), 7.0)},
        {"density": np.array([1.0, np.nan, 0.5])},
        {"density": np.array([1.0, -3.0, 0.5])},
        {"density": np.array([1.0, np.inf, 0.5])},
        {"steps": np.zeros(3, [("a", "f4"), ("b", "i2")])},
        {"val_loss": np.full((2, 3, 3), "x")},
    ],
)
def test_forged_histories_are_refused(run: Run, forged: dict[str, np.ndarray]) -> None:
    path = run.folder / "histories.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | forged))  # type: ignore[arg-type]
    with pytest.raises(StorageError, match=r"histories\.npz (is missing or damaged|has other trials)"):
        run.summary()


def test_members_of_histories_that_are_no_arrays_are_refused(run: Run) -> None:
    path = run.folder / "histories.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"val_loss.npy": b"no array"}).items():
            archive.writestr(name, content)
    with pytest.raises(StorageError, match=r"histories\.npz is missing or damaged \(its arrays are not numbers\)"):
        run.summary()


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        "[]",
        '{"density": 1, "pairs": []}',
        '{"density": null, "pairs": [1]}',
        '{"density": 1.0, "pairs": [{"copies": [0], "distance": 1, "angle": 1, "at": [0], "errors": [], "losses": 1}]}',
        '{"density": 1' + "0" * 400 + ', "pairs": []}',
    ],
)
def test_damaged_measurements_are_refused_with_their_file(run: Run, content: str) -> None:
    (run.folder / "stability").mkdir()
    for trial in range(2):
        (run.folder / "stability" / f"level-00-step-2-trial-{trial}.json").write_text(content)
    shutil.copytree(run.folder / "stability", run.folder / "information")
    for folder, read in (("stability", run.stability), ("information", run.information)):
        with pytest.raises(StorageError, match=rf"cannot read .*{folder}/level-00-step-2-trial-0\.json"):
            read()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("[axes]", '[axes]\n"train.lr" = 3'), "axes are lists of values"),
        (("[axes]", '[axes]\n"train.lr" = []'), "axes are lists of values"),
        (("settings = [", "settings = [\n1,"), "settings are texts"),
        (("[axes]", "[axes]\n" + "\n".join(f'"train.k{at}" = [{", ".join(["1"] * 100)}]' for at in range(9))), "cells"),
        (("format = 1", f"format = 1\na = {DEEP}"), "nested too deeply"),
        (("format = 1", f"format = 1\n{'a.' * 100_000}a = 1"), "more than 32 parts"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(tmp_path: Path, change: tuple[str, str], fault: str) -> None:
    sweep = begin_sweep("lenet-digits", {"model.hidden": [4, 5]}, SETTINGS, out=tmp_path)
    path = sweep.folder / "sweep.toml"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(LthpruneError, match=fault):
        Sweep(sweep.folder).cells()


def test_a_path_with_a_zero_character_is_refused() -> None:
    with pytest.raises(RecipeError, match="is no path"):
        tiny('data.name="/data/\\u0000.npz"')


def test_numbers_of_thousands_of_digits_are_refused() -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        tiny(f"train.steps=0x{'f' * 10_000}")
