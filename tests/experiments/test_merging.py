import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lthprune.errors import RecipeError, StorageError
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.information import run_information
from lthprune.experiments.matching import compare_runs
from lthprune.experiments.merging import merge_runs
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.experiments.stability import run_stability
from lthprune.experiments.transfer import transfer_run
from lthprune.experiments.untrained import untrained_accuracies
from tests.fragile import fragile
from tests.tiny import contents, joined, tiny

PIECES = ([0, 2], [1])
ENGINES = {
    "compiled": (),
    "unhooked": ("train.engine=unhooked",),
    "reference": ("train.engine=reference",),
    "dropout": ("train.engine=unhooked", "model.dropout=0.5"),
    "random scores": ("prune.score=random",),
    "late rewinding": ("prune.rewind=3",),
    "no rewinding": ("prune.rewind=none",),
    "one-shot": ("prune.method=osp",),
    "early stopping": ("train.patience=1", "train.lr=0.5"),
    "pretrained": ("pretrain.steps=3", "pretrain.data.name=digits", "pretrain.data.validation=500"),
    "seeds": ("run.seed=[5, 2, 9]",),
}


def pieces_of(recipe: Recipe, out: Path, parts: Sequence[Sequence[int]] = PIECES) -> list[Run]:
    return [run_recipe(recipe, "tiny", out=out / "pieces", trials=trials) for trials in parts]


def bits(run: Run) -> tuple[object, bytes]:
    return contents(run.folder), (run.folder / "manifest.json").read_bytes()


