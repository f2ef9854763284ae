import json
import pickle
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from lthprune import imp
from lthprune.errors import LthpruneError, StorageError
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.folders import create_run, find_runs, new_folder
from lthprune.experiments.run import Run
from lthprune.files import read_tensors
from lthprune.pruning.state import snapshot
from lthprune.training.record import HISTORIES
from tests.nets import all_bits, net
from tests.tiny import contents, tiny

MANIFESTS = ("manifest.json", "manifest.copy.json")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; not to be changed."""
    return run_recipe(tiny("run.keep_early_stop=true"), "tiny", out=tmp_path_factory.mktemp("runs"), data_dir="~/data")


@pytest.fixture
def run(original: Run, tmp_path: Path) -> Run:
    """A copy of the finished run."""
    return Run(shutil.copytree(original.folder, tmp_path / "runs" / original.name))


def test_a_run_directory_holds_what_the_design_says_and_nothing_more(original: Run) -> None:
    assert re.fullmatch(r"tiny-\d{8}-\d{4}-[0-9a-f]{8}", original.name)
    files = {str(path.relative_to(original.folder)) for path in original.folder.rglob("*") if path.is_file()}
    tickets = {f"trial-{trial}/level-{level:02d}.safetensors" for trial in range(2) for level in range(3)}
    initial = {f"trial-{trial}/initial.safetensors" for trial in range(2)}
    assert files == tickets | initial | {"recipe.toml", "environment.json", "histories.npz", *MANIFESTS, ".lock"}


def test_every_file_of_a_run_is_of_a_plain_format_and_none_is_a_pickle(original: Run) -> None:
    for path in original.folder.rglob("*.*"):
        with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, EOFError, IndexError, AttributeError)):
            pickle.loads(path.read_bytes())
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                assert all(file[name].dtype.kind in "fi" for name in file)
        elif path.suffix == ".safetensors":
            read_tensors(path)
        elif path.name == ".lock":
            assert not path.read_bytes()
        else:
            assert {".json": json.loads, ".toml": tomllib.loads}[path.suffix](path.read_text("utf-8"))


def test_a_runs_network_has_a_trials_initial_weights_and_takes_its_tickets(original: Run) -> None:
    for trial, (state, ticket) in enumerate(
        zip(original.tickets.load().initial, original.tickets.level(2), strict=True)
    ):
        model = original.model(trial)
        assert all_bits(snapshot(model)) == all_bits(state)
        assert all_bits(snapshot(ticket.apply(model, "trained"))) == all_bits(ticket.trained)


@pytest.mark.parametrize("trial", [-1, 2])
def test_a_trial_that_is_not_there_has_no_network(original: Run, trial: int) -> None:
    with pytest.raises(StorageError, match=f"trials 0-1; there is no trial {trial}"):
        original.model(trial)


def test_a_run_is_shown_by_its_recipe_state_levels_and_density(original: Run) -> None:
    assert repr(original) == (
        f"<Run '{original.folder}': tiny, IMP, 2 trials, finished, 3 of 3 levels, down to "
        f"{original.tickets.ticket(2).density:.2%} of the weights>"
    )


def change_manifest(run: Run, **changes: object) -> None:
    manifest = json.loads((run.folder / "manifest.json").read_text())
    (run.folder / "manifest.json").write_text(json.dumps(manifest | changes))


def test_a_run_with_few_levels_or_without_histories_is_shown_as_far_as_it_can_be_read(run: Run) -> None:
    (run.folder / "histories.npz").unlink()
    assert repr(run).endswith("tiny, IMP, 2 trials, finished, 3 of 3 levels>")
    change_manifest(run, finished=[])
    assert repr(run).endswith("tiny, IMP, 2 trials, resumable, 0 of 3 levels>")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 9},
        {"finished": 3},
        {"search": {"recipe": "tiny"}},
        {"search": {"recipe": "tiny", "settings": {}, "data": ""}},
        {"search": {"recipe": "tiny", "settings": 3, "data": ""}},
    ],
)
def test_a_damaged_run_is_shown_without_an_error(run: Run, changes: dict[str, object]) -> None:
    change_manifest(run, **changes)
    assert "damaged or unreadable" in repr(run)
    (run.folder / "manifest.json").write_bytes(b"\xff{")
    assert "damaged or unreadable" in repr(run)


def test_a_folder_that_is_no_run_is_shown_without_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "nowhere", tmp_path, tmp_path / "file"):
        assert repr(Run(folder)) == f"<Run '{folder}': no run>"
    imp(net(), lambda model: None, levels=1, store=tmp_path / "store", progress=False)
    assert repr(Run(tmp_path / "store")).endswith(": the tickets of imp(), 2 of 2 levels>")


def test_a_run_is_finished_resumable_or_ended(run: Run) -> None:
    assert (run.state, run.complete) == ("finished", True)
    finished = run.tickets.manifest()["finished"]
    change_manifest(run, finished=finished[:2])
    assert (run.state, run.complete) == ("resumable", False)
    change_manifest(run, finished=finished[:2], ended="the networks are degraded")
    assert (run.state, run.complete) == ("ended", True)


def test_a_run_reads_its_recipe_and_its_name_back(original: Run) -> None:
    assert original.recipe() == tiny("run.keep_early_stop=true")
    assert original.recipe_name == "tiny"
    assert Run(original.folder / ".").name == original.name


def test_histories_on_disk_are_what_the_tickets_say(original: Run) -> None:
    histories = original.histories()
    assert set(histories.curves) == set(HISTORIES)
    assert list(histories.steps) == [2, 4, 6]
    for level in range(3):
        for trial, ticket in enumerate(original.tickets.level(level)):
            assert (ticket.level, ticket.provenance["trial"]) == (level, trial)
            assert ticket.density == histories.density[level]
            assert ticket.density == sum(int(mask.sum()) for mask in ticket.masks.values()) / 592
            assert ticket.metrics["early_stop_step"] == histories.early_stop_steps()[trial, level]
            for name in HISTORIES:
                assert histories.curves[name].shape == (2, 3, 3)
                assert np.array_equal(ticket.metrics["history"][name], histories.curves[name][trial, level])
            for name in ("val_loss", "val_acc", "test_acc"):
                assert ticket.metrics[name] == histories.at_early_stop(name)[trial, level]


def test_histories_of_levels_that_the_manifest_does_not_name_do_not_count(run: Run) -> None:
    manifest = json.loads((run.folder / "manifest.json").read_text())
    manifest["finished"].pop()
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    histories = run.histories()
    assert list(np.isnan(histories.density)) == [False, False, True]
    assert all(np.isnan(curve[:, 2]).all() for curve in histories.curves.values())
    (run.folder / "histories.npz").unlink()
    gathered = run.gather_histories()
    assert all(np.array_equal(gathered.curves[name], histories.curves[name], equal_nan=True) for name in HISTORIES)


def test_the_environment_says_with_what_and_where_a_run_was_made(original: Run) -> None:
    environment = original.environment()
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert set(environment["packages"]) >= {"lthprune", "numpy", "safetensors"}
    assert (environment["device"], environment["threads"]) == ("cpu", torch.get_num_threads())
    assert environment["data_dir"] == str((Path.home() / "data").resolve())
    assert list(environment["seconds_per_level"]) == ["0", "1", "2"]
    assert all(seconds > 0 for seconds in environment["seconds_per_level"].values())
    assert environment["peak_memory_mb"] is None or 50 < environment["peak_memory_mb"] < 5_000
    assert {"started", "python", "platform", "cores", "git"} <= set(environment)


def test_the_seed_is_among_what_a_run_keeps(original: Run) -> None:
    assert original.tickets.manifest()["search"]["settings"]["run"]["seed"] == 0
    assert "seed = 0" in (original.folder / "recipe.toml").read_text()


@pytest.mark.parametrize(("before", "after"), [("lr = 0.0012", "lr = 0.5"), ("steps = 6", "steps = 7")])
def test_an_edited_recipe_is_refused_and_the_mend_named(run: Run, before: str, after: str) -> None:
    path = run.folder / "recipe.toml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    for read in (run.recipe, run.gather_histories, lambda: resume_run(run)):
        with pytest.raises(StorageError, match="not the recipe that this run of tiny began with"):
            read()


@pytest.mark.parametrize("content", [b"", b"[model", b"\xff", b"[modell]"])
def test_an_unreadable_recipe_is_refused_until_it_is_deleted(run: Run, content: bytes) -> None:
    path = run.folder / "recipe.toml"
    before, recipe = path.read_bytes(), run.recipe()
    path.write_bytes(content)
    with pytest.raises(StorageError, match=re.escape(str(path)) + r".*delete the file.*lthprune resume"):
        run.recipe()
    path.unlink()
    assert run.recipe() == recipe
    resume_run(run)
    assert path.read_bytes() == before


def test_histories_that_lack_a_finished_level_are_refused(run: Run) -> None:
    run.histories().up_to(1).save(run.folder / "histories.npz")
    with pytest.raises(StorageError, match=r"has other trials, levels or evaluations.*lthprune resume"):
        run.summary()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_a_missing_or_unreadable_environment_is_refused(run: Run, content: bytes | None) -> None:
    path = run.folder / "environment.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match=re.escape(str(path))):
        run.environment()


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"format": 1}', b'{"format": 1, "finished": []}'])
def test_a_folder_without_a_whole_manifest_is_no_run(run: Run, content: bytes | None) -> None:
    path = run.folder / "manifest.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError):
        run.recipe()
    with pytest.raises(StorageError):
        run.recipe_name  # noqa: B018
    with pytest.raises(StorageError):
        resume_run(run)


def test_a_folder_that_imp_keeps_tickets_in_is_no_run_of_a_recipe(tmp_path: Path) -> None:
    imp(net(), lambda model: None, levels=1, store=tmp_path, progress=False)
    with pytest.raises(StorageError):
        resume_run(Run(tmp_path))


@pytest.mark.parametrize("file", ["trial-0/level-00", "trial-1/level-01", "trial-1/level-02", "trial-0/initial"])
def test_a_truncated_ticket_is_refused_by_its_path_when_a_run_is_resumed(run: Run, file: str) -> None:
    path = run.folder / f"{file}.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    before = {each: each.read_bytes() for each in run.folder.rglob("*.*") if each.is_file()}
    with pytest.raises(StorageError, match=re.escape(str(path))):
        resume_run(run)
    assert before == {each: each.read_bytes() for each in run.folder.rglob("*.*") if each.is_file()}


def test_a_run_is_named_after_its_recipe_in_letters_fit_for_a_folder(tmp_path: Path) -> None:
    run = create_run(tiny(), new_folder(tmp_path / "not" / "there", "../my recipe/öl"))
    assert run.folder.parent == tmp_path / "not" / "there"
    assert " " not in run.name
    assert "/" not in run.name
    assert new_folder(tmp_path, "same") != new_folder(tmp_path, "same")


def test_a_run_is_not_made_inside_another(run: Run) -> None:
    with pytest.raises(StorageError, match="is itself a run"):
        new_folder(run.folder, "tiny")
    assert contents(run.folder)


def test_runs_are_found_in_their_folder_and_what_is_no_run_is_passed_over(run: Run, original: Run) -> None:
    folder = run.folder.parent
    (folder / "other").mkdir()
    (folder / "file.txt").touch()
    shutil.copytree(original.folder, folder / "second")
    assert {found.name for found in find_runs(folder)} == {run.name, "second"}
    assert find_runs(folder / "other") == []


def test_every_error_of_a_run_is_one_of_lthprunes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", Path("/proc/nope")):
        with pytest.raises(LthpruneError, match="Choose a folder"):
            create_run(tiny(), new_folder(out, "tiny"))
