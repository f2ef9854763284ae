"""Stability of runs: what copies start from, what they differ in, and how a killed measurement goes on."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lthprune.analysis import Pair, Stability, angle_between, distance_between
from lthprune.data import load_data
from lthprune.errors import LthpruneError, PruningError, RecipeError, StorageError
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.measurements import Measurements
from lthprune.experiments.recipe import load_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.stability import run_stability, save_stability
from lthprune.pruning import restore, snapshot
from lthprune.search import Ticket
from lthprune.training import evaluate, train
from tests.tiny import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = (
        "train.engine=reference",
        "train.steps=8",
        "train.lr=0.05",
        "train.lr_schedule=cosine",
        "prune.rate=0.5",
    )
    return run_recipe(tiny(*settings), "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def measured(run: Run) -> tuple[Stability, ...]:
    return run_stability(run, [0, 3, 8], copies=3, points=1)


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("stability", "figures")))


def test_the_dense_network_and_the_last_ticket_are_measured_by_default(
    run: Run, measured: tuple[Stability, ...]
) -> None:
    assert [each.level for each in measured] == [0, 2]
    for each in measured:
        assert each.density == run.tickets.ticket(each.level).density
        assert each.steps == (0, 3, 8)
        assert each.barriers().shape == each.distances().shape == each.angles().shape == (3, 6)
        for pairs in each.pairs:
            assert [(pair.trial, pair.copies) for pair in pairs] == [
                (trial, copies) for trial in (0, 1) for copies in ((0, 1), (0, 2), (1, 2))
            ]
            assert all(pair.path.at.tolist() == [0, 0.5, 1] for pair in pairs)
    assert [each.level for each in run.stability()] == [0, 2]


@pytest.mark.parametrize(("level", "step"), [(0, 3), (2, 0), (2, 3)])
def test_copies_have_the_masks_of_their_level_and_the_weights_of_the_dense_training_and_differ_in_their_order_only(
    level: int, step: int, run: Run, measured: tuple[Stability, ...]
) -> None:
    recipe, trial = run.recipe(), 1
    plan, data = recipe.train, load_data(recipe.data, seed=recipe.run.first_seed)
    dense = run.model(trial)
    restore(dense, run.tickets.load().initial[trial])
    train(dense, data, plan, recipe.run.generator("order", trial), end=step)
    masks, state = run.tickets.ticket(level, trial).masks, snapshot(dense)
    start, errors, states = Ticket(level, masks, state, state), [], []
    for copied in (0, 2):
        model = start.apply(run.model(trial))
        origin = snapshot(model)
        train(model, data, plan, recipe.run.stability_generator("order", trial, copied), start=step)
        errors.append([1 - evaluate(model, *each, data.tasks).acc for each in _splits(data)])
        states.append(snapshot(model))
    (stability,) = (each for each in measured if each.level == level)
    (pair,) = (
        pair for pair in stability.pairs[stability.steps.index(step)] if (pair.trial, pair.copies) == (trial, (0, 2))
    )
    for place, name in enumerate(("train", "test")):
        ends = [pair.path.errors[name][end] for end in (0, -1)]
        np.testing.assert_allclose(ends, [own[place] for own in errors], atol=1e-6)
    assert pair.distance == pytest.approx(distance_between(*states, masks.keys() | {"dense1.bias", "output.bias"}))
    assert pair.angle == pytest.approx(angle_between(*states, origin, origin), abs=1e-4)
    assert all((own[name][~mask] == 0).all() for own in states for name, mask in masks.items())


def _splits(data):
    return (data.x_train, data.y_train), (data.x_test, data.y_test)


def test_copies_made_at_the_last_step_are_identical(measured: tuple[Stability, ...]) -> None:
    for each in measured:
        assert (each.barriers("train")[-1] == 0).all()
        assert (each.barriers("test")[-1] == 0).all()
        assert (each.distances()[-1] == 0).all()
        assert np.isnan(each.angles()[-1]).all()
        assert (each.distances()[:-1] > 0).all()
        assert each.moving_steps() == (0, 3)


def test_copies_have_the_same_orders_at_every_step_and_level_and_no_order_twice(run: Run) -> None:
    spec = run.recipe().run
    streams = ("order", "noise", "augment")
    drawn = {
        (stream, trial, copied): spec.stability_generator(stream, trial, copied).initial_seed()
        for stream in streams
        for trial in (0, 1)
        for copied in (0, 1, 2)
    }
    own = {spec.generator(stream, trial).initial_seed() for stream in streams for trial in (0, 1)}
    assert len({*drawn.values()} | own) == len(drawn) + len(own)


def test_residual_networks_with_batch_norms_are_measured_on_as_many_samples_as_asked_for(
    tmp_path: Path,
) -> None:
    settings = [
        'model.kind="resnet"',
        "model.depth=8",
        "model.width=2",
        'train.augment=["flip"]',
        "train.steps=4",
        "train.evaluate_every=4",
        "train.batch_size=50",
        "prune.levels=1",
        "prune.rate=0.5",
        "prune.rewind=1",
        "run.trials=1",
    ]
    run = run_recipe(load_recipe("lenet-digits", settings), "residual", out=tmp_path)
    dense, ticket = run_stability(run, [0, 4], points=1, samples=100)
    for each in (dense, ticket):
        ((first,), (last,)) = each.pairs
        assert first.distance > 0 == last.distance
        assert (last.path.errors["train"] == last.path.errors["train"][0]).all()
        right = 100 * (1 - first.path.errors["train"])  # of the 100 samples that are asked for
        np.testing.assert_allclose(right, right.round(), atol=1e-6)


def test_networks_trained_in_bf16_differ_along_the_line(tmp_path: Path) -> None:
    run = run_recipe(tiny("train.precision=bf16", "train.lr=0.05", "run.trials=1"), "tiny", out=tmp_path)
    for each in run_stability(run, [0], points=1):
        ((pair,),) = each.pairs
        assert pair.distance > 0
        assert len({*pair.path.losses["train"].tolist()}) == 3


@pytest.mark.parametrize("settings", [(), ("model.dropout=0.3",)])
def test_a_killed_measurement_goes_on_to_the_same_bytes(settings: tuple[str, ...], tmp_path: Path) -> None:
    run = run_recipe(tiny(*settings), "tiny", out=tmp_path)
    folders = [Path(shutil.copytree(run.folder, tmp_path / name)) for name in ("whole", "killed")]
    whole, killed = map(Run, folders)
    run_stability(whole, [1, 2], points=2)
    seen: list[tuple[int, int, int]] = []

    def kill(level: int, step: int, pairs: Sequence[Pair]) -> None:
        seen.append((level, step, pairs[0].trial))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stability(killed, [1, 2], points=2, on_measured=kill)
    (folders[1] / "stability/.level-02-step-2-trial-0.json.abcd1234.part").write_text("half")
    assert [each.steps for each in killed.stability()] == [(1,)]  # level 2 lacks a trial
    run_stability(killed, [1, 2], points=2, on_measured=lambda level, step, pairs: seen.append((level, step, 9)))
    assert len(seen) == 8
    files = [{path.name: path.read_bytes() for path in (folder / "stability").iterdir()} for folder in folders]
    assert files[0] == files[1]
    assert len([name for name in files[0] if name.startswith("level")]) == 8


def test_more_steps_and_levels_can_be_added_and_the_run_itself_stays_as_it_is(copy: Run) -> None:
    before = {path: path.read_bytes() for path in copy.folder.rglob("*") if path.is_file()}
    state = torch.get_rng_state()
    (first,) = run_stability(copy, [2], levels=[1], points=1)
    (again,) = run_stability(copy, [1, 2], levels=[1], points=1)
    assert torch.get_rng_state().equal(state)
    assert (first.steps, again.steps) == ((2,), (1, 2))
    assert np.array_equal(again.barriers()[1], first.barriers()[0])
    assert run_stability(copy, [2], levels=[1], points=1)[0].steps == (2,)
    assert {path: path.read_bytes() for path in before} == before


def test_other_settings_than_those_of_earlier_measurements_are_refused(copy: Run) -> None:
    run_stability(copy, [7], levels=[0], points=1)
    words = r"stability was measured with other settings: copies was 2 and is now 3; samples was None and is now 50"
    with pytest.raises(StorageError, match=words):
        run_stability(copy, [7], levels=[0], points=1, copies=3, samples=50)


def test_settings_are_not_fixed_before_something_is_measured(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Measurements, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            run_stability(copy, [7], levels=[0], points=1, copies=3)
    (stability,) = run_stability(copy, [7], levels=[0], points=1)
    assert stability.barriers().shape == (1, 2)
    settings = json.loads((copy.folder / "stability/settings.json").read_text())
    assert settings == {"copies": 2, "points": 1, "samples": None}


def test_a_damaged_measurement_is_named(copy: Run) -> None:
    run_stability(copy, [7], levels=[0], points=1)
    path = copy.folder / "stability/level-00-step-7-trial-1.json"
    for text in ("{", '{"density": 1}', json.dumps({"density": 1, "pairs": [{"copies": [0, 1]}]})):
        path.write_text(text)
        with pytest.raises(StorageError, match=r"cannot read .*level-00-step-7-trial-1\.json .*measure it again"):
            copy.stability()


def test_figures_are_drawn_once_something_is_measured(copy: Run) -> None:
    assert copy.stability() == ()
    with pytest.raises(PruningError, match=r"need measurements of it: lthprune stability RUN --at 0,100,500"):
        copy.plot("stability")
    run_stability(copy, [0, 7], points=1)
    paths = save_stability(copy)
    assert {path.relative_to(copy.folder).as_posix() for path in paths} == {
        f"figures/{name}.{ending}" for name in ("stability", "interpolation") for ending in ("png", "svg", "pdf")
    }
    assert all(path.stat().st_size > 1_000 for path in paths)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"at": []}, "at = nothing: list the steps in ascending order"),
        ({"at": [5, 3]}, "at = 5, 3: list the steps in ascending order, each once"),
        ({"at": [3, 3]}, "each once"),
        ({"at": [0, 9]}, "at = 0, 9: the training of .* ends at step 8"),
        ({"at": [-1]}, "must be a whole number, 0 or more"),
        ({"at": [0], "levels": [3]}, "level 3 of .* is not finished; levels 0 to 2 are"),
        ({"at": [0], "levels": []}, "levels = none: list at least one level"),
        ({"at": [0], "levels": [1, 1]}, "levels = 1, 1: .* each once"),
        ({"at": [0], "copies": 1}, "copies = 1: this must be 2 or more"),
        ({"at": [0], "points": 0}, "points = 0: this must be 1 or more"),
        ({"at": [0], "samples": 0}, "samples = 0: this must be 1 or more"),
        ({"at": [0], "samples": 9999}, "samples = 9,999: there are 1,200 training samples"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    words: dict[str, object], message: str, copy: Run
) -> None:
    with pytest.raises(LthpruneError, match=message):
        run_stability(copy, **words)  # type: ignore[arg-type]
    assert not (copy.folder / "stability").exists()


def test_a_run_that_keeps_its_trained_weights_has_a_dense_network_alone(tmp_path: Path) -> None:
    run = run_recipe(tiny("prune.rewind=lr"), "tiny", out=tmp_path)
    assert [each.level for each in run_stability(run, [0], points=1)] == [0]
    with pytest.raises(RecipeError, match=r"keep their trained weights \(prune.rewind = 'lr'\).*Measure level 0 alone"):
        run_stability(run, [0], levels=[1], points=1)


def test_controls_and_runs_without_a_finished_level_are_refused(copy: Run) -> None:
    control = run_control(copy, "shuffled")
    with pytest.raises(
        StorageError, match=r"shuffled-0 is a control\. Measure the stability of the run around it: .*run"
    ):
        run_stability(control, [0])
    manifest = copy.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"finished": []}))
    with pytest.raises(StorageError, match=r"no level of .* is finished yet; resume with"):
        run_stability(copy, [0])


def test_copies_that_diverge_are_kept_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lthprune.training.population.divergence", lambda *_, **__: None)  # as in a run of long ago
    recipe = tiny("train.optimizer=sgd", "train.lr=1e38", "run.trials=1", "prune.levels=0")
    run = run_recipe(recipe, "tiny", out=tmp_path)
    (stability,) = run_stability(run, [0], levels=[0], points=1)
    (pair,) = stability.pairs[0]
    assert math.isnan(pair.path.losses["test"][0])
    assert math.isnan(pair.distance)
