"""Losses, gradients and correct answers of a panel against torch's, by autograd."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.data import Task
from lthprune.kernels.lanes import LANES
from lthprune.kernels.losses import cross_entropy
from lthprune.training import losses
from tests.strategies import seeds

SIZES = st.lists(st.sampled_from([1, 1, 2, 3, 10]), min_size=1, max_size=4)
NUMBERS = pytest.mark.parametrize("number", [np.float32, np.float64])


def heads_of(sizes: Sequence[int]) -> np.ndarray:
    """The first output of every task and the one after its last."""
    stops = np.cumsum(sizes)
    return np.stack([stops - sizes, stops], axis=1)


def drawn_labels(random: np.random.Generator, sizes: Sequence[int], samples: int) -> np.ndarray:
    return np.stack([random.integers(max(2, size), size=samples) for size in sizes], axis=1)


def by_torch(
    outputs: np.ndarray, labels: np.ndarray, sizes: Sequence[int], smoothing: float = 0.0
) -> tuple[float, np.ndarray, list[int]]:
    """The sum of losses, its gradient (outputs, samples), and correct samples, in double precision."""
    tasks = [Task("", range(0), range(*head)) for head in heads_of(sizes)]
    logits = torch.from_numpy(outputs[:, : len(labels)].T.copy()).double().requires_grad_()
    wanted = torch.from_numpy(labels)[:, 0] if len(sizes) == 1 else torch.from_numpy(labels)
    loss = losses.cross_entropy(logits, wanted, tasks, "sum", smoothing)
    loss.backward()
    assert logits.grad is not None
    return loss.item(), logits.grad.numpy().T, losses.count_right(logits, wanted, tasks).tolist()


@NUMBERS
@given(
    seed=seeds,
    sizes=SIZES,
    samples=st.sampled_from([1, 2, 7, 63, 64]),
    scale=st.sampled_from([0, 1, 5, 80]),
    rounded=st.booleans(),
    share=st.sampled_from([1.0, 1 / 60]),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_losses_gradients_and_correct_samples_equal_torchs(
    number: type, seed: int, sizes: list[int], samples: int, scale: float, rounded: bool, share: float, smoothing: float
) -> None:
    random = np.random.default_rng(seed)
    outputs = random.uniform(-scale, scale, size=(sum(sizes), LANES)).astype(number)
    if rounded:
        outputs = outputs.round()  # many ties
    labels, chosen = drawn_labels(random, sizes, 100), random.integers(100, size=samples)
    deltas, right = np.full_like(outputs, np.nan), np.full(len(sizes), 5)
    loss = cross_entropy(outputs, labels, chosen, heads_of(sizes), share, deltas, right, smoothing)
    expected, gradient, correct = by_torch(outputs, labels[chosen], sizes, smoothing)
    eps = float(np.finfo(number).eps)
    assert loss == pytest.approx(expected, rel=64 * eps, abs=16 * eps * (1 + scale) * samples)
    np.testing.assert_allclose(deltas[:, :samples], share * gradient, rtol=0, atol=8 * eps * share)
    assert not deltas[:, samples:].any()
    assert (right - 5).tolist() == correct


@NUMBERS
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("logit", [80.0, -80.0, 1000.0, -1000.0])
def test_extreme_logits_lose_no_precision(number: type, size: int, logit: float) -> None:
    outputs = np.zeros((size, LANES), number)
    outputs[-1] = logit
    for label in (0, 1):
        labels, deltas, right = np.full((LANES, 1), label), np.empty_like(outputs), np.zeros(1, np.int64)
        loss = cross_entropy(outputs, labels, np.arange(len(labels)), heads_of([size]), 1.0, deltas, right)
        expected, gradient, correct = by_torch(outputs, labels, [size])
        assert loss == pytest.approx(expected, rel=1e-5, abs=1e-30)
        np.testing.assert_allclose(deltas, gradient, rtol=0, atol=1e-6 if number == np.float32 else 1e-14)
        assert right.tolist() == correct


@NUMBERS
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("output", [0, -1])
def test_nan_shows_in_the_loss_and_in_its_samples_gradient_alone(number: type, size: int, output: int) -> None:
    outputs, labels = np.zeros((size, LANES), number), np.zeros((5, 1), np.int64)
    outputs[output, 2] = np.nan
    deltas, right = np.empty_like(outputs), np.zeros(1, np.int64)
    assert np.isnan(cross_entropy(outputs, labels, np.arange(len(labels)), heads_of([size]), 1.0, deltas, right))
    assert np.isnan(deltas[:, 2]).all()
    assert np.isfinite(np.delete(deltas, 2, axis=1)).all()


@NUMBERS
@pytest.mark.parametrize("size", [1, 3])
def test_lanes_without_samples_do_not_count_whatever_they_hold(number: type, size: int) -> None:
    labels, samples, heads = np.ones((4, 1), np.int64), np.arange(4), heads_of([size])
    clean, dirty = np.ones((size, LANES), number), np.ones((size, LANES), number)
    dirty[:, 4:6], dirty[:, 6:] = np.nan, np.inf
    results = []
    for outputs in (clean, dirty):
        deltas, right = np.empty_like(outputs), np.zeros(1, np.int64)
        loss = cross_entropy(outputs, labels, samples, heads, 1.0, deltas, right)
        results.append((loss, right.tolist(), deltas.tolist()))
    assert results[0] == results[1]
