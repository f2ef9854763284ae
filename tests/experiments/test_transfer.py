"""Transfer: what it takes from the run and from the recipe, and how it is resumed."""

import json
import shutil
from pathlib import Path

import pytest

from lthprune.errors import LthpruneError, RecipeError, StorageError
from lthprune.experiments.control_kinds import plan_controls
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.experiments.transfer import resume_transfer, transfer_run
from tests.nets import all_bits
from tests.tiny import contents, copied_before_writes, joined, tiny

OTHER = ("train.optimizer=sgd", "train.lr=0.3", "run.trials=5", "run.seed=9", "prune.levels=7", "data.validation=500")


def shared(folder: Path) -> dict[str, bytes]:
    """The contents of a run, without those of the runs inside it."""
    return {name: data for name, data in contents(folder).items() if not name.startswith(("controls", "transfers"))}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tiny("train.steps=20"), "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("transfers")))


def test_tickets_trained_by_their_own_recipe_are_the_same_to_the_bit(run: Run) -> None:
    transferred = transfer_run(run, run.recipe(), "tiny")
    assert transferred.transfer is not None
    assert run.transfer is None
    assert transferred.state == "finished"
    for level in range(3):
        for ticket, other in zip(run.tickets.level(level), transferred.tickets.level(level), strict=True):
            assert all_bits(ticket.masks) == all_bits(other.masks)
            assert all_bits(ticket.weights) == all_bits(other.weights)
            assert all_bits(ticket.trained) == all_bits(other.trained)


def test_tickets_are_the_runs_and_data_and_training_are_the_recipes(run: Run) -> None:
    transferred = transfer_run(run, tiny(*OTHER), "other")
    own, recipe = run.recipe(), transferred.recipe()
    assert (recipe.run.trials, recipe.run.seed, recipe.prune) == (own.run.trials, own.run.seed, own.prune)
    assert (recipe.train.optimizer, recipe.data.validation) == ("sgd", 500)
    for level in range(3):
        for ticket, other in zip(run.tickets.level(level), transferred.tickets.level(level), strict=True):
            assert all_bits(ticket.masks) == all_bits(other.masks)
            assert all_bits(ticket.weights) == all_bits(other.weights)
            assert all_bits(ticket.trained) != all_bits(other.trained)


def test_tickets_of_a_later_rewind_point_start_from_its_weights_at_step_0(tmp_path: Path) -> None:
    run = run_recipe(tiny("prune.rewind=3"), "late", out=tmp_path)
    transferred = transfer_run(run, run.recipe(), "late")
    assert transferred.recipe().prune.rewind == "init"
    for level in (0, 1):
        for ticket, other in zip(run.tickets.level(level), transferred.tickets.level(level), strict=True):
            assert all_bits(ticket.weights) == all_bits(other.weights)
            assert other.metrics["history"]["val_loss"].shape == (len(transferred.histories().steps),)
            assert all_bits(ticket.trained) != all_bits(other.trained)


