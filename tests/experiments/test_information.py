"""The mutual information of a run's layers: which activations, what is kept, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lthprune.analysis import Mine, estimate_information, layer_activations
from lthprune.data import load_data
from lthprune.errors import LthpruneError, PruningError, StorageError
from lthprune.experiments import information
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.experiment import prepare
from lthprune.experiments.information import InformationWatcher, _Estimation, run_information, save_information
from lthprune.experiments.recipe import load_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.training_states import training_states
from lthprune.pruning import restore
from lthprune.seeds import Seeds
from tests.tiny import tiny, toys

QUICK = Mine(units=8, epochs=1, lr=1e-3)
PAIRS = [("input", "dense1"), ("dense1", "labels")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tiny("prune.rewind=2"), "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(made.folder, tmp_path / "run"))


def test_estimates_are_those_of_the_trained_tickets_activations_for_training_samples(run: Run) -> None:
    (found,) = run_information(run, PAIRS, levels=[1], samples=500, settings=QUICK)
    recipe = run.recipe()
    data = load_data(recipe.data, seed=0)
    assert (found.level, found.density, found.step) == (1, run.tickets.ticket(1).density, None)
    for trial in (0, 1):
        model = run.tickets.ticket(1, trial).apply(run.model(trial), "trained")
        variables = {"input": data.x_train[:500], "labels": data.y_train[:500]}
        expected = estimate_information(
            variables | layer_activations(model, variables["input"]),
            PAIRS,
            QUICK,
            generators=[Seeds(0).information(pair, trial=trial, level=1, step=recipe.train.steps) for pair in PAIRS],
        )
        assert {pair: own[trial] for pair, own in found.pairs.items()} == expected
    np.testing.assert_array_equal(found.nats(PAIRS[0], "mine"), [own.mine for own in found.pairs[PAIRS[0]]])


def test_without_pairs_each_layer_is_taken_with_the_one_before_the_inputs_and_the_labels(run: Run) -> None:
    found = run_information(run, settings=QUICK, samples=200)
    assert [own.level for own in found] == [0, 1, 2]
    assert list(found[0].pairs) == [
        ("input", "dense1"),
        ("dense1", "output"),
        ("input", "output"),
        ("dense1", "labels"),
        ("output", "labels"),
    ]


def test_what_is_estimated_is_kept_and_an_interrupted_command_gives_the_same(made: Run, tmp_path: Path) -> None:
    run, again = (Run(shutil.copytree(made.folder, tmp_path / name)) for name in ("whole", "again"))
    whole = run_information(run, PAIRS, settings=QUICK)
    files = {path.name: path.read_bytes() for path in run.folder.glob("information/*.json")}
    assert sorted(files) == [f"level-0{level}-trial-{trial}.json" for level in range(3) for trial in (0, 1)] + [
        "settings.json"
    ]
    assert run.information() == whole
    steps: list[tuple[int, int]] = []

    def kill(made: int, total: int) -> None:
        steps.append((made, total))
        if len(steps) == 14:  # ten of the first trial
            raise KeyboardInterrupt

    run_information(again, PAIRS, levels=[0], settings=QUICK)
    with pytest.raises(KeyboardInterrupt):
        run_information(again, PAIRS, settings=QUICK, watcher=InformationWatcher(on_step=kill))
    assert again.information() == whole[:1]  # level 1 lacks a trial
    steps.clear()
    seen: list[object] = []
    watcher = InformationWatcher(on_step=lambda *own: steps.append(own), on_level=seen.append)
    assert run_information(again, PAIRS, settings=QUICK, watcher=watcher) == whole
    assert tuple(seen) == whole
    assert {path.name: path.read_bytes() for path in again.folder.glob("information/*.json")} == files
    assert steps == 3 * [(made, 10) for made in range(1, 11)]  # of what was missing
    assert run_information(again, PAIRS, settings=QUICK, watcher=InformationWatcher(on_step=kill)) == whole


def test_more_pairs_are_estimated_beside_those_that_are_there(run: Run) -> None:
    (first,) = run_information(run, PAIRS[:1], levels=[0], settings=QUICK)
    (more,) = run_information(run, PAIRS[::-1], levels=[0], settings=QUICK)
    assert more.pairs[PAIRS[0]] == first.pairs[PAIRS[0]]
    assert list(more.pairs) == PAIRS[::-1]
    assert list(run.information()[0].pairs) == PAIRS


def test_other_settings_and_samples_than_those_of_earlier_estimates_are_refused(run: Run) -> None:
    run_information(run, PAIRS[:1], levels=[0], settings=QUICK)
    wider = Mine(units=9, epochs=1, lr=1e-3)
    with pytest.raises(StorageError, match="with other settings: units was 8 and is now 9; samples was 1200 and is"):
        run_information(run, PAIRS[:1], levels=[0], settings=wider, samples=300)


def test_a_pair_and_its_mirror_are_one(run: Run) -> None:
    mirrored = [("labels", "dense1"), ("output", "dense1"), ("dense1", "output"), ("dense1", "input")]
    (found,) = run_information(run, mirrored, levels=[0], settings=QUICK)
    in_order = [("dense1", "labels"), ("dense1", "output"), ("input", "dense1")]
    assert list(found.pairs) == in_order
    assert run_information(run, in_order, levels=[0], settings=QUICK) == (found,)


def test_steps_within_a_training_are_those_of_the_ticket_trained_again(run: Run) -> None:
    found = run_information(run, PAIRS, levels=[1], at=[6, 2, 4], settings=QUICK)
    assert [own.step for own in found] == [2, 4, 6, None]  # training starts at step 2, to which the run rewinds
    at_start, _, at_end, after = (own.pairs["dense1", "labels"][0].neighbours for own in found)
    assert at_end == pytest.approx(after, abs=1e-4)  # the same network up to rounding
    assert at_start != pytest.approx(after, abs=1e-4)
    data = prepare(run.recipe()).data
    weights = run.tickets.ticket(1).apply(run.model())
    variables = {"labels": data.y_train} | layer_activations(weights, data.x_train, ["dense1"])
    generators = [Seeds(0).information(PAIRS[1], level=1, step=2)]
    expected = estimate_information(variables, PAIRS[1:], QUICK, generators=generators)
    assert found[0].pairs[PAIRS[1]][0].neighbours == expected[PAIRS[1]].neighbours
    assert run_information(run, PAIRS, levels=[0], at=[1], settings=QUICK)[0].step == 1
    with pytest.raises(PruningError, match=r"step 7: the training of a level has 6 steps"):
        run_information(run, PAIRS, at=[7], settings=QUICK)


def test_the_dense_network_of_a_run_that_rewinds_late_is_trained_again_from_its_initial_weights(run: Run) -> None:
    first, rewound, _, after = run_information(run, PAIRS[1:], levels=[0], at=[0, 2, 6], settings=QUICK)[:4]
    data, variables = prepare(run.recipe()).data, {}
    states = {"initial": run.tickets.load().initial[0], "rewound": run.tickets.ticket(0).weights}
    for (name, state), found, step in zip(states.items(), (first, rewound), (0, 2), strict=True):
        model = run.model()
        restore(model, state)
        variables = {"labels": data.y_train} | layer_activations(model, data.x_train, ["dense1"])
        generators = [Seeds(0).information(PAIRS[1], level=0, step=step)]
        expected = estimate_information(variables, PAIRS[1:], QUICK, generators=generators)
        near = found.pairs[PAIRS[1]][0].neighbours
        assert near == pytest.approx(expected[PAIRS[1]].neighbours, abs=1e-4), name
    (state,) = training_states(prepare(run.recipe()), run, run.model(), run.tickets.ticket(0), 0, [6]).values()
    torch.testing.assert_close(state, dict(run.tickets.ticket(0).trained), rtol=1e-4, atol=1e-5)
    assert after.step is None


def test_the_callers_random_numbers_stay_as_they_are(run: Run) -> None:
    before = torch.get_rng_state()
    run_information(run, PAIRS, levels=[2], at=[3], samples=300, settings=QUICK)
    assert torch.get_rng_state().equal(before)


def test_labels_of_several_tasks_count_as_one(tmp_path: Path) -> None:
    run = run_recipe(toys("prune.levels=1", "prune.target=20"), "toys", out=tmp_path)
    found = run_information(run, [("dense2", "labels")], settings=QUICK)
    assert len(found) == 2


def test_bad_input_is_refused_before_anything_is_estimated(run: Run) -> None:
    for words, message in (
        ({"pairs": [("dnse1", "labels")]}, r"no layer 'dnse1'; did you mean 'dense1'\? .*: dense1, output"),
        ({"pairs": [("labels", "labels")]}, "the pair labels:labels names no layer"),
        ({"levels": [3]}, r"level 3 of .* is not finished; levels 0 to 2 are"),
        ({"samples": 5000}, r"samples = 5,000: the run has 1,200 training samples"),
        ({"samples": 50}, "50 samples, of which 5 are held out, are too few for a batch of 100"),
        ({"samples": 500.5}, r"samples = 500.5: this must be a whole number"),
        ({"levels": []}, "levels is empty: list at least one"),
        ({"levels": [1.0]}, r"a level = 1.0: this must be a whole number"),
        ({"at": [1]}, r"step 1 of level 1: its training starts at step 2. Leave out .* or take level 0 alone"),
        ({"at": [1], "levels": [0, 2]}, r"step 1 of level 2: its training starts at step 2"),
        ({"neighbour_samples": 3}, "neighbour_samples = 3: this must be 4 or more"),
        ({"neighbour_samples": -1}, "neighbour_samples = -1: this must be a whole number, 0 or more"),
    ):
        seen: list[object] = []
        watcher = InformationWatcher(on_step=lambda *own, seen=seen: seen.append(own), on_level=seen.append)
        with pytest.raises(LthpruneError, match=message):
            run_information(run, watcher=watcher, **{"settings": QUICK} | words)  # type: ignore[arg-type]
        assert not seen


def test_networks_that_are_not_finite_are_refused_by_level_and_layer(run: Run) -> None:
    estimation = _Estimation(prepare(run.recipe()), run, QUICK, 500, 100, InformationWatcher())
    model = run.model(1)
    model.dense1.weight.data.fill_(torch.nan)
    with pytest.raises(PruningError, match=r"level 1, step 4, trial 1: 'dense1' has values that are not finite"):
        estimation._estimate(model, PAIRS, 1, 1, 4)


def test_activations_that_do_not_fit_into_memory_are_refused_with_a_number_that_fits(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = 64 + run.model().dense1.out_features + 1  # of input, dense1 and labels
    monkeypatch.setattr(information, "available_memory", lambda: 1000 * features * 12)
    with pytest.raises(PruningError, match=f"have {features} values .* For 1,200 samples .*as in --samples 800, or"):
        run_information(run, PAIRS, settings=QUICK)
    assert not (run.folder / "information").exists()
    assert len(run_information(run, PAIRS, levels=[0], samples=1000, settings=QUICK)) == 1
    monkeypatch.setattr(information, "available_memory", lambda: None)  # unknown
    run_information(run, PAIRS, levels=[1], samples=1000, settings=QUICK)


def test_an_estimate_that_diverges_is_named_and_not_stored(tmp_path: Path) -> None:
    run = run_recipe(tiny("prune.levels=1"), "tiny", out=tmp_path)
    wild = Mine(units=8, epochs=1, lr=1e30, output="linear")
    with pytest.raises(
        PruningError, match=r"level 0, step 6, trial 0: the estimate of 'input' and 'dense1' diverged.*lower l"
    ):
        run_information(run, PAIRS, settings=wild)
    assert not list(run.folder.glob("information/level-*.json"))


def test_a_control_has_estimates_but_no_steps(run: Run) -> None:
    control = run_control(run, "shuffled")
    assert len(run_information(control, PAIRS, settings=QUICK, samples=300)) == 3
    with pytest.raises(PruningError, match="is a control, whose training is not repeated"):
        run_information(control, PAIRS, at=[3], settings=QUICK)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = run_recipe(tiny("prune.levels=1"), "tiny", out=tmp_path)
    run_information(run, PAIRS, levels=[0], settings=QUICK)
    path = run.folder / "information/level-00-trial-1.json"
    for text in ("{", '{"density": 1}', '{"density": 1, "nats": {"a:b": {"mine": 1}}}', '{"density": 1, "nats": 3}'):
        path.write_text(text)
        with pytest.raises(StorageError, match=r"cannot read .*level-00-trial-1\.json .*measure it again"):
            run.information()


def test_the_figure_is_drawn_once_something_is_estimated(run: Run) -> None:
    assert run.information() == ()
    with pytest.raises(PruningError, match="'information' needs estimates of it: lthprune information RUN"):
        run.plot("information")
    run_information(run, PAIRS, settings=QUICK)
    paths = save_information(run)
    assert {path.name for path in paths} == {f"information.{ending}" for ending in ("png", "svg", "pdf")}
    assert all(path.parent == run.folder / "figures" and path.stat().st_size for path in paths)


def test_the_recipe_has_the_settings_of_its_experiment() -> None:
    recipe = load_recipe("lenet-mnist-information")
    assert (recipe.train.optimizer, recipe.train.lr, recipe.train.batch_size) == ("adam", 1.2e-3, 60)
    assert recipe.train.steps == 6 * ((60_000 - recipe.data.validation) // 60)
    assert (recipe.prune.levels, recipe.prune.rate, recipe.run.trials) == (15, 0.2, 5)
    assert round(100 * (1 - 0.8**15), 1) == 96.5
