"""A training whose loss or weights are not finite stops, and leaves the other trials as they are."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lthprune.data.dataset import Dataset
from lthprune.pruning.state import snapshot
from lthprune.search import Diverged
from lthprune.training import checkpoint
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from lthprune.training.record import Evaluation, Training
from tests.nets import Architecture, all_bits
from tests.tiny import noise

DATA = noise(sizes=(40, 70, 150))
POSITIVE = replace(DATA, x_train=DATA.x_train.abs(), x_val=DATA.x_val.abs(), x_test=DATA.x_test.abs())
ENGINES = ["reference", "compiled", "stacked", "unhooked"]


def plan(engine: str, **words: object) -> TrainingPlan:
    settings = {"optimizer": "sgd", "lr": 0.1, "batch_size": 8, "steps": 12, "evaluate_every": 3, "engine": engine}
    return TrainingPlan.model_validate(settings | words)


def nets(trials: int = 3) -> list[nn.Module]:
    return [Architecture("dense").build(seed) for seed in range(trials)]


def fill(model: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        model[-1].weight.fill_(value)  # type: ignore[index,union-attr,operator]
    return model


def train(models: list[nn.Module], trials: list[int], plan: TrainingPlan, data: Dataset = DATA) -> list[Training]:
    return train_population(models, data, plan, [torch.Generator().manual_seed(trial) for trial in trials])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [3e38, math.nan, math.inf])
def test_a_trial_that_diverges_stops_at_the_next_evaluation_and_says_why(engine: str, value: float) -> None:
    models, seen, told = nets(), [], []
    fill(models[1], value)
    done = train_population(
        models,
        DATA,
        plan(engine, lr_milestones=(2,)),
        [torch.Generator().manual_seed(trial) for trial in range(3)],
        on_evaluation=lambda trial, evaluation: seen.append((trial, evaluation.step)),
        on_diverged=lambda trial, diverged: told.append((trial, diverged)),
    )
    found = done[1].diverged
    assert found is not None
    assert (found.step, found.lr, found.reason) == (3, pytest.approx(0.01), "the training loss is NaN")
    assert told == [(1, found)]
    assert [done[0].diverged, done[2].diverged] == [None, None]
    assert sorted(seen) == [(trial, step) for trial in (0, 2) for step in (3, 6, 9, 12)]
    assert np.isnan(done[1].history["val_loss"][1:]).all()


@pytest.mark.parametrize("engine", ["reference", "compiled", "unhooked"])
def test_the_other_trials_have_the_bits_that_they_have_without_it(engine: str) -> None:
    models, words = nets(), {"optimizer": "adam", "lr": 0.02}
    twins = [copy.deepcopy(models[0]), copy.deepcopy(models[2])]
    fill(models[1], 3e38)
    done = train(models, [0, 1, 2], plan(engine, **words))
    expected = train(twins, [0, 2], plan(engine, **words))
    assert [all_bits(snapshot(model)) for model in (models[0], models[2])] == [
        all_bits(snapshot(twin)) for twin in twins
    ]
    for training, reference in zip((done[0], done[2]), expected, strict=True):
        assert {name: curve.tobytes() for name, curve in training.history.items()} == {
            name: curve.tobytes() for name, curve in reference.history.items()
        }


def test_in_batched_products_the_other_trials_differ_by_rounding_at_most() -> None:
    models = nets()
    twins = [copy.deepcopy(models[0]), copy.deepcopy(models[2])]
    fill(models[1], 3e38)
    train(models, [0, 1, 2], plan("stacked", optimizer="adam", lr=0.02))
    train(twins, [0, 2], plan("stacked", optimizer="adam", lr=0.02))
    for model, twin in zip((models[0], models[2]), twins, strict=True):
        for name, tensor in snapshot(twin).items():
            torch.testing.assert_close(snapshot(model)[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_infinite_weights_that_no_loss_shows_are_found_too(engine: str) -> None:
    models: list[nn.Module] = [
        nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 3)) for _ in range(2)
    ]
    with torch.no_grad():
        models[0][1].weight[0, 0] = -math.inf  # type: ignore[index,union-attr]
    first, second = train(models, [0, 1], plan(engine), POSITIVE)
    if engine != "compiled":  # which computes with differences of inputs, so that its loss is NaN
        assert first.diverged == Diverged(3, 0.1, "weights are NaN or infinite")
    assert first.diverged is not None
    assert second.diverged is None


@pytest.mark.parametrize("engine", ENGINES)
def test_an_infinite_validation_loss_of_finite_weights_does_not_stop_a_training(engine: str) -> None:
    data = replace(DATA, x_val=DATA.x_val.clone())
    data.x_val[0] = math.inf
    (done,) = train(nets(1), [0], plan(engine), data)
    assert not np.isfinite(done.history["val_loss"]).all()
    assert done.diverged is None


@pytest.mark.parametrize("engine", ENGINES)
def test_a_population_that_diverges_altogether_ends(engine: str) -> None:
    models = [fill(model, math.nan) for model in nets(2)]
    done = train(models, [0, 1], plan(engine, patience=1))
    assert [training.diverged.step for training in done if training.diverged is not None] == [3, 3]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_training_that_continues_from_a_checkpoint_still_knows_the_trial_that_diverged(
    engine: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)

    class KilledError(Exception):
        """The process ends here."""

    def run(folder: Path, dies_at: int | None = None) -> tuple[list[Training], list[object], list[int]]:
        models, told = nets(), []
        fill(models[1], value)

        def look(trial: int, evaluation: Evaluation) -> None:
            if (trial, evaluation.step) == (2, dies_at):
                raise KilledError

        def generators() -> list[torch.Generator]:
            return [torch.Generator().manual_seed(trial) for trial in range(3)]

        done = train_population(
            models,
            DATA,
            plan(engine),
            generators(),
            noises=generators(),
            augmenters=generators(),
            on_evaluation=look,
            on_diverged=lambda trial, diverged: told.append(trial),
            checkpoints=lambda trial, by: checkpoint.Checkpoint(folder / f"{trial}.safetensors", by),
        )
        return done, [all_bits(snapshot(model)) for model in (models[0], models[2])], told

    with pytest.raises(KilledError):
        run(tmp_path, dies_at=9)
    assert [*tmp_path.iterdir()]
    done, bits, told = run(tmp_path)
    expected, expected_bits, _ = run(tmp_path / "whole")
    assert [training.diverged for training in done] == [training.diverged for training in expected]
    assert (bits, told) == (expected_bits, [1])
