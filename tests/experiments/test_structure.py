import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lthprune import Run, StorageError, imp, neuron_states
from lthprune.analysis import NeuronState
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.structure import analyse, analyse_level, network_at
from tests.nets import net
from tests.tiny import tiny


@pytest.fixture(scope="module", params=["imp", "osp"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with few weights left at its last level."""
    recipe = tiny(f'prune.method="{request.param}"', "prune.densities=[0.3, 0.02]", 'prune.scope="global"')
    return run_recipe(recipe, "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("trial", [0, 1])
@pytest.mark.parametrize("functional", [False, True])
def test_a_runs_structure_is_that_of_a_trials_trained_tickets(run: Run, trial: int, functional: bool) -> None:
    structure = analyse(run, trial, functional=functional)
    assert (structure.run, structure.trial, structure.functional) == (run.name, trial, functional)
    assert [level.level for level in structure.levels] == [0, 1, 2]
    for states in structure.levels:
        trained = run.tickets.level(states.level)[trial].apply(run.model(trial), "trained")
        expected = neuron_states(trained, torch.zeros(1, 1, 8, 8)).parameters(functional=functional)
        assert states.parameters.keys() == expected.keys()
        for name, own in expected.items():
            np.testing.assert_array_equal(states.parameters[name], own)


def test_the_description_of_a_run_holds_what_was_counted_and_is_fit_for_json(run: Run) -> None:
    structure = analyse(run, 1)
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
    levels = analyse(run, 1, functional=functional).describe()["levels"]
    for level in (0, 1, 2):
        described = json.loads(
            json.dumps(analyse_level(run, level, 1, functional=functional).describe(), allow_nan=False)
        )
        assert {name: described[name] for name in levels[level]} == json.loads(json.dumps(levels[level]))
        assert described["network"] == json.loads(network_at(run, level, 1).to_json())
        names = [layer["name"] for layer in described["network"]["layers"]]
        assert names == ["input_1", "dense1", "output"]


def test_a_levels_network_is_the_trained_one(run: Run) -> None:
    trained = run.tickets.level(2)[1].apply(run.model(1), "trained")
    expected = neuron_states(trained, torch.zeros(1, 1, 8, 8))
    assert np.nan_to_num(expected.constant).any()  # of neurons that hear no input: their biases, which training moved
    np.testing.assert_array_equal(network_at(run, 2, 1).constant, expected.constant)
    assert (analyse_level(run, 2, 1).structure.levels[0].neurons["dense1"] != NeuronState.ALIVE).any()


def test_what_is_not_there_is_refused_with_words(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no level 3"):
        analyse_level(run, 3)
    for refused in (lambda: analyse(run, 2), lambda: analyse_level(run, 0, 2)):
        with pytest.raises(StorageError, match="has trials 0 to 1; there is no trial 2"):
            refused()
    with pytest.raises(StorageError, match="holds no run"):
        analyse(Run(tmp_path))
    imp(net(), lambda model: None, levels=1, store=tmp_path / "store")
    with pytest.raises(StorageError, match="is not the run of a recipe"):
        analyse(Run(tmp_path / "store"))
    copy = Run(shutil.copytree(run.folder, tmp_path / "copy"))
    manifest = copy.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"finished": []}))
    with pytest.raises(StorageError, match=f"no level of {copy.folder} is finished yet; go on with: lthprune resume"):
        analyse(copy)
