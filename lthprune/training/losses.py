"""What a loss over tasks is: the sum of the tasks' mean cross-entropies, with autograd and without.

A task's outputs are the logits of its classes; a single output is the logit of class 1 against class 0, which makes
the cross-entropy binary. The accuracy over tasks is the mean of the fractions that each gets right.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import groupby
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lthprune.data import Task


class LossAndAccuracy(NamedTuple):
    """How well outputs answer labels: the loss (nats), the accuracy, and each task's where there are several."""

    loss: float
    acc: float
    task_acc: tuple[float, ...]

    @classmethod
    def of(cls, loss: float, task_acc: Sequence[float]) -> "LossAndAccuracy":
        """Return the score of a loss and of the fractions that every task gets right."""
        several = len(task_acc) > 1
        return cls(loss, sum(task_acc) / len(task_acc), tuple(task_acc) if several else ())


def cross_entropy(outputs: Tensor, labels: Tensor, tasks: Sequence[Task], reduction: str = "mean") -> Tensor:
    """Return the sum over tasks of the cross-entropy, in nats: its mean over the samples, or their ``"sum"``.

    Args:
        outputs: (n, outputs), of all tasks.
        labels: (n,), or (n, tasks) for several tasks.
        tasks: whose outputs these are.
        reduction: ``"mean"`` or ``"sum"`` over the samples.

    Examples:
        >>> from lthprune.data import DataSpec, tasks_of
        >>> two = tasks_of(DataSpec(name="moons+circles", validation=500))
        >>> cross_entropy(torch.zeros(5, 2), torch.ones(5, 2, dtype=torch.long), two)  # 2 ln 2
        tensor(1.3863)
    """
    return reduce(add, (_cross_entropy(*head, reduction) for head in _heads(outputs, labels, tasks)))


def count_right(outputs: Tensor, labels: Tensor, tasks: Sequence[Task]) -> Tensor:
    """Return how many samples every task gets right, (tasks,); outputs and labels as for ``cross_entropy``."""
    return torch.stack([(_answers(own, 1) == wanted).sum() for own, wanted in _heads(outputs, labels, tasks)])


class Heads:
    """The tasks of a population, without autograd: all trials at once.

    Outputs are (trials, outputs, n), labels (trials, tasks, n), or (tasks, n) where all trials read the same samples.
    Neighbouring tasks that have as many outputs each are taken together.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        groups = groupby(enumerate(tasks), key=lambda numbered: len(numbered[1].outputs))
        self._blocks = [_Block.of(size, list(numbered)) for size, numbered in groups]

    def descend(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-likelihoods, (trials, tasks, n), and the gradient of the loss, shaped like the outputs."""
        likelihoods, gradients = [], []
        for logits, wanted in self._split(outputs, labels):
            if logits.shape[2] == 1:
                likelihoods.append(_binary_log_likelihoods(logits, wanted))
                gradients.append(logits.sigmoid().sub_(wanted))
            else:
                logs = logits.log_softmax(dim=2)
                likelihoods.append(logs.gather(2, wanted))
                gradients.append(logs.exp_().scatter_add_(2, wanted, logs.new_full(wanted.shape, -1)))
        return _joined(likelihoods), _joined(gradients).div_(outputs.shape[2])

    def judge(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return every trial's log-likelihood, summed over samples and tasks, (trials,), and how many are right.

        The latter are (trials, tasks).
        """
        likelihood, right = outputs.new_zeros(len(outputs)), []
        for logits, wanted in self._split(outputs, labels):
            each = (
                _binary_log_likelihoods(logits, wanted)
                if logits.shape[2] == 1
                else logits.log_softmax(dim=2).gather(2, wanted)
            )
            likelihood += each.sum(dim=(1, 2, 3))
            right.append((_answers(logits, 2) == wanted[:, :, 0]).sum(dim=2))
        return likelihood, torch.cat(right, dim=1)

    def _split(self, outputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each block's logits, (trials, tasks, outputs of each, n), and labels, (trials, tasks, 1, n)."""
        trials, _, samples = outputs.shape
        labels = labels.unsqueeze(-2).expand(trials, -1, -1, -1)
        for block in self._blocks:
            whole = len(self._blocks) == 1  # which is not sliced: it is the usual case, and toys make quick steps
            logits = outputs if whole else outputs[:, block.outputs]
            yield logits.view(trials, -1, block.size, samples), labels if whole else labels[:, block.tasks]


class _Block(NamedTuple):
    """Neighbouring tasks of one size: which tasks, which outputs, and how many outputs each has."""

    tasks: slice
    outputs: slice
    size: int

    @classmethod
    def of(cls, size: int, numbered: Sequence[tuple[int, Task]]) -> "_Block":
        (first, low), (last, high) = numbered[0], numbered[-1]
        return cls(slice(first, last + 1), slice(low.outputs.start, high.outputs.stop), size)


def _heads(outputs: Tensor, labels: Tensor, tasks: Sequence[Task]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each task's outputs, (n, its outputs), and labels, (n,)."""
    if len(tasks) == 1:
        yield outputs, labels
        return
    for task, own in zip(tasks, labels.unbind(dim=1), strict=True):
        yield outputs[:, task.outputs.start : task.outputs.stop], own


def _cross_entropy(outputs: Tensor, labels: Tensor, reduction: str) -> Tensor:
    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs.dtype), reduction=reduction)
    return F.cross_entropy(outputs, labels, reduction=reduction)


def _binary_log_likelihoods(logits: Tensor, labels: Tensor) -> Tensor:
    return F.logsigmoid(logits * (2 * labels - 1))


def _answers(logits: Tensor, dim: int) -> Tensor:
    """Return the classes that logits along this axis stand for."""
    if logits.shape[dim] == 1:
        return (logits > 0).squeeze(dim)
    return logits.max(dim=dim).indices  # much faster than argmax along an axis that is not the last


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Return blocks (trials, tasks, outputs of each, n) as one tensor, (trials, all outputs, n)."""
    flat = [part.flatten(1, 2) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
