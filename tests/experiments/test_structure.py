import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lthprune import PruningError, Run, StorageError, imp, neuron_states
from lthprune.analysis import NetworkStates, NeuronState, find_splitting
from lthprune.data import tasks_of
from lthprune.experiments.execution import run_recipe
from lthprune.search.store import _sha256
from lthprune.search.ticket_files import TicketFile
from tests.nets import net
from tests.tiny import joined, tiny, toys


@pytest.fixture(scope="module", params=["imp", pytest.param("osp", marks=pytest.mark.heavy)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with few weights left at its last level."""
    recipe = tiny(f'prune.method="{request.param}"', "prune.densities=[0.3, 0.02]", 'prune.scope="global"')
    return run_recipe(recipe, "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("trial", [0, 1])
@pytest.mark.parametrize("functional", [False, True])
def test_a_runs_structure_is_that_of_a_trials_trained_tickets(run: Run, trial: int, functional: bool) -> None:
    structure = run.structure(trial, functional=functional)
    assert (structure.run, structure.trial, structure.functional) == (run.name, trial, functional)
    assert [level.level for level in structure.levels] == [0, 1, 2]
    for states in structure.levels:
        trained = run.tickets.level(states.level)[trial].apply(run.model(trial), "trained")
        expected = neuron_states(trained, torch.zeros(1, 1, 8, 8)).parameters(functional=functional)
        assert states.parameters.keys() == expected.keys()
        for name, own in expected.items():
            np.testing.assert_array_equal(states.parameters[name], own)


def test_the_description_of_a_run_holds_what_was_counted_and_is_fit_for_json(run: Run) -> None:
    structure = run.structure(1)
    described = json.loads(json.dumps(structure.describe(), allow_nan=False))
    assert (described["run"], described["trial"], described["states"]) == (run.name, 1, "structural")
    neurons = [sum(level["neurons"].values()) for level in described["levels"]]
    parameters = [sum(level["parameters"].values()) for level in described["levels"]]
    assert neurons == [8 + 10] * 3
    assert parameters == [64 * 8 + 8 + 8 * 10 + 10] * 3
    assert [level["density"] for level in described["levels"]] == [level.density for level in structure.levels]
    assert [level["pruning_horizon"] for level in described["levels"]] == [
        None,
        *(level.smallest_kept for level in structure.levels[1:]),
    ]
    for place, flow in enumerate(described["flows"]["parameters"]):
        before = {state: sum(after.values()) for state, after in flow.items()}
        assert before == described["levels"][place]["parameters"]
    assert [level["biases"]["count"] for level in described["levels"]] == [
        level["neurons"] for level in described["levels"]
    ]
    assert described["comatose_biases"] is None
    assert len(described["zombies"]["bias"]) == len(described["zombies"]["levels"])


@pytest.mark.parametrize("functional", [False, True])
def test_a_level_is_described_as_among_the_others_and_with_every_neurons_states(run: Run, functional: bool) -> None:
    levels = run.structure(1, functional=functional).describe()["levels"]
    for level in (0, 1, 2):
        described = json.loads(
            json.dumps(run.structure_at(level, 1, functional=functional).describe(), allow_nan=False)
        )
        assert {name: described[name] for name in levels[level]} == json.loads(json.dumps(levels[level]))
        assert described["network"] == json.loads(run.structure_at(level, 1).network.to_json())
        names = [layer["name"] for layer in described["network"]["layers"]]
        assert names == ["input_1", "dense1", "output"]


def test_a_levels_network_is_the_trained_one(run: Run) -> None:
    trained = run.tickets.level(2)[1].apply(run.model(1), "trained")
    expected = neuron_states(trained, torch.zeros(1, 1, 8, 8))
    assert np.nan_to_num(expected.constant).any()  # of neurons without inputs: their biases, which training changed
    np.testing.assert_array_equal(run.structure_at(2, 1).network.constant, expected.constant)
    assert (run.structure_at(2, 1).structure.levels[0].neurons["dense1"] != NeuronState.ALIVE).any()


def test_what_is_not_there_is_refused_with_words(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no level 3"):
        run.structure_at(3)
    for refused in (lambda: run.structure(2), lambda: run.structure_at(0, 2)):
        with pytest.raises(StorageError, match="has trials 0-1; there is no trial 2"):
            refused()
    with pytest.raises(StorageError, match="holds no run"):
        Run(tmp_path).structure()
    imp(net(), lambda model: None, levels=1, store=tmp_path / "store")
    with pytest.raises(StorageError, match="is not the run of a recipe"):
        Run(tmp_path / "store").structure()
    copy = Run(shutil.copytree(run.folder, tmp_path / "copy"))
    manifest = copy.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"finished": []}))
    with pytest.raises(StorageError, match=f"no level of {copy.folder} is finished yet; resume with: lthprune resume"):
        copy.structure()


def reads_of(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> Counter[str]:
    """Count how often each ticket's file is read while something is done, and check that it is hashed as often."""
    read, hashed = Counter[str](), Counter[str]()

    def reading(path: Path) -> TicketFile:
        read[path.name] += 1
        return TicketFile(path)

    def hashing(path: Path) -> str:
        hashed[path.name] += 1
        return _sha256(path)

    with monkeypatch.context() as patch:
        patch.setattr("lthprune.search.store.TicketFile", reading)
        patch.setattr("lthprune.search.store._sha256", hashing)
        do()
    assert read == hashed
    return read


def test_each_ticket_is_read_and_hashed_once_whatever_is_asked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = {f"level-{level:02d}.safetensors": 1 for level in range(3)}
    source = 0 if run.recipe().prune.method == "osp" else 1
    assert reads_of(monkeypatch, run.structure) == every
    assert reads_of(monkeypatch, lambda: run.save_figures(out=tmp_path)) == every
    assert reads_of(monkeypatch, lambda: run.plot("network")) == every
    assert reads_of(monkeypatch, lambda: run.plot("weights", level=1)) == {"level-01.safetensors": 1}
    assert reads_of(monkeypatch, lambda: run.structure_at(2)) == {
        f"level-{level:02d}.safetensors": 1 for level in (source, 2)
    }
    assert reads_of(monkeypatch, lambda: run.structure_at(0)) == {"level-00.safetensors": 1}
    assert reads_of(monkeypatch, run.summary) == {"level-00.safetensors": 1}


@pytest.mark.heavy
def test_each_ticket_is_read_and_traced_once_where_there_are_several_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined_run = run_recipe(joined(), "joined", out=tmp_path)
    traced = []

    def tracing(*arguments: Any, **words: Any) -> NetworkStates:
        traced.append(arguments)
        return neuron_states(*arguments, **words)

    monkeypatch.setattr("lthprune.experiments.structure.neuron_states", tracing)
    every = {f"level-{level:02d}.safetensors": 1 for level in range(3)}
    for analysis in (joined_run.structure, lambda: joined_run.save_figures(out=tmp_path), joined_run.splittings):
        traced.clear()
        assert reads_of(monkeypatch, analysis) == every
        assert len(traced) == 3


def test_a_network_that_cannot_be_traced_is_tried_once_for_all_figures(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refusing(*arguments: Any) -> NetworkStates:
        tried.append(arguments)
        raise PruningError("this network cannot be traced.")

    monkeypatch.setattr("lthprune.experiments.structure.neuron_states", refusing)
    with pytest.warns(UserWarning, match="no figures of states, lifetimes, biases, inputs, network"):
        run.save_figures(out=tmp_path)
    assert len(tried) == 1


def test_how_far_a_network_has_split_is_the_same_with_and_without_its_states(tmp_path: Path) -> None:
    run = run_recipe(toys("run.trials=1", "prune.min_survivors=1", "prune.target=4"), "toys", out=tmp_path)
    levels = run.structure().splittings
    assert len(levels) == 9
    for level, (split, alone) in enumerate(zip(levels, run.splittings(), strict=True)):
        (at_level,) = run.structure_at(level).structure.splittings
        masks = neuron_states(run.model(), torch.zeros(1, 4), masks=run.tickets.ticket(level).masks)
        expected = find_splitting(masks, tasks_of(run.recipe().data))
        for found in (split, alone, at_level):
            assert (found.splitting.status, found.splitting.metric) == (expected.status, expected.metric)
            np.testing.assert_array_equal(found.splitting.components, expected.components)
    assert len({split.splitting.status for split in levels}) > 1


def test_active_weights_are_the_unpruned_ones_on_a_path_from_an_input_to_an_output(tmp_path: Path) -> None:
    run = run_recipe(toys("run.trials=1", "prune.target=6"), "toys", out=tmp_path)
    structure = run.structure()
    for level, split in zip(structure.levels, structure.splittings, strict=True):
        ticket = run.tickets.ticket(level.level)
        first, second, third = (mask.numpy().astype(int) for mask in ticket.masks.values())
        to_first, to_second = first.any(axis=1), (second @ first).any(axis=1)  # units that an input reaches
        from_second, from_first = third.any(axis=0), (third @ second).any(axis=0)  # that reach an output
        expected = first[from_first].sum() + second[np.ix_(from_second, to_first)].sum() + third[:, to_second].sum()
        assert level.active == split.active == expected
        assert level.left == split.left == ticket.left
    assert structure.levels[0].active == structure.levels[0].left
    assert structure.levels[-1].active < structure.levels[-1].left


def test_a_structure_is_shown_by_its_run_trial_and_levels(run: Run) -> None:
    assert repr(run.structure(1)) == f"<Structure of {run.name}, trial 1: structural states at the levels 0, 1, 2>"
