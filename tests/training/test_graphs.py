"""What a CPU can show of the way that GPUs take: a step that is rehearsed, taken back, and fed through tensors."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from lthprune.training import train
from lthprune.training.batches import Batches
from lthprune.training.engine import Engine
from lthprune.training.graphs import recorded
from lthprune.training.lowering import lower
from lthprune.training.perceptrons import Perceptrons
from lthprune.training.unhooked import Unhooked
from tests.nets import Architecture
from tests.training.test_population import DATA, OPTIMIZERS, agree, orders, plan

ENGINES: dict[str, tuple[str, Callable[..., Engine]]] = {
    "stacked": (
        "dense",
        lambda models, plan: Perceptrons(models, lower(models), DATA, plan, [False] * 3, captured=True),
    ),
    "sparse": ("dense", lambda models, plan: Perceptrons(models, lower(models), DATA, plan, [True] * 3, captured=True)),
    "unhooked": ("normalised", lambda models, plan: Unhooked(models, DATA, plan, captured=True)),
}


def test_a_rehearsal_leaves_everything_as_it_was_and_the_step_does_what_it_did() -> None:
    number, calls = torch.tensor([1.0, 2.0]), []

    def double() -> None:
        calls.append(1)
        number.mul_(2)

    step = recorded(double, [number])
    assert number.tolist() == [1, 2]
    assert len(calls) > 0
    step()
    assert number.tolist() == [2, 4]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("name", ENGINES)
def test_a_captured_engine_trains_as_the_plain_loop_does(name: str, optimizer: dict[str, object]) -> None:
    form, make = ENGINES[name]
    chosen = plan(lr_milestones=(4, 8), **optimizer)
    models: list[nn.Module] = [Architecture(form, dtype=torch.float64).build(seed) for seed in range(3)]
    twins = copy.deepcopy(models)
    engine, batches = make(models, chosen), Batches(len(DATA.x_train), 8, orders(3))
    losses = []
    for step in range(1, 13):
        engine.step(next(batches), chosen.lr_at(step))
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
        train(twin, DATA, chosen.model_copy(update={"steps": made, "evaluate_every": 6}), order)
        for twin, made, order in zip(twins, steps, orders(3), strict=True)
    ]
    agree(models, twins, expected, expected)
    assert rest == pytest.approx([expected[trial].history["train_loss"][1] for trial in (0, 2)], rel=1e-6)
    assert losses == pytest.approx([training.history["train_loss"][0] for training in expected], rel=1e-6)
