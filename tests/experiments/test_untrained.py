"""Masked networks before training: which masks, which weights, and what stays as it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lthprune.data import load_data
from lthprune.errors import StorageError
from lthprune.experiments import run_control, run_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.untrained import (
    UNTRAINED_MASKS,
    UNTRAINED_WEIGHTS,
    Untrained,
    save_untrained,
    untrained_accuracies,
)
from lthprune.pruning import restore
from lthprune.training import evaluate
from tests.tiny import contents, lthprune, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = ("train.steps=200", "model.dense=[40]", "prune.levels=3", "prune.scope=layerwise", "prune.rate=0.5")
    return run_recipe(tiny(*settings), "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def untrained(run: Run) -> Untrained:
    return untrained_accuracies(run)


def test_every_mask_and_weights_have_an_accuracy_for_each_trial_and_level(run: Run, untrained: Untrained) -> None:
    assert list(untrained.accuracies) == [
        (masks, weights) for masks in UNTRAINED_MASKS for weights in UNTRAINED_WEIGHTS
    ]
    assert untrained.density.tolist() == run.histories().density.tolist()
    for (_, weights), accuracies in untrained.accuracies.items():
        assert accuracies.shape == (2, 4)
        assert np.array_equal(accuracies[:, 0], untrained.accuracies["tickets", weights][:, 0])  # level 0 is dense


@pytest.mark.parametrize("name", ["tickets", "large_final", "large_final_same_sign", "magnitude_increase"])
def test_the_networks_are_the_initial_ones_with_the_masks_that_the_definition_gives(
    name: str, run: Run, untrained: Untrained
) -> None:
    recipe = run.recipe()
    data = load_data(recipe.data, seed=recipe.run.first_seed)
    for trial in range(2):
        initial, final = run.tickets.load().initial[trial], run.tickets.ticket(0, trial).trained
        ticket, model = run.tickets.ticket(2, trial), run.model(trial)
        masked, constant = dict(initial), dict(initial)
        for layer, mask in ticket.masks.items():
            first, last = initial[layer].flatten(), final[layer].flatten()
            scores = {
                "tickets": mask.flatten().float(),
                "large_final": last.abs(),
                "large_final_same_sign": torch.where(first.sign() == last.sign(), last.abs(), 0),
                "magnitude_increase": last.abs() - first.abs(),
            }[name]
            kept = torch.zeros(len(first))
            kept[scores.argsort(descending=True, stable=True)[: ticket.counts[layer].left]] = 1
            masked[layer] = (first * kept).reshape(mask.shape)
            constant[layer] = (first.sign() * first.std(correction=0) * kept).reshape(mask.shape)
        for weights, state in (("initial", masked), ("constant", constant)):
            restore(model, state)
            expected = evaluate(model, data.x_test, data.y_test, data.tasks).acc
            assert untrained.accuracies[name, weights][trial, 2] == pytest.approx(expected, abs=0.004)


def test_signs_that_training_kept_classify_without_training_and_random_masks_do_not(untrained: Untrained) -> None:
    same_sign = untrained.accuracies["large_final_same_sign", "constant"].mean(axis=0)
    assert same_sign[1:].max() > 0.5
    assert untrained.accuracies["random", "constant"].mean() < 0.25


def test_testing_a_run_changes_neither_its_files_nor_the_callers_random_state(run: Run) -> None:
    before, state = contents(run.folder), torch.get_rng_state()
    untrained_accuracies(run)
    assert contents(run.folder) == before
    assert torch.get_rng_state().equal(state)


def test_the_figure_is_written_and_has_a_line_for_each_mask(run: Run, untrained: Untrained, tmp_path: Path) -> None:
    paths = save_untrained(run, untrained, tmp_path)
    assert sorted(path.name for path in paths) == ["untrained.pdf", "untrained.png", "untrained.svg"]


def test_what_has_no_such_networks_is_refused(run: Run, tmp_path: Path) -> None:
    for kind in ("small-dense", "reinitialised"):
        with pytest.raises(StorageError, match=f"{kind}-0 is a control"):
            untrained_accuracies(run_control(run, kind))
    with pytest.raises(StorageError):
        untrained_accuracies(Run(tmp_path))


def test_other_data_than_those_of_the_run_are_refused(run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(run.folder, tmp_path / "other"))
    manifest = json.loads((other.folder / "manifest.json").read_text())
    manifest["search"]["data"] = "of other data"
    (other.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="digits, are not those that it began with"):
        untrained_accuracies(other)


def test_the_command_prints_both_tables_in_80_columns_and_writes_the_figure(run: Run) -> None:
    done = lthprune("untrained", run.folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith(("/", "tiny-")))
    assert sum("Weights:" in line for line in lines) == 2
    assert sum("12.5" in line for line in lines) == 2
    assert (run.folder / "figures" / "untrained.png").is_file()