def texts(run: Run) -> dict[str, bytes]:
    """All files of a run, but for locks."""
    return {
        str(path.relative_to(run.folder)): path.read_bytes()
        for path in sorted(run.folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize("case", ENGINES)
def test_merged_pieces_have_the_bits_of_one_run(tmp_path: Path, case: str) -> None:
    recipe = tiny("run.trials=3", *ENGINES[case])
    pieces = pieces_of(recipe, tmp_path)
    assert [piece.trials for piece in pieces] == [(0, 2), (1,)]
    before = [texts(piece) for piece in pieces]
    merged = merge_runs(pieces[::-1], tmp_path / "merged")
    assert bits(merged) == bits(run_recipe(recipe, "tiny", out=tmp_path / "whole"))
    assert [texts(piece) for piece in pieces] == before
    assert (merged.state, merged.trials, merged.piece) == ("finished", (0, 1, 2), False)
    assert merged.recipe() == pieces[0].recipe()


class StoppedError(Exception):
    pass


def stop(*_: object) -> None:
    raise StoppedError


def test_an_interrupted_piece_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    recipe = tiny("run.trials=4")
    (whole,) = pieces_of(recipe, tmp_path, [[1, 2]])
    with pytest.raises(StoppedError):
        run_recipe(recipe, "tiny", out=tmp_path / "stopped", trials=[1, 2], watcher=Watcher(on_level=stop))
    (folder,) = (tmp_path / "stopped").iterdir()
    assert (Run(folder).tickets.finished, Run(folder).state) == (1, "resumable")
    assert bits(resume_run(Run(folder))) == bits(whole)


def test_a_piece_says_which_trials_it_has_and_shows_what_was_measured_of_them(tmp_path: Path) -> None:
    recipe = tiny("run.trials=4")
    seen: set[int] = set()
    watcher = Watcher(on_evaluation=lambda level, trial, evaluation: seen.add(trial))
    piece = run_recipe(recipe, "tiny", out=tmp_path, trials=range(1, 3), watcher=watcher)
    assert seen == set(piece.trials) == {1, 2}
    assert piece.piece
    assert "IMP, trials 1-2 of 4, finished" in repr(piece)
    assert sorted(path.name for path in piece.folder.glob("trial-*")) == ["trial-1", "trial-2"]
    accuracies = piece.histories().at_early_stop("test_acc")
    assert np.isnan(accuracies).all(axis=1).tolist() == [True, False, False, True]
    summary = piece.summary()
    assert summary[1].test_acc.mean == pytest.approx(accuracies[1:3, 1].mean())
    assert summary[1].early_stop.low == np.nanmin(piece.histories().early_stop_steps()[:, 1])
    for per in ("evaluation", "level"):
        assert set(piece.to_frame(per)["trial"]) == {1, 2}
    assert piece.structure(2).trial == 2
    assert piece.plot("accuracy-over-steps", trial=1).axes
    assert piece.plot("pruned-by-layer", trial=1).axes
    with pytest.raises(StorageError, match=r"has trials 1-2; there is no trial 0"):
        piece.structure(0)


def test_a_piece_shows_its_first_trial_by_default(tmp_path: Path) -> None:
    (piece,) = pieces_of(tiny("run.trials=3"), tmp_path, [[1, 2]])
    assert (piece.structure().trial, piece.structure_at(2).structure.trial) == (1, 1)
    assert piece.costs() == piece.costs(1)
    assert piece.plot("pruned-by-layer").axes
    exported = piece.export(out=tmp_path / "exported")
    assert (exported.ticket["level"], exported.ticket["trial"]) == (2, 1)


def test_a_piece_of_the_engine_stacked_is_resumed_without_the_first_trial(tmp_path: Path) -> None:
    recipe = tiny("run.trials=3", "train.engine=stacked")
    with pytest.raises(StoppedError):
        run_recipe(recipe, "tiny", out=tmp_path, trials=[1, 2], watcher=Watcher(on_level=stop))
    (folder,) = tmp_path.iterdir()
    assert resume_run(Run(folder)).state == "finished"


def test_what_compares_trials_asks_for_the_merged_run(tmp_path: Path) -> None:
    recipe = tiny("run.trials=4")
    (piece,) = pieces_of(recipe, tmp_path, [[1, 2]])
    for go in (
        lambda: run_control(piece, "shuffled"),
        lambda: run_stability(piece, [0]),
        lambda: run_information(piece),
        lambda: untrained_accuracies(piece),
        lambda: transfer_run(piece, recipe, "tiny"),
        lambda: compare_runs([piece, piece]),
    ):
        with pytest.raises(StorageError, match=r"is a piece: it has trials 1-2 of 4.*`lthprune merge`"):
            go()


@pytest.mark.parametrize("trials", [[], [4], [-1, 0]])
def test_trials_that_the_recipe_lacks_are_refused_before_anything_is_written(
    tmp_path: Path, trials: Sequence[int]
) -> None:
    with pytest.raises(RecipeError, match=r"the recipe has trials 0-3"):
        run_recipe(tiny("run.trials=4"), "tiny", out=tmp_path / "runs", trials=trials)
    assert not (tmp_path / "runs").exists()


def test_all_faults_of_the_pieces_are_listed_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    recipe = tiny("run.trials=4")
    first, both = pieces_of(recipe, tmp_path, [[0], [0, 1]])
    (other,) = pieces_of(tiny("run.trials=4", "train.lr=0.5", "data.validation=300"), tmp_path, [[1]])
    with pytest.raises(StoppedError):
        run_recipe(recipe, "tiny", out=tmp_path / "stopped", trials=[2], watcher=Watcher(on_level=stop))
    (stopped,) = map(Run, (tmp_path / "stopped").iterdir())
    with pytest.raises(StorageError) as caught:
        merge_runs([first, both, other, stopped], tmp_path / "merged")
    message = str(caught.value)
    for part in (
        f"{other.folder} has train.lr = 0.5, not {recipe.train.lr}",
        f"{other.folder} has data.validation = 300, not 237",
        f"trial 0 is in {first.folder} and {both.folder}",
        f"trial 1 is in {both.folder} and {other.folder}",
        "trial 3 of 4 is in no piece",
        f"{stopped.folder} has 1 of 3 levels (resume it with: {stopped.resume_command})",
    ):
        assert part in message
    assert not (tmp_path / "merged").exists()


def test_pieces_of_other_data_of_the_same_name_are_refused(tmp_path: Path) -> None:
    pieces = pieces_of(tiny("run.trials=2"), tmp_path, [[0], [1]])
    path = pieces[1].folder / "manifest.json"
    written = json.loads(path.read_text())
    written["search"]["data"] = "0" * 64
    path.write_text(json.dumps(written))
    with pytest.raises(StorageError, match=re.escape(f"{pieces[1].folder} has other data than {pieces[0].folder}")):
        merge_runs(pieces, tmp_path / "merged")


def test_a_damaged_piece_and_a_folder_in_use_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    pieces = pieces_of(tiny("run.trials=2"), tmp_path, [[0], [1]])
    with pytest.raises(StorageError, match="is there already and is not empty"):
        merge_runs(pieces, pieces[0].folder)
    path = pieces[1].folder / "trial-1" / "level-01.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"trial-1/level-01.safetensors is damaged"):
        merge_runs(pieces, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(StorageError, match="there are no pieces"):
        merge_runs([], tmp_path / "merged")


def test_controls_are_no_pieces(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    with pytest.raises(StorageError, match="is a control"):
        merge_runs([run_control(run, "shuffled")], tmp_path / "merged")


def test_a_piece_named_twice_and_trials_in_several_pieces_are_each_one_fault(tmp_path: Path) -> None:
    first, second, both = pieces_of(tiny("run.trials=3"), tmp_path, [[0, 1], [2], [0, 1]])
    with pytest.raises(StorageError) as refused:
        merge_runs([first, second, Run(first.folder / "trial-0" / ".."), both], tmp_path / "merged")
    assert f"{first.folder} is named twice; trials 0-1 are in" in str(refused.value)
    assert str(refused.value).count(";") == 1
    assert not (tmp_path / "merged").exists()


@pytest.mark.filterwarnings("ignore::lthprune.errors.LayerCollapseWarning")
def test_pieces_ignore_stop_when_and_the_merged_run_ends_where_one_run_does(tmp_path: Path) -> None:
    recipe = joined(
        "model.dense=[6, 6]",
        "prune.scope=global",
        "prune.target=2",
        "prune.levels=8",
        "run.trials=2",
        "run.stop_when=degraded",
    )
    whole = run_recipe(recipe, "tiny", out=tmp_path / "whole")
    pieces = pieces_of(recipe, tmp_path, [[0], [1]])
    assert whole.tickets.ended is not None
    assert [piece.state for piece in pieces] == ["finished", "finished"]
    assert bits(merge_runs(pieces, tmp_path / "merged")) == bits(whole)


def test_the_merged_environment_adds_the_times_and_other_machines_give_a_warning(tmp_path: Path) -> None:
    pieces = pieces_of(tiny("run.trials=2"), tmp_path, [[0], [1]])
    merged = merge_runs(pieces, tmp_path / "merged").environment()
    for level in "012":
        seconds = [piece.environment()["seconds_per_level"][level] for piece in pieces]
        assert merged["seconds_per_level"][level] == pytest.approx(sum(seconds), abs=0.002)
    assert merged["started"] == pieces[0].started
    pieces[1].write_environment(pieces[1].environment() | {"device_name": "another"})
    with pytest.warns(UserWarning, match=r"device_name was .* and is another"):
        merge_runs(pieces, tmp_path / "again")


def test_merging_warns_of_the_engine_whose_bits_depend_on_the_number_of_trials(tmp_path: Path) -> None:
    pieces = pieces_of(tiny("run.trials=2", "train.engine=stacked"), tmp_path, [[0], [1]])
    with pytest.warns(UserWarning, match="the engine stacked computes all trials in one product"):
        merged = merge_runs(pieces, tmp_path / "merged")
    assert [ticket.trial for ticket in merged.tickets.level(2)] == [0, 1]


def test_a_piece_can_be_moved_and_merged_elsewhere(tmp_path: Path) -> None:
    recipe = tiny("run.trials=2")
    pieces = pieces_of(recipe, tmp_path, [[0], [1]])
    moved = [Run(shutil.move(piece.folder, tmp_path / f"moved {place}")) for place, piece in enumerate(pieces)]
    whole = run_recipe(recipe, "tiny", out=tmp_path / "whole")
    assert bits(merge_runs(moved, tmp_path / "merged")) == bits(whole)


@pytest.mark.filterwarnings("ignore::lthprune.errors.DivergedWarning")
@pytest.mark.parametrize("trials", [4, 2])
def test_pieces_whose_trials_diverged_merge_to_what_one_run_keeps_of_them(tmp_path: Path, trials: int) -> None:
    """Of four trials two go on to the end; of two trials none does."""
    with fragile(tmp_path, f"run.trials={trials}", "run.seed=1") as recipe:
        whole = run_recipe(recipe, "fragile", out=tmp_path / "whole")
        pieces = [
            run_recipe(recipe, "fragile", out=tmp_path / "pieces", trials=each)
            for each in ([[0], [1], [2, 3]] if trials == 4 else [[0], [1]])
        ]
    merged = merge_runs(pieces, tmp_path / "merged")
    assert {failure.trial for failure in merged.tickets.failures} == {0, 1}
    assert (merged.tickets.ended is None) == (trials == 4)
    assert contents(merged.folder) == contents(whole.folder)
    assert merged.tickets.manifest() == whole.tickets.manifest()


@pytest.mark.filterwarnings("ignore::lthprune.errors.LayerCollapseWarning")
def test_pieces_whose_networks_collapsed_merge_to_the_manifest_of_one_run(tmp_path: Path) -> None:
    recipe = tiny("prune.rate=0.99", "prune.scope=global")
    merged = merge_runs(pieces_of(recipe, tmp_path, [[0], [1]]), tmp_path / "merged")
    assert {failure.kind for failure in merged.tickets.failures} == {"collapsed"}
    assert bits(merged) == bits(run_recipe(recipe, "tiny", out=tmp_path / "whole"))


@pytest.mark.filterwarnings("ignore::lthprune.errors.LayerCollapseWarning")
def test_pieces_that_fulfil_stop_when_at_the_last_level_that_prunes_end_as_one_run_does(tmp_path: Path) -> None:
    recipe = joined("prune.scope=global", "prune.rate=0.999", "prune.levels=4", "run.stop_when=degraded")
    whole = run_recipe(recipe, "tiny", out=tmp_path / "whole")
    merged = merge_runs(pieces_of(recipe, tmp_path, [[0], [1]]), tmp_path / "merged")
    assert merged.tickets.ended == "no later level prunes any of the remaining 0 weights"
    assert merged.tickets.manifest() == whole.tickets.manifest()
