"""Optimiser steps equal torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.kernels import optimisers
from lthprune.kernels.optimisers import optimise
from tests.strategies import seeds

RULES = {"sgd": optimisers.SGD, "nesterov": optimisers.NESTEROV, "adam": optimisers.ADAM, "adamw": optimisers.ADAMW}
TORCHS = {"sgd": torch.optim.SGD, "nesterov": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("number", [np.float32, np.float64])
@given(
    seed=seeds,
    size=st.sampled_from([0, 1, 5, 40]),
    momentum=st.sampled_from([0.0, 0.9]),
    decay=st.sampled_from([0.0, 0.1]),
    steps=st.integers(1, 6),
    made=st.integers(0, 6),
)
def test_steps_equal_torchs_also_when_they_continue_a_training(
    name: str, number: type, seed: int, size: int, momentum: float, decay: float, steps: int, made: int
) -> None:
    random = np.random.default_rng(seed)
    start = random.normal(size=size).astype(number)
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    settings: dict[str, object] = {"momentum": momentum} if name in ("sgd", "nesterov") else {}
    if name == "nesterov" and momentum:  # torch has none without momentum, which is plain SGD
        settings["nesterov"] = True
    optimizer = TORCHS[name]([parameter], lr=0.01, weight_decay=decay, foreach=False, **settings)
    values, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step in range(1, made + steps + 1):
        if step == made + 1:  # as a resumed training: other memory, and the number of steps made before
            values, first, second = values.copy(), first.copy(), second.copy()
        gradients, rate = random.normal(size=size).astype(number), float(random.uniform(0.001, 0.1))
        kept = gradients.copy()
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.from_numpy(gradients.copy())
        optimizer.step()
        optimise(RULES[name], values, gradients, first, second, rate, momentum, decay, step)
        assert np.array_equal(gradients, kept)
    tolerance = 1e-5 if number == np.float32 else 1e-12
    np.testing.assert_allclose(values, parameter.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_late_step_of_adam_equals_torchs(name: str) -> None:
    start, moments = np.linspace(-1, 1, 9), (np.linspace(-0.1, 0.2, 9), np.linspace(0.001, 0.3, 9))
    parameter, gradients = torch.nn.Parameter(torch.from_numpy(start.copy())), np.linspace(1, -2, 9)
    optimizer = TORCHS[name]([parameter], lr=0.01, weight_decay=0.1)
    first, second = (torch.from_numpy(moment.copy()) for moment in moments)
    optimizer.state[parameter] = {"step": torch.tensor(49_999.0), "exp_avg": first, "exp_avg_sq": second}
    parameter.grad = torch.from_numpy(gradients.copy())
    optimizer.step()
    optimise(RULES[name], start, gradients, *moments, 0.01, 0.0, 0.1, 50_000)
    np.testing.assert_allclose(start, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)
    for moment, wanted in zip(moments, (first, second), strict=True):
        np.testing.assert_allclose(moment, wanted.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", RULES)
def test_a_weight_without_gradient_moment_or_value_stays_zero(name: str) -> None:
    values, first, second = np.zeros(20, np.float32), np.zeros(20, np.float32), np.zeros(20, np.float32)
    for step in (1, 2, 3):
        optimise(RULES[name], values, np.zeros(20, np.float32), first, second, 0.1, 0.9, 0.1, step)
    assert not values.any()


@pytest.mark.parametrize("name", RULES)
def test_a_gradient_of_nan_shows_in_its_value_alone(name: str) -> None:
    values, gradients = np.ones(20, np.float32), np.ones(20, np.float32)
    gradients[3] = np.nan
    optimise(RULES[name], values, gradients, np.zeros_like(values), np.zeros_like(values), 0.1, 0.9, 0.0, 1)
    assert np.isnan(values[3])
    assert np.isfinite(np.delete(values, 3)).all()
