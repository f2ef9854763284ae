"""Controls of runs: what they take from the run, what they change, and how they are resumed."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lthprune.data import load_data
from lthprune.errors import LthpruneError, PruningError, RecipeError, StorageError
from lthprune.experiments.control_kinds import BEFORE_TRAINING, CONTROLS, EARLY_BIRDS, plan_controls
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.run import Run
from lthprune.models.build import build_model
from lthprune.pruning import Candidate, overlap, restore, snip
from lthprune.pruning.state import snapshot
from lthprune.training import train
from tests.nets import all_bits
from tests.tiny import contents, copied_before_writes, tiny, toys

MASKS = ("reinitialised", "signs-kept", "constant")
SHARED_DENSE = tuple(kind for kind in CONTROLS if kind not in MASKS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = ("train.steps=20", "train.batch_size=400", "prune.scope=layerwise")  # three steps to an epoch
    return run_recipe(tiny(*settings), "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def controls(run: Run) -> dict[str, Run]:
    return {kind: run_control(run, kind) for kind in CONTROLS}


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    folder = shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("controls"))
    return Run(folder)


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_control_has_the_trials_levels_and_evaluations_of_its_run(
    kind: str, run: Run, controls: dict[str, Run]
) -> None:
    control, own = controls[kind].histories(), run.histories()
    assert {name: curve.shape for name, curve in control.curves.items()} == {
        name: curve.shape for name, curve in own.curves.items()
    }
    assert np.array_equal(control.steps, own.steps)
    assert control.finished == own.finished == 3
    assert controls[kind].state == "finished"
    assert controls[kind].control == {"kind": kind, "repeat": 0}
    assert run.control is None


@pytest.mark.parametrize("kind", SHARED_DENSE)
def test_level_0_is_the_runs_unless_the_control_changes_the_dense_network(
    kind: str, run: Run, controls: dict[str, Run]
) -> None:
    for ticket, other in zip(run.tickets.level(0), controls[kind].tickets.level(0), strict=True):
        assert all_bits(ticket.trained) == all_bits(other.trained)
        assert np.array_equal(ticket.metrics["history"]["val_loss"], other.metrics["history"]["val_loss"])


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_masks_are_the_runs_and_the_weights_are_not(
    kind: str, level: int, run: Run, controls: dict[str, Run]
) -> None:
    for ticket, other in zip(run.tickets.level(level), controls[kind].tickets.level(level), strict=True):
        assert all_bits(ticket.masks) == all_bits(other.masks)
        assert all(not ticket.weights[name].equal(other.weights[name]) for name in ticket.masks)
        assert all((other.trained[name][~mask] == 0).all() for name, mask in ticket.masks.items())


def test_reinitialised_weights_come_from_the_recipes_own_initialiser_and_one_named_stream(
    run: Run, controls: dict[str, Run]
) -> None:
    recipe = run.recipe()
    for level in (0, 1):
        for trial, ticket in enumerate(controls["reinitialised"].tickets.level(level)):
            generator = recipe.run.control_generator(trial, 0, level)
            assert all_bits(ticket.weights) == all_bits(snapshot(build_model(recipe.model, (1, 8, 8), 10, generator)))


def test_kept_signs_and_constants_have_the_signs_of_the_tickets_weights(run: Run, controls: dict[str, Run]) -> None:
    for kind in ("signs-kept", "constant"):
        for ticket, other in zip(run.tickets.level(1), controls[kind].tickets.level(1), strict=True):
            assert all(ticket.weights[name].sign().equal(other.weights[name].sign()) for name in ticket.masks)
    magnitudes = {float(value) for value in other.weights["dense1.weight"].abs().unique()}
    assert len(magnitudes) == 1


@pytest.mark.parametrize("kind", ["shuffled", "shuffled-globally", "random-uniform", "random-erk"])
def test_random_masks_keep_as_many_initial_weights_and_only_shrink(
    kind: str, run: Run, controls: dict[str, Run]
) -> None:
    for level in (1, 2):
        for ticket, other, before in zip(
            run.tickets.level(level),
            controls[kind].tickets.level(level),
            controls[kind].tickets.level(level - 1),
            strict=True,
        ):
            assert ticket.left == other.left
            assert all_bits(ticket.weights) == all_bits(other.weights)
            assert all_bits(ticket.masks) != all_bits(other.masks)
            beyond = {name: int((mask & ~before.masks[name]).sum()) for name, mask in other.masks.items()}
            assert max(beyond.values()) <= (0 if kind.startswith("shuffled") else 1)
            if kind == "shuffled":
                assert ticket.counts == other.counts


@pytest.mark.parametrize("kind", BEFORE_TRAINING)
def test_masks_of_criteria_before_training_keep_as_many_initial_weights_and_only_shrink(
    kind: str, run: Run, controls: dict[str, Run]
) -> None:
    before = run.tickets.level(0)
    for level in (1, 2):
        tickets, others = run.tickets.level(level), controls[kind].tickets.level(level)
        for ticket, other, last in zip(tickets, others, before, strict=True):
            assert ticket.left == other.left
            assert all_bits(ticket.weights) == all_bits(other.weights)
            assert all_bits(ticket.masks) != all_bits(other.masks)
            beyond = sum(int((mask & ~last.masks[name]).sum()) for name, mask in other.masks.items())
            rounds = BEFORE_TRAINING[kind].rounds  # which differ from level to level
            assert beyond <= (0 if rounds == 1 else 0.1 * ticket.left)
            assert ticket.counts == other.counts or not BEFORE_TRAINING[kind].layerwise
        before = others


def test_iterative_snip_scores_the_pruned_network_anew(controls: dict[str, Run]) -> None:
    once, often = (controls[kind].tickets.ticket(2) for kind in ("snip", "iterative-snip"))
    assert overlap(once.masks, often.masks) < 0.999


@pytest.mark.parametrize("kind", EARLY_BIRDS)
def test_an_early_bird_is_drawn_from_the_dense_training_and_trained_on_from_there(
    kind: str, run: Run, controls: dict[str, Run]
) -> None:
    recipe = run.recipe()
    data = load_data(recipe.data, seed=recipe.run.first_seed)
    for trial, (ticket, other) in enumerate(zip(run.tickets.level(2), controls[kind].tickets.level(2), strict=True)):
        drawn = other.provenance["early_bird"]
        assert drawn["epoch"] in (5, 6)
        assert drawn["step"] == 3 * drawn["epoch"]
        assert drawn["settled"] == (drawn["distance"] < 0.1)
        assert drawn["settled"] or drawn["epoch"] == 6  # the last epoch of three steps before step 20
        dense = run.model(trial)
        restore(dense, run.tickets.load().initial[trial])
        plan = recipe.train.model_copy(update={"steps": drawn["step"]})
        train(dense, data, plan, recipe.run.generator("order", trial))
        assert all_bits(snapshot(dense)) == all_bits(other.weights)
        assert ticket.left == other.left
        assert ticket.counts == other.counts or not EARLY_BIRDS[kind]
        for name, mask in other.masks.items() if EARLY_BIRDS[kind] else ():
            magnitudes = other.weights[name].abs()
            assert magnitudes[mask].min() >= magnitudes[~mask].max()
        losses = other.metrics["history"]["val_loss"]
        assert np.isnan(losses).tolist() == [step <= drawn["step"] for step in recipe.train.evaluation_steps]


def test_a_run_of_a_few_epochs_has_no_early_birds(tmp_path: Path) -> None:
    run = run_recipe(tiny("train.steps=60", "run.trials=1", "prune.levels=1"), "short", out=tmp_path)  # five epochs
    assert ("early-bird", 0) not in plan_controls(run, ["all"])
    with pytest.raises(RecipeError, match=r"masks of 5 epochs agree.*has 60 steps, and an epoch 12"):
        run_control(run, "early-bird")


def test_snip_scores_the_initial_weights_by_samples_drawn_from_the_controls_stream(
    run: Run, controls: dict[str, Run]
) -> None:
    recipe = run.recipe()
    data = load_data(recipe.data, seed=recipe.run.first_seed)
    for trial, ticket in enumerate(controls["snip"].tickets.level(1)):
        generator = recipe.run.control_generator(trial, 0, 0)
        drawn = torch.randperm(len(data.x_train), generator=generator)[:100]
        model = run.tickets.ticket(0, trial).apply(run.model(trial))
        score = snip(model, [(data.x_train[drawn], data.y_train[drawn])])
        kept = [score(Candidate(name, ticket.weights[name]))[mask] for name, mask in ticket.masks.items()]
        pruned = [score(Candidate(name, ticket.weights[name]))[~mask] for name, mask in ticket.masks.items()]
        assert torch.cat(kept).min() >= torch.cat(pruned).max()


def test_snip_of_a_network_with_dropout_draws_from_the_controls_stream_alone(tmp_path: Path) -> None:
    run = run_recipe(tiny("model.dropout=0.5", "run.trials=1", "prune.levels=1"), "dropout", out=tmp_path)
    again = Run(shutil.copytree(run.folder, tmp_path / "again"))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = run_control(run, "snip")
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(2)
    assert contents(run_control(again, "snip").folder) == contents(first.folder)


def test_inverted_and_one_shot_search_from_the_runs_dense_network(run: Run, controls: dict[str, Run]) -> None:
    for trial, dense in enumerate(run.tickets.level(0)):
        own, inverted = run.tickets.ticket(1, trial), controls["inverted"].tickets.ticket(1, trial)
        assert own.counts == inverted.counts
        for name, mask in inverted.masks.items():
            magnitudes = dense.trained[name].abs()
            assert magnitudes[mask].max() <= magnitudes[~mask].min()
        for level in (1, 2):
            shot = controls["one-shot"].tickets.ticket(level, trial)
            assert shot.counts == run.tickets.ticket(level, trial).counts
            for name, mask in shot.masks.items():
                magnitudes = dense.trained[name].abs()
                assert magnitudes[mask].min() >= magnitudes[~mask].max()


def test_small_dense_networks_have_about_as_many_weights_and_no_mask(run: Run, controls: dict[str, Run]) -> None:
    for level in (1, 2):
        small = controls["small-dense"].tickets.ticket(level)
        assert small.density == 1
        assert small.left == pytest.approx(run.tickets.ticket(level).left, rel=0.1)


def test_small_dense_networks_are_summarised_and_drawn_but_have_no_structure(
    controls: dict[str, Run], tmp_path: Path
) -> None:
    small = controls["small-dense"]
    assert [level.left for level in small.summary()] == [small.tickets.ticket(level).left for level in range(3)]
    with pytest.warns(UserWarning, match="a network of another size at every level"):
        paths = small.save_figures(out=tmp_path)
    assert tmp_path / "accuracy-over-steps.png" in paths
    for refused in (small.structure, small.costs, small.export):
        with pytest.raises(PruningError, match="a network of another size at every level"):
            refused()


def test_controls_with_the_weights_of_a_fine_tuned_run_are_fine_tuned(tmp_path: Path) -> None:
    schedule = ("prune.rewind=none", "train.lr_milestones=[5]", "train.lr_gamma=1e-9")
    run = run_recipe(tiny(*schedule, "run.trials=1"), "tuned", out=tmp_path)
    for kind, moves in (("dense-longer", False), ("constant", False), ("reinitialised", True)):
        ticket = run_control(run, kind).tickets.ticket(1)
        change = max(
            float((ticket.trained[name] - ticket.weights[name])[mask].abs().max())
            for name, mask in ticket.masks.items()
        )
        assert (change > 1e-4) == moves


def test_an_unfinished_repetition_does_not_hide_the_finished_ones(copy: Run) -> None:
    run_control(copy, "shuffled")
    second = run_control(copy, "shuffled", 1)
    manifest = second.folder / "manifest.json"
    kept = json.loads(manifest.read_text())
    del kept["finished"][1:]
    manifest.write_text(json.dumps(kept))
    (comparison,) = copy.comparisons()
    assert (comparison.repeats, comparison.levels) == (1, (0, 1, 2))


def test_dense_longer_trains_on_from_the_level_before_in_another_order(run: Run, controls: dict[str, Run]) -> None:
    longer = controls["dense-longer"]
    for level in (1, 2):
        for before, ticket in zip(longer.tickets.level(level - 1), longer.tickets.level(level), strict=True):
            assert all_bits(ticket.weights) == all_bits(before.trained)
            assert ticket.density == 1
    assert (
        longer.histories().curves["train_loss"][:, 2, -1].mean() < run.histories().curves["train_loss"][:, 0, -1].mean()
    )


@pytest.mark.parametrize("kind", ["reinitialised", "shuffled", "small-dense", "dense-longer"])
def test_repetitions_draw_anew_and_the_same_repetition_is_the_same_to_the_bit(
    kind: str, run: Run, copy: Run, controls: dict[str, Run]
) -> None:
    assert contents(run_control(copy, kind).folder) == contents(controls[kind].folder)
    other = run_control(copy, kind, 1).tickets.ticket(1)
    assert all_bits(other.trained) != all_bits(controls[kind].tickets.ticket(1).trained)
    assert list(copy.controls()) == [(kind, 0), (kind, 1)]
    (comparison,) = copy.comparisons()
    assert (comparison.name, comparison.repeats, comparison.levels) == (kind, 2, (0, 1, 2))


@pytest.mark.parametrize(
    "kind",
    [
        "reinitialised",
        "one-shot",
        *(pytest.param(kind, marks=pytest.mark.heavy) for kind in ("inverted", "small-dense", "dense-longer")),
    ],
)
def test_a_control_that_is_interrupted_anywhere_ends_with_the_same_bits(
    kind: str, copy: Run, tmp_path: Path, controls: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(copy.folder, tmp_path / "whole" / "run")

    def go(folder: Path) -> Run:
        return run_control(Run(folder / "run"), kind)

    _, copies = copied_before_writes(tmp_path, monkeypatch, go)
    for folder in copies[::3]:
        assert contents(run_control(Run(folder), kind).folder) == contents(controls[kind].folder)


@pytest.mark.parametrize("rewind", ["lr", "none", "3"])
def test_controls_of_runs_that_rewind_otherwise_train_or_say_why_not(rewind: str, tmp_path: Path) -> None:
    run = run_recipe(tiny(f"prune.rewind={rewind}", "prune.method=osp"), "tiny", out=tmp_path)
    jobs = plan_controls(run, ["all"])
    assert ("one-shot", 0) not in jobs
    assert (("shuffled", 0) in jobs) == (rewind == "3")
    for kind in CONTROLS:
        if (kind, 0) in jobs:
            assert run_control(run, kind).state == "finished"
        else:
            with pytest.raises(RecipeError, match="Choose another control, such as reinitialised"):
                run_control(run, kind)
    if rewind == "3":  # a late rewind point is where the weights are from, and where training goes on
        shuffled, reinitialised = (run.controls()[kind, 0].histories() for kind in ("shuffled", "reinitialised"))
        assert math.isnan(shuffled.curves["val_loss"][0, 1, 0])
        assert not math.isnan(reinitialised.curves["val_loss"][0, 1, 0])


def test_a_control_goes_as_far_as_its_run_and_further_once_the_run_does(copy: Run, controls: dict[str, Run]) -> None:
    class Killed(BaseException):
        pass

    def stop(tickets: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_recipe(copy.recipe(), "tiny", out=copy.folder.parent / "runs", watcher=Watcher(on_level=stop))
    (folder,) = (copy.folder.parent / "runs").iterdir()
    control = run_control(Run(folder), "shuffled")
    assert (control.tickets.finished, control.state) == (1, "resumable")
    run_control(resume_run(Run(folder)), "shuffled")
    assert contents(control.folder) == contents(controls["shuffled"].folder)


def test_a_control_stays_as_it_is_while_its_run_that_went_back_has_fewer_levels(copy: Run) -> None:
    control = run_control(copy, "shuffled")
    before = contents(control.folder)
    copy.tickets.go_back(1)
    assert run_control(copy, "shuffled").tickets.finished == 3
    assert contents(control.folder) == before
    assert [comparison.levels for comparison in copy.comparisons()] == [(0,)]


def test_a_control_of_a_run_that_ended_ends_with_it(tmp_path: Path) -> None:
    run = run_recipe(toys("run.stop_when=degraded"), "toys", out=tmp_path)
    assert run.state == "ended"
    control = run_control(run, "shuffled")
    assert (control.state, control.tickets.finished) == ("ended", run.tickets.finished)
    assert run_control(run, "shuffled").tickets.finished == run.tickets.finished


def test_a_pretrained_run_and_its_controls_begin_with_the_pretrained_weights(tmp_path: Path) -> None:
    pretrained = ("pretrain.steps=5", "pretrain.data.name=digits", "pretrain.data.validation=237")
    run = run_recipe(tiny(*pretrained), "tiny", out=tmp_path)
    for kind in ("shuffled", "one-shot"):
        control = run_control(run, kind)
        for ticket, other in zip(run.tickets.level(1), control.tickets.level(1), strict=True):
            assert all_bits(ticket.weights) == all_bits(other.weights)


def test_kinds_that_draw_nothing_at_random_have_one_repetition(run: Run) -> None:
    jobs = plan_controls(run, ["all"], 2)
    assert {kind for kind, _ in jobs} == {*CONTROLS}
    assert {kind for kind, repeat in jobs if repeat == 1} == {*CONTROLS} - {
        "constant",
        "synflow",
        "synflow-layerwise",
        "early-bird",
        "early-bird-layerwise",
        "inverted",
        "one-shot",
    }


@pytest.mark.parametrize(
    ("kind", "repeat", "error", "words"),
    [
        ("shufled", 0, PruningError, "unknown control 'shufled'; did you mean 'shuffled'"),
        ("one-shot", 1, RecipeError, "draws nothing at random"),
        ("shuffled", -1, LthpruneError, "repeat"),
    ],
)
def test_a_control_that_does_not_exist_is_refused_before_anything_is_made(
    kind: str, repeat: int, error: type[Exception], words: str, copy: Run
) -> None:
    with pytest.raises(error, match=words):
        run_control(copy, kind, repeat)
    assert not (copy.folder / "controls").exists()


def test_a_control_has_no_controls_and_is_not_resumed_as_a_run(controls: dict[str, Run]) -> None:
    with pytest.raises(StorageError, match="is itself a control"):
        run_control(controls["shuffled"], "reinitialised")
    with pytest.raises(StorageError, match="is a control"):
        resume_run(controls["shuffled"])


def test_the_callers_random_state_stays_as_it_is(copy: Run) -> None:
    before = torch.get_rng_state()
    run_control(copy, "shuffled")
    assert torch.get_rng_state().equal(before)
