"""The compiled engine refuses networks that its kernels would read beyond, and ends with an error of any thread."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from lthprune.errors import PruningError
from lthprune.kernels import Team
from lthprune.pruning.methods import write_mask
from lthprune.training import compiled as engines
from lthprune.training import formed
from lthprune.training.compiled import Compiled
from lthprune.training.lowering import lower
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from tests.tiny import noise


def compiled(*layers: nn.Module) -> Compiled:
    """The engine of a network for 16 features and 3 classes."""
    models = [nn.Sequential(nn.Flatten(), *layers)]
    return Compiled(models, lower(models), noise(), TrainingPlan(optimizer="sgd", lr=0.1, batch_size=8, steps=2))


@pytest.mark.parametrize("outputs", [1, 2, 4, 10])
def test_more_or_fewer_outputs_than_classes_are_refused(outputs: int) -> None:
    with pytest.raises(PruningError, match=f"has {outputs} outputs, and the tasks of its data 3"):
        compiled(nn.Linear(16, outputs))


@pytest.mark.parametrize(
    "layers",
    [[nn.Linear(20, 3)], [nn.Linear(16, 5), nn.ReLU(), nn.Linear(6, 3)], [nn.Linear(16, 3).double()]],
    ids=["other features", "layers that do not fit", "another precision"],
)
def test_torch_refuses_what_does_not_fit(layers: list[nn.Module]) -> None:
    with pytest.raises(RuntimeError, match=r"shape|dtype"):
        compiled(*layers)


def test_a_network_that_fits_trains() -> None:
    engine = compiled(nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))
    engine.train(torch.arange(8).view(1, 1, 8), [0.1])
    assert engine.measure()[0].train_loss > 0


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_thread_ends_a_team(failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, train = compiled(nn.Linear(16, 1000), nn.Tanh(), nn.Linear(1000, 3)), engines.kernels.train

    def fail(*arguments: Any) -> None:
        team: Team = arguments[-1]
        assert team.members == 2
        if team.member == failing:
            raise MemoryError("as a kernel raises it")
        train(*arguments)

    monkeypatch.setattr(engines.kernels, "train", fail)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(MemoryError, match="as a kernel"):
        engine.train(torch.arange(8).repeat(50, 1, 1), [0.1] * 50)


def test_training_ends_where_a_thread_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, submit = compiled(nn.Linear(16, 1000), nn.Tanh(), nn.Linear(1000, 3)), ThreadPoolExecutor.submit
    started: list[object] = []

    def start_one(pool: ThreadPoolExecutor, work: Any) -> object:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(submit(pool, work))
        return started[0]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", start_one)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(RuntimeError, match="start new thread"):
        engine.train(torch.arange(8).repeat(50, 1, 1), [0.1] * 50)


def test_more_weights_of_a_sparse_layer_than_indices_count_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formed, "_MOST", 25)
    layer = nn.Linear(16, 10)
    write_mask(layer, "weight", torch.arange(160).view(10, 16) < 26)
    with pytest.raises(PruningError, match="'1' has 26 weights left"):
        compiled(layer, nn.Linear(10, 3))


def test_large_batches_are_drawn_a_few_steps_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, train = [], Compiled.train

    def note(engine: Compiled, batches: torch.Tensor, rates: list[float]) -> None:
        drawn.append(tuple(batches.shape))
        train(engine, batches, rates)

    monkeypatch.setattr(Compiled, "train", note)
    data = noise(sizes=(40_000, 10, 10))
    plan = TrainingPlan(optimizer="sgd", lr=0.1, batch_size=40_000, steps=5)
    train_population([nn.Sequential(nn.Flatten(), nn.Linear(16, 3))], data, plan, [torch.Generator()])
    assert drawn == [(2, 1, 40_000), (2, 1, 40_000), (1, 1, 40_000)]
