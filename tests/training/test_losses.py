"""The loss over tasks, by autograd and without, is what torch's own losses say of every task alone."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from lthprune.training.losses import Heads, LossAndAccuracy, count_right, cross_entropy
from tests.strategies import seeds
from tests.tiny import several

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def drawn(outputs: list[int], samples: int, seed: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits (n, outputs) and labels (n, tasks), or (n,) of a single task."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(samples, sum(outputs), generator=generator, dtype=torch.float64)
    labels = torch.stack([torch.randint(max(2, size), (samples,), generator=generator) for size in outputs], dim=1)
    return logits, labels[:, 0] if len(outputs) == 1 else labels


def alone(logits: Tensor, labels: Tensor, outputs: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Each task's logits and labels; a binary one's logits with the zero of its other class beside them."""
    columns = labels.view(len(labels), -1).unbind(1)
    pairs = zip(logits.split(outputs, dim=1), columns, strict=True)
    return [(F.pad(own, (1, 0)) if own.shape[1] == 1 else own, wanted) for own, wanted in pairs]


@given(outputs=sizes, samples=st.integers(1, 20), seed=seeds, smoothing=st.sampled_from([0.0, 0.1, 0.9]))
def test_the_loss_is_the_sum_of_the_tasks_cross_entropies_and_the_binary_one_that_of_two_classes(
    outputs: list[int], samples: int, seed: int, smoothing: float
) -> None:
    logits, labels = drawn(outputs, samples, seed)
    parts = alone(logits, labels, outputs)
    for reduction in ("mean", "sum"):
        words: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
        expected = sum(F.cross_entropy(own, wanted, **words) for own, wanted in parts)
        found = cross_entropy(logits, labels, several(outputs), reduction, smoothing)
        torch.testing.assert_close(found, expected)
    right = torch.stack([(own.argmax(dim=1) == wanted).sum() for own, wanted in parts])
    assert torch.equal(count_right(logits, labels, several(outputs)), right)


@given(
    outputs=sizes,
    samples=st.integers(1, 20),
    trials=st.integers(1, 3),
    seed=seeds,
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_a_populations_likelihoods_and_gradients_are_those_of_autograd(
    outputs: list[int], samples: int, trials: int, seed: int, smoothing: float
) -> None:
    tasks = several(outputs)
    each = [drawn(outputs, samples, seed + trial) for trial in range(trials)]
    logits = torch.stack([own.t() for own, _ in each])
    labels = torch.stack([own.view(samples, -1).t() for _, own in each])
    likelihoods, gradient = Heads(tasks, smoothing).differentiate(logits.clone(), labels)
    assert likelihoods.shape == (trials, len(outputs), samples)
    for trial, (own, wanted) in enumerate(each):
        own.requires_grad_()
        loss = cross_entropy(own, wanted, tasks, smoothing=smoothing)
        loss.backward()
        torch.testing.assert_close(gradient[trial], own.grad.t())
        torch.testing.assert_close(-likelihoods[trial].mean(dim=1).sum(), loss.detach())


@given(outputs=sizes, samples=st.integers(1, 20), trials=st.integers(1, 3), seed=seeds)
def test_evaluating_a_population_equals_evaluating_each_trial(
    outputs: list[int], samples: int, trials: int, seed: int
) -> None:
    tasks = several(outputs)
    _, labels = drawn(outputs, samples, seed)
    logits = [drawn(outputs, samples, seed + trial + 1)[0] for trial in range(trials)]
    likelihood, right = Heads(tasks).evaluate(torch.stack([own.t() for own in logits]), labels.view(samples, -1).t())
    for trial, own in enumerate(logits):
        torch.testing.assert_close(-likelihood[trial], cross_entropy(own, labels, tasks, reduction="sum"))
        assert torch.equal(right[trial], count_right(own, labels, tasks))


@pytest.mark.parametrize("outputs", [[1], [1, 1], [3], [1, 3]])
def test_logits_of_any_size_give_finite_losses_and_gradients(outputs: list[int]) -> None:
    logits, labels = drawn(outputs, 8, 0, scale=1e6)
    likelihoods, gradient = Heads(several(outputs)).differentiate(
        logits.t()[None].clone(), labels.view(8, -1).t()[None]
    )
    assert likelihoods.isfinite().all()
    assert gradient.isfinite().all()
    assert cross_entropy(logits, labels, several(outputs)).isfinite()


def test_the_accuracy_over_tasks_is_their_mean_and_a_single_tasks_is_its_own() -> None:
    assert LossAndAccuracy.of(1.5, [1.0, 0.5]) == (1.5, 0.75, (1.0, 0.5))
    assert LossAndAccuracy.of(1.5, [0.5]) == (1.5, 0.5, ())
