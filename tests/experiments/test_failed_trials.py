"""Runs whose trials diverge, collapse or die: the rest goes on, and everything says what it leaves out."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lthprune.errors import DivergedWarning, PruningError, StorageError
from lthprune.experiments import (
    against_dense,
    compare_runs,
    count_by_layer,
    level_overlaps,
    mask_overlaps,
    resume_transfer,
    run_control,
    run_stability,
    transfer_run,
    untrained_accuracies,
)
from lthprune.experiments.collapse import find_collapse
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.run import Run
from lthprune.pruning.methods import write_mask
from lthprune.search import Failure
from tests.fragile import fragile
from tests.tiny import contents, copied_before_writes, noise, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::lthprune.errors.DivergedWarning"),
    pytest.mark.filterwarnings("ignore::lthprune.errors.LayerCollapseWarning"),
]
TRIALS = [(0, 2, 3), (2, 3), (2, 3), (2, 3)]  # of each level


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fragile")


@pytest.fixture(scope="module")
def finished(folder: Path) -> Iterator[Run]:
    with fragile(folder) as recipe:
        yield run_recipe(recipe, "fragile", out=folder / "runs")


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy of the run, to write into."""
    return Run(shutil.copytree(finished.folder, tmp_path / finished.name), trust_code=True)


def test_trials_that_diverge_end_and_the_others_have_the_bits_of_a_run_without_it(
    finished: Run, tmp_path: Path
) -> None:
    assert [finished.tickets.trials(level) for level in range(4)] == TRIALS
    assert finished.state == "finished"
    with fragile(tmp_path, breaks=False) as recipe:
        whole = run_recipe(recipe, "fragile", out=tmp_path)
    for trial in (2, 3):
        for level in range(4):
            file = f"trial-{trial}/level-{level:02d}.safetensors"
            assert (finished.folder / file).read_bytes() == (whole.folder / file).read_bytes()


def test_the_manifest_says_which_trial_diverged_where_and_why(finished: Run) -> None:
    stored = json.loads((finished.folder / "manifest.json").read_text())["failures"]
    common = {"kind": "diverged", "reason": "the training loss is NaN", "step": 2, "lr": 1.2e-3}
    assert stored == [{**common, "trial": 1, "level": 0}, {**common, "trial": 0, "level": 1}]
    assert [str(each) for each in finished.tickets.failures] == [
        "trial 1 diverged at level 0, step 2, learning rate 0.0012: the training loss is NaN",
        "trial 0 diverged at level 1, step 2, learning rate 0.0012: the training loss is NaN",
    ]


@pytest.mark.parametrize(
    "damage",
    [{"kind": "bored"}, {"trial": -1}, {"level": "0"}, {"reason": None}, {"extra": 1}],
    ids=str,
)
def test_a_damaged_failure_in_the_manifest_is_refused(run: Run, damage: dict[str, object]) -> None:
    path = run.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["failures"][0] |= damage
    path.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=r"manifest.json is damaged \(failures"):
        run.summary()


def test_manifests_of_earlier_versions_have_no_failures(run: Run) -> None:
    path = run.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["failures"]
    path.write_text(json.dumps(manifest))
    assert run.tickets.failures == ()
    assert len(run.summary()) == 4


def test_a_watcher_and_a_warning_tell_of_a_trial_that_diverges(tmp_path: Path) -> None:
    told: list[Failure] = []
    with fragile(tmp_path, "prune.levels=0") as recipe:
        run_recipe(recipe, "fragile", out=tmp_path, watcher=Watcher(on_diverged=told.append))
        with pytest.warns(DivergedWarning, match="trial 1 diverged at level 0, step 2, learning rate 0.0012"):
            run_recipe(recipe, "fragile", out=tmp_path)
    assert [(each.trial, each.level, each.step) for each in told] == [(1, 0, 2)]


