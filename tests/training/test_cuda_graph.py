"""A step that is recorded once and replayed, as on GPUs: where there is none, that it is rehearsed and taken back."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from lthprune.data.dataset import Task
from lthprune.training.batches import Batches
from lthprune.training.cuda_graph import recorded
from lthprune.training.engine import Engine
from lthprune.training.loop import train
from lthprune.training.lowering import lower
from lthprune.training.stacked import Stacked
from lthprune.training.unhooked import Unhooked
from tests.nets import Architecture
from tests.tiny import noise, several
from tests.training.test_population import OPTIMIZERS, agree, orders, plan
from tests.twins import doubled

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
ENGINES: dict[str, tuple[str, Callable[..., Engine]]] = {
    "stacked": (
        "dense",
        lambda models, data, plan: Stacked(models, lower(models), data, plan, captured=True),
    ),
    "unhooked": ("normalised", lambda models, data, plan: Unhooked(models, data, plan, captured=True)),
}
CASES = [(name, device) for name in ENGINES for device in DEVICES]


@pytest.mark.parametrize("device", DEVICES)
def test_a_rehearsal_leaves_everything_as_it_was_and_the_step_does_what_it_did(device: str) -> None:
    number, calls = torch.tensor([1.0, 2.0], device=device), []

    def double() -> None:
        calls.append(1)
        number.mul_(2)

    step = recorded(double, [number])
    assert number.tolist() == [1, 2]
    assert len(calls) > 0
    step()
    assert number.tolist() == [2, 4]


@pytest.mark.parametrize("tasks", [(), several([1, 2])], ids=["one task", "two tasks"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize(("name", "device"), CASES)
def test_a_captured_engine_trains_as_the_plain_loop_does(
    name: str, device: str, optimizer: dict[str, object], tasks: tuple[Task, ...]
) -> None:
    (form, make), data = ENGINES[name], doubled(noise(sizes=(40, 70, 150), tasks=tasks)).to(torch.device(device))
    chosen = plan(lr_milestones=(4, 8), **optimizer)
    models: list[nn.Module] = [Architecture(form, dtype=torch.float64).build(seed).to(device) for seed in range(3)]
    twins = copy.deepcopy(models)
    engine, batches = make(models, data, chosen), Batches(len(data.x_train), 8, orders(3), data.x_train.device)
    losses = []
    for step in range(1, 13):
        engine.train(next(batches)[None], [chosen.lr_at(step)])
        if step == 6:
            losses = [measured.train_loss for measured in engine.measure()]
            engine.lift(1)
            engine.keep([0, 2])
            batches.keep([0, 2])
    for place in range(2):
        engine.lift(place)
    rest = [measured.train_loss for measured in engine.measure()]
    steps = [12, 6, 12]
    expected = [
        train(twin, data, chosen.model_copy(update={"steps": made, "evaluate_every": 6}), order)
        for twin, made, order in zip(twins, steps, orders(3), strict=True)
    ]
    agree(models, twins, expected, expected)
    assert rest == pytest.approx([expected[trial].history["train_loss"][1] for trial in (0, 2)], rel=1e-6)
    assert losses == pytest.approx([training.history["train_loss"][0] for training in expected], rel=1e-6)