def test_a_transfer_that_is_interrupted_anywhere_ends_with_the_same_bits(
    copy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(copy.folder, tmp_path / "whole" / "run")

    def go(folder: Path) -> Run:
        return transfer_run(Run(folder / "run"), tiny(*OTHER), "other")

    whole, copies = copied_before_writes(tmp_path, monkeypatch, go)
    for folder in copies[::3]:
        assert contents(transfer_run(Run(folder), tiny(*OTHER), "other").folder) == contents(whole.folder)


def test_each_recipe_has_a_folder_of_its_own_however_the_run_is_called(copy: Run, tmp_path: Path) -> None:
    first = transfer_run(copy, tiny(*OTHER), "other")
    assert transfer_run(copy, tiny("train.steps=5"), "other").folder != first.folder
    before = contents(first.folder)
    renamed = Run(copy.folder.rename(tmp_path / "renamed"))
    again = transfer_run(renamed, tiny(*OTHER), "other")
    assert (again.name, contents(again.folder)) == (first.name, before)


def test_a_transfer_goes_as_far_as_its_run_and_further_once_the_run_does(run: Run, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def stop(tickets: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_recipe(run.recipe(), "tiny", out=tmp_path, watcher=Watcher(on_level=stop))
    (folder,) = tmp_path.iterdir()
    transferred = transfer_run(Run(folder), tiny(*OTHER), "other")
    assert (transferred.tickets.finished, transferred.state) == (1, "resumable")
    resume_run(Run(folder))
    assert transfer_run(Run(folder), tiny(*OTHER), "other").state == "finished"
    whole = transfer_run(run, tiny(*OTHER), "other")
    assert shared(whole.folder) == shared(transferred.folder)


def test_transferred_tickets_have_controls(copy: Run) -> None:
    transferred = transfer_run(copy, tiny(*OTHER), "other")
    control = run_control(transferred, "reinitialised")
    for level in range(3):
        for ticket, other in zip(transferred.tickets.level(level), control.tickets.level(level), strict=True):
            assert all_bits(ticket.masks) == all_bits(other.masks)
            assert all_bits(ticket.weights) != all_bits(other.weights)
    (comparison,) = transferred.comparisons()
    assert comparison.levels == (0, 1, 2)


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        (tiny("model.dense=[30]"), StorageError, "does not fit this Sequential"),
        (joined(), StorageError, "does not fit this Sequential"),
        (
            tiny("pretrain.steps=5", "pretrain.data.name=digits", "pretrain.data.validation=237"),
            RecipeError,
            r"\[pretrain\] cannot be transferred to",
        ),
        (tiny("data.validation=1790"), LthpruneError, "validation"),
    ],
)
def test_a_recipe_that_the_tickets_cannot_be_trained_by_is_refused_before_anything_is_made(
    recipe: Recipe, error: type[Exception], words: str, copy: Run
) -> None:
    with pytest.raises(error, match=words):
        transfer_run(copy, recipe, "other")
    assert not (copy.folder / "transfers").exists()


def test_a_run_without_a_finished_level_and_a_transfer_resumed_as_a_run_are_refused(copy: Run, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="trains the tickets of another run"):
        resume_run(transfer_run(copy, tiny(*OTHER), "other"))
    with pytest.raises(StorageError, match="holds no run"):
        transfer_run(Run(tmp_path), tiny(), "other")


def test_a_transfer_is_resumed_with_its_own_settings_and_data_whatever_it_is_called(copy: Run, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    environment = copy.environment()
    transferred = transfer_run(copy, tiny(*OTHER), "other", data_dir=moved)
    assert transferred.data_dir == str(moved)
    whole = contents(transferred.folder)
    manifest = transferred.folder / "manifest.json"
    kept = json.loads(manifest.read_text())
    del kept["finished"][1:]
    del kept["search"]["settings"]["train"]["label_smoothing"]  # as if it were newer than the transfer
    manifest.write_text(json.dumps(kept))
    renamed = Run(transferred.folder.rename(transferred.folder.with_name("mine")))
    assert contents(resume_transfer(renamed).folder) == whole
    assert renamed.data_dir == str(moved)
    assert copy.environment() == environment
    assert [path.name for path in (copy.folder / "transfers").iterdir()] == ["mine"]
    stranger = Run(shutil.move(renamed.folder, tmp_path / "stranger"))
    with pytest.raises(StorageError, match="not in the folder transfers of the run"):
        resume_transfer(stranger)


def test_controls_of_a_transfer_that_would_change_two_things_are_refused(tmp_path: Path) -> None:
    run = run_recipe(tiny("prune.rewind=lr"), "lr", out=tmp_path)
    transferred = transfer_run(run, tiny("train.steps=5"), "other")
    kinds = {kind for kind, _ in plan_controls(transferred, ["all"])}
    assert kinds == {"reinitialised", "signs-kept", "constant", "small-dense", "dense-longer"}
    for kind, words in (("shuffled", "prune.rewind = 'lr'"), ("one-shot", "were found by another run")):
        with pytest.raises(RecipeError, match=words):
            run_control(transferred, kind)
    with pytest.raises(StorageError, match="is a control"):
        transfer_run(run_control(run, "reinitialised"), run.recipe(), "other")


def test_a_run_its_control_and_its_transfer_go_on_when_their_environments_cannot_be_read(copy: Run) -> None:
    control, transferred = run_control(copy, "shuffled"), transfer_run(copy, tiny(*OTHER), "other")
    whole = {each.folder: contents(each.folder) for each in (control, transferred)}
    for each in (copy, control, transferred):
        manifest = json.loads((each.folder / "manifest.json").read_text())
        manifest["finished"].pop()
        (each.folder / "manifest.json").write_text(json.dumps(manifest))
        (each.folder / "environment.json").write_text("{")
    resume_run(copy)
    assert contents(run_control(copy, "shuffled").folder) == whole[control.folder]
    assert contents(resume_transfer(transferred).folder) == whole[transferred.folder]


def test_a_transfer_that_is_as_far_as_its_run_is_resumed_with_that_run(copy: Run) -> None:
    manifest = copy.folder / "manifest.json"
    whole = manifest.read_text()
    kept = json.loads(whole)
    del kept["finished"][2:]
    manifest.write_text(json.dumps(kept))
    transferred = transfer_run(copy, tiny(*OTHER), "other")
    assert transferred.resume_command == f"lthprune resume {copy.folder}"
    manifest.write_text(whole)
    assert transferred.resume_command == f"lthprune resume {transferred.folder}"
