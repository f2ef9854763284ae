"""Schedules of the learning rate equal torch's, and rewinding restarts them where it should."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lthprune.experiments.execution import run_recipe
from lthprune.training.plan import TrainingPlan
from tests.tiny import tiny


def plan(**words: object) -> TrainingPlan:
    least: dict[str, object] = {"optimizer": "sgd", "lr": 0.3, "batch_size": 4, "steps": 40}
    return TrainingPlan.model_validate(least | words)


def by_torch(steps: int, make: Any) -> list[float]:
    """The learning rates that a scheduler of torch sets for so many steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler, rates = make(optimizer), []
    for step in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step + 1 < steps:  # OneCycleLR counts its own
            scheduler.step()
    return rates


def rates(of: TrainingPlan) -> list[float]:
    return [of.lr_at(step) for step in range(1, of.steps + 1)]


@given(st.integers(1, 60))
def test_a_cosine_equals_torchs(steps: int) -> None:
    expected = by_torch(steps, lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, steps))
    assert rates(plan(steps=steps, lr_schedule="cosine")) == pytest.approx(expected, abs=1e-9)


@given(st.integers(2, 60))
def test_one_cycle_equals_torchs(steps: int) -> None:
    words = {"three_phase": True, "anneal_strategy": "linear", "pct_start": 0.45, "cycle_momentum": False}
    expected = by_torch(steps, lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.3, steps, **words))
    assert rates(plan(steps=steps, lr_schedule="onecycle")) == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("ignore:The epoch parameter in")  # of torch 2.6, in its own SequentialLR
@given(steps=st.integers(3, 60), warmup=st.integers(2, 59), schedule=st.sampled_from(["constant", "cosine"]))
def test_a_warm_up_rises_linearly_and_the_schedule_follows(steps: int, warmup: int, schedule: str) -> None:
    warmup = min(warmup, steps - 1)

    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        rise = lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1)
        then: lr_scheduler.LRScheduler = lr_scheduler.ConstantLR(optimizer, 1.0)
        if schedule == "cosine":
            then = lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup)
        return lr_scheduler.SequentialLR(optimizer, [rise, then], [warmup])

    assert rates(plan(steps=steps, lr_schedule=schedule, warmup=warmup)) == pytest.approx(
        by_torch(steps, make), abs=1e-9
    )


def test_milestones_count_from_the_first_step_also_after_a_warm_up() -> None:
    found = rates(plan(steps=8, warmup=2, lr_milestones=(4, 6), lr_gamma=0.5))
    assert found == pytest.approx([0.15, 0.3, 0.3, 0.3, 0.15, 0.15, 0.075, 0.075])


@contextmanager
def rates_of_steps() -> Iterator[list[float]]:
    """Note the learning rate of every step of every optimiser."""
    seen: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append(optimizer.param_groups[0]["lr"])

    handle = register_optimizer_step_pre_hook(note)
    yield seen
    handle.remove()


@pytest.mark.parametrize(
    "schedule",
    [
        ["train.lr_schedule=constant", "train.warmup=4"],
        ["train.lr_milestones=[2, 4]"],
        ["train.lr_schedule=cosine", "train.warmup=2"],
        ["train.lr_schedule=onecycle"],
    ],
    ids=lambda settings: settings[0],
)
@pytest.mark.parametrize(("rewind", "start"), [("init", 0), ("3", 3), ("lr", 0), ("none", None)])
def test_every_schedule_continues_where_training_is_rewound_to(
    rewind: str, start: int | None, schedule: list[str], tmp_path: Any
) -> None:
    recipe = tiny("run.trials=1", "prune.levels=2", "train.engine=reference", f"prune.rewind={rewind}", *schedule)
    with rates_of_steps() as seen:
        run_recipe(recipe, "tiny", out=tmp_path)
    whole = rates(recipe.train)
    later = [whole[-1]] * len(whole) if start is None else whole[start:]
    assert seen == [*whole, *later, *later]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"lr_schedule": "cosine", "lr_milestones": [3]}, "lr_milestones belong to"),
        ({"lr_schedule": "constant", "lr_milestones": [3]}, 'and this is "constant"'),
        ({"lr_schedule": "onecycle", "warmup": 3}, "leave out warmup"),
        ({"warmup": 40}, "warmup = 40 is not before the end, steps = 40"),
        ({"warmup": -1}, "greater than or equal to 0"),
        ({"lr_schedule": "cosin"}, "'cosine'"),
    ],
)
def test_a_schedule_that_contradicts_itself_is_refused(words: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan(**words)
