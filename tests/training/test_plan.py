import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from lthprune.training.plan import TrainingPlan

LEAST: dict[str, object] = {"optimizer": "adam", "lr": 0.1, "batch_size": 4, "steps": 10}


def plan(**words: object) -> TrainingPlan:
    return TrainingPlan.model_validate(LEAST | words)


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_network_is_evaluated_at_every_multiple_and_at_the_last_step(steps: int, every: int) -> None:
    expected = [step for step in range(1, steps + 1) if step % every == 0 or step == steps]
    assert list(plan(steps=steps, evaluate_every=every).evaluation_steps) == expected


@given(st.lists(st.integers(0, 30), max_size=4), st.integers(1, 40))
def test_the_learning_rate_falls_after_each_milestone(milestones: list[int], step: int) -> None:
    rate = 0.1
    for milestone in milestones:
        if step > milestone:
            rate *= 0.5
    assert plan(lr_milestones=milestones, lr_gamma=0.5).lr_at(step) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ({"optimizer": "sgd", "momentum": 0.9}, torch.optim.SGD),
        ({"optimizer": "adam"}, torch.optim.Adam),
        ({"optimizer": "adamw"}, torch.optim.AdamW),
    ],
)
def test_the_optimiser_is_the_one_that_was_asked_for(words: dict[str, object], kind: type) -> None:
    model = nn.Linear(2, 1)
    optimizer = plan(weight_decay=0.3, **words).make_optimizer(model.parameters())
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.3)
    assert group.get("momentum", 0.9) == 0.9
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in model.parameters()]


@pytest.mark.parametrize(
    "words",
    [
        {"optimizer": "lion"},
        {"lr": 0},
        {"lr": -0.1},
        {"lr": float("inf")},
        {"lr": float("nan")},
        {"momentum": 0.9},
        {"optimizer": "sgd", "momentum": 1},
        {"optimizer": "sgd", "momentum": -0.1},
        {"optimizer": "sgd", "nesterov": True},
        {"label_smoothing": 1},
        {"label_smoothing": -0.1},
        {"weight_decay": -1},
        {"l1": -1e-4},
        {"l1": float("inf")},
        {"l1": float("nan")},
        {"batch_size": 0},
        {"steps": 0},
        {"evaluate_every": 0},
        {"lr_gamma": 0},
        {"patience": 0},
        {"min_delta": -1},
        {"loss_cutoff": 0},
        {"stepz": 3},
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(words: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="1 validation error"):
        plan(**words)