def test_a_run_that_is_killed_at_any_write_and_resumed_ends_with_the_same_bits(finished: Run, tmp_path: Path) -> None:
    with fragile(tmp_path) as recipe, pytest.MonkeyPatch.context() as patch:
        done, copies = copied_before_writes(
            tmp_path / "killed", patch, lambda out: run_recipe(recipe, "fragile", out=out)
        )
        assert contents(done.folder) == contents(finished.folder)
        begun = [copy for copy in copies if (copy / "manifest.json").is_file()]
        for copy in begun[:: len(begun) // 5]:
            resumed = resume_run(Run(copy, trust_code=True))
            assert contents(resumed.folder) == contents(finished.folder)
            assert resumed.tickets.failures == finished.tickets.failures


def test_the_summary_gives_means_over_the_trials_that_there_are_with_their_number(finished: Run) -> None:
    levels = finished.summary()
    assert [level.trials for level in levels] == [3, 2, 2, 2]
    assert [[each.trial for each in level.failures] for level in levels] == [[1], [0], [], []]
    for level in levels:
        accuracies = [ticket.metrics["test_acc"] for ticket in finished.tickets.level(level.level)]
        assert level.test_acc.mean == pytest.approx(np.mean(accuracies))
        assert (level.test_acc.low, level.test_acc.high) == (min(accuracies), max(accuracies))


def test_histories_and_tables_have_no_values_of_missing_trials(finished: Run) -> None:
    histories = finished.histories()
    assert histories.measured.tolist() == [[trial in there for there in TRIALS] for trial in range(4)]
    assert np.isnan(histories.early_stop_steps()).tolist() == (~histories.measured).tolist()
    table = finished.to_frame("level")
    assert list(zip(table["trial"], table["level"], strict=True)) == [
        (trial, level) for trial in range(4) for level in range(4) if trial in TRIALS[level]
    ]
    assert set(zip(finished.to_frame()["trial"], finished.to_frame()["level"], strict=True)) == set(
        zip(table["trial"], table["level"], strict=True)
    )


def test_differences_pair_the_trials_that_both_levels_have(finished: Run) -> None:
    accuracies = finished.histories().at_early_stop("test_acc")
    (_, first, *_) = against_dense(finished.histories()).differences["test_acc"]
    assert first.mean == pytest.approx(np.mean(accuracies[2:, 1] - accuracies[2:, 0]))


def test_analyses_of_a_trial_end_where_it_diverged_and_name_the_reason(run: Run) -> None:
    assert [level.level for level in run.structure(0).levels] == [0]
    assert run.structure(0).describe()["failures"][0]["step"] == 2
    assert len(run.structure(2).levels) == len(run.costs(2)) == 4
    with pytest.raises(StorageError, match=r"trial 1 diverged at level 0, step 2, learning rate 0.0012"):
        run.structure(1)
    for wrong in (lambda: run.structure_at(2, 0), lambda: run.export(2, trial=0), lambda: run.tickets.ticket(2, 0)):
        with pytest.raises(StorageError, match=r"has no trial 0; it has: 2, 3. Trial 0 diverged at level 1, step 2"):
            wrong()
    counts = count_by_layer(run)
    assert np.isnan(counts.active).tolist() == [[False, True, True, True], [False] * 4, [False] * 4]


@pytest.mark.parametrize("trial", [*(pytest.param(trial, marks=pytest.mark.heavy) for trial in (0, 1)), 2])
def test_figures_are_drawn_without_the_missing_trials(run: Run, trial: int) -> None:
    names = {path.stem for path in run.save_figures(trial=trial)}
    assert {"accuracy-over-steps", "accuracy-at-early-stop", "early-stop-steps", "steps-needed"} <= names
    assert ("states" in names) == (trial != 1)
    title = run.plot("accuracy-at-early-stop").axes[0].get_title()
    assert title == "fragile: IMP, 4 trials, 2 diverged"


def test_masks_overlap_in_the_trials_that_both_have(finished: Run) -> None:
    assert [overlap.pairs for overlap in mask_overlaps(finished) if overlap] == [3, 1, 1, 1]
    shared, _ = level_overlaps(finished)
    assert np.isfinite(shared).all()


def test_runs_are_compared_without_the_missing_trials(finished: Run, run: Run) -> None:
    _, second = compare_runs([finished, run])
    for level in second.levels:
        assert level is not None
        assert level.differences["test_acc"].mean == 0


@pytest.mark.parametrize("kind", ["reinitialised", "one-shot", "dense-longer"])
def test_controls_train_the_trials_that_there_are_and_lose_those_that_diverge(run: Run, kind: str) -> None:
    control = run_control(run, kind)
    there = [control.tickets.trials(level) for level in range(4)]
    assert there == TRIALS
    assert len(run.comparisons()) == 1
    assert run_control(run, kind).tickets.manifest() == control.tickets.manifest()


def test_a_control_names_the_divergence_in_its_run_where_a_trial_has_no_level(run: Run) -> None:
    control = run_control(run, "reinitialised")
    for asked in (control.structure, control.costs):
        with pytest.raises(StorageError, match=r"trial 1 diverged at level 0, step 2.*name another trial"):
            asked(1)
    with pytest.raises(PruningError, match=r"trial 1 diverged at level 0, step 2.*no figure"):
        control.plot("states", trial=1)


def test_transfers_and_stability_leave_out_the_missing_trials(run: Run) -> None:
    other = run.recipe().model_copy(update={"train": run.recipe().train.model_copy(update={"lr": 0.01})})
    transferred = transfer_run(run, other, "other")
    assert [transferred.tickets.trials(level) for level in range(4)] == TRIALS
    assert resume_transfer(transferred).complete
    measured = run_stability(run, [2], levels=[0, 1], points=1)
    assert [len(each.pairs[0]) for each in measured] == [3, 2]
    assert len(run.stability()) == 2


def test_tickets_are_transferred_though_the_first_trial_diverged_at_level_0(tmp_path: Path) -> None:
    with fragile(tmp_path, "run.seed=2", "run.trials=2", "prune.levels=0") as recipe:
        run = run_recipe(recipe, "fragile", out=tmp_path / "runs")
        assert run.tickets.trials(0) == (1,)
        transferred = transfer_run(Run(run.folder, trust_code=True), recipe, "again")
    assert transferred.tickets.trials(0) == (1,)


def test_an_export_is_of_the_last_level_that_its_trial_has(run: Run, tmp_path: Path) -> None:
    exported = run.export(out=tmp_path / "exported")
    assert (exported.ticket["level"], exported.ticket["trial"]) == (0, 0)


def test_untrained_accuracies_of_missing_trials_are_nan(run: Run) -> None:
    accuracies = untrained_accuracies(run).accuracies["tickets", "initial"]
    assert np.isnan(accuracies).tolist() == (~run.histories().measured).tolist()


def test_a_run_of_which_every_trial_diverges_ends_and_is_not_trained_again(tmp_path: Path) -> None:
    run = run_recipe(tiny("train.optimizer=sgd", "train.lr=1e38"), "tiny", out=tmp_path)
    assert (run.state, run.complete, run.tickets.ended) == ("ended", True, "the training of every trial diverged")
    assert run.summary() == []
    written = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.safetensors")}
    assert resume_run(run).state == "ended"
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.safetensors")} == written
    for asked in (run.structure, run.plot, run.costs):
        with pytest.raises(StorageError, match=r"every trial diverged .*lower learning rate"):
            asked()


@pytest.mark.parametrize("words", [(), ("prune.min_survivors=1",)], ids=["to zero", "to one of each tensor"])
def test_a_run_ends_after_the_last_level_that_prunes(tmp_path: Path, words: tuple[str, ...]) -> None:
    run = run_recipe(tiny("prune.rate=0.9", "prune.levels=9", *words), "tiny", out=tmp_path)
    last = run.summary()[-1]
    assert (run.state, last.left, last.level < 9) == ("ended", 2 if words else 0, True)
    assert run.tickets.ended == f"no later level prunes any of the remaining {last.left} weights"
    assert resume_run(run).tickets.finished == last.level + 1


def test_collapsed_networks_are_reported_in_the_manifest_the_summary_and_the_structure(tmp_path: Path) -> None:
    run = run_recipe(tiny("prune.rate=0.9999", "prune.levels=1"), "tiny", out=tmp_path)
    (first, second) = run.tickets.failures
    assert str(first) == "trial 0 collapsed at level 1: no weight of dense1.weight, output.weight remains"
    assert [level.failures for level in run.summary()] == [(), (first, second)]
    assert run.structure().failures == (first,)
    assert run.tickets.ticket(1).failure == first


def test_a_layer_without_biases_has_not_collapsed() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.Linear(2, 3))
    write_mask(model[1], "bias", torch.zeros(2, dtype=torch.bool))
    assert find_collapse(model, noise()) is None


@pytest.mark.parametrize("cut", ["bias", "path"])
def test_networks_with_the_same_outputs_for_all_inputs_are_dead_or_disconnected(cut: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.ReLU(), nn.Linear(2, 3))
    data = noise()
    assert find_collapse(model, data) is None
    if cut == "bias":
        nn.init.constant_(model[1].bias, -1e6)
        assert find_collapse(model, data) == ("dead", "its outputs are the same for every validation sample")
    else:  # only the first unit reads inputs, only the second one is read
        write_mask(model[1], "weight", torch.tensor([[True] * 16, [False] * 16]))
        write_mask(model[3], "weight", torch.tensor([[False, True]] * 3))
        reason = "no path of remaining weights connects its inputs and outputs"
        assert find_collapse(model, data) == ("collapsed", reason)
    assert model.training
