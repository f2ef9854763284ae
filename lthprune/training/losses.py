"""Losses and accuracies over one or several tasks, with autograd and without.

The loss is the sum over tasks of the mean cross-entropy, the accuracy the mean over tasks of the fraction of samples
classified correctly. A task's outputs are the logits of its classes; a single output is the logit of class 1 against
class 0 (binary cross-entropy).

Label smoothing (Szegedy et al., 2016, section 7) replaces the label of a sample, 1 for its class, by 1 - s for its
class plus s / k for each of the k classes of its task. A single output has two classes: its labels become s / 2 and
1 - s / 2.
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
    """The loss in nats, the accuracy in [0, 1], and the accuracy of each task if there are several."""

    loss: float
    acc: float
    task_acc: tuple[float, ...]

    @classmethod
    def of(cls, loss: float, task_acc: Sequence[float]) -> "LossAndAccuracy":
        """Return a loss with the accuracies of all tasks and their mean."""
        several = len(task_acc) > 1
        return cls(loss, sum(task_acc) / len(task_acc), tuple(task_acc) if several else ())


def cross_entropy(
    outputs: Tensor, labels: Tensor, tasks: Sequence[Task], reduction: str = "mean", smoothing: float = 0.0
) -> Tensor:
    """Return the cross-entropy in nats, summed over tasks, and averaged or summed over samples.

    Args:
        outputs: logits of all tasks, (n, outputs).
        labels: classes, (n,), or (n, tasks) for several tasks.
        tasks: the tasks, which name their outputs.
        reduction: ``"mean"`` or ``"sum"`` over the samples.
        smoothing: the part of every label that is shared out among the classes of its task.

    Examples:
        >>> from lthprune.data import DataSpec, tasks_of
        >>> two = tasks_of(DataSpec(name="moons+circles", validation=500))
        >>> cross_entropy(torch.zeros(5, 2), torch.ones(5, 2, dtype=torch.long), two)  # 2 ln 2
        tensor(1.3863)
    """
    return reduce(add, (_cross_entropy(*head, reduction, smoothing) for head in _heads(outputs, labels, tasks)))


def count_right(outputs: Tensor, labels: Tensor, tasks: Sequence[Task]) -> Tensor:
    """Return the number of correct samples of every task, (tasks,); arguments are those of ``cross_entropy``."""
    return torch.stack([(_predictions(own, 1) == wanted).sum() for own, wanted in _heads(outputs, labels, tasks)])


class Heads:
    """Losses, gradients and accuracies of all trials of a population, without autograd.

    Outputs are (trials, outputs, n), labels (trials, tasks, n), or (tasks, n) if all trials share the samples.
    Neighbouring tasks with the same number of outputs are computed together. ``smoothing`` is that of the labels in
    ``differentiate``.
    """

    def __init__(self, tasks: Sequence[Task], smoothing: float = 0.0) -> None:
        self._smoothing = smoothing
        groups = groupby(enumerate(tasks), key=lambda numbered: len(numbered[1].outputs))
        self._blocks = [_Block.of(size, list(numbered)) for size, numbered in groups]

    def differentiate(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-likelihoods, (trials, tasks, n), and the gradient of the loss by the outputs."""
        likelihoods, gradients, smoothing = [], [], self._smoothing
        for logits, wanted in self._split(outputs, labels):
            if logits.shape[2] == 1:
                likelihoods.append(_binary_log_likelihoods(logits, wanted))
                gradients.append(logits.sigmoid().sub_(wanted))
                if smoothing:
                    likelihoods[-1] -= smoothing * (wanted - 0.5) * logits
                    gradients[-1] += smoothing * (wanted - 0.5)
            else:
                logs = logits.log_softmax(dim=2)
                likelihoods.append(logs.gather(2, wanted))
                if smoothing:
                    likelihoods[-1] += smoothing * (logs.mean(dim=2, keepdim=True) - likelihoods[-1])
                gradients.append(logs.exp_().scatter_add_(2, wanted, logs.new_full(wanted.shape, smoothing - 1)))
                if smoothing:
                    gradients[-1] -= smoothing / logits.shape[2]
        return _joined(likelihoods), _joined(gradients).div_(outputs.shape[2])

    def evaluate(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-likelihoods, summed over samples and tasks, (trials,), and correct samples, (trials, tasks)."""
        likelihood, right = outputs.new_zeros(len(outputs)), []
        for logits, wanted in self._split(outputs, labels):
            each = (
                _binary_log_likelihoods(logits, wanted)
                if logits.shape[2] == 1
                else logits.log_softmax(dim=2).gather(2, wanted)
            )
            likelihood += each.sum(dim=(1, 2, 3))
            right.append((_predictions(logits, 2) == wanted[:, :, 0]).sum(dim=2))
        return likelihood, torch.cat(right, dim=1)

    def _split(self, outputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each block's logits, (trials, tasks, outputs of each, n), and labels, (trials, tasks, 1, n)."""
        trials, _, samples = outputs.shape
        labels = labels.unsqueeze(-2).expand(trials, -1, -1, -1)
        for block in self._blocks:
            whole = len(self._blocks) == 1  # the usual case, without slices: steps of small networks are fast
            logits = outputs if whole else outputs[:, block.outputs]
            yield logits.view(trials, -1, block.size, samples), labels if whole else labels[:, block.tasks]


class _Block(NamedTuple):
    """Neighbouring tasks with the same number of outputs: their tasks, all their outputs, and the outputs of each."""

    tasks: slice
    outputs: slice
    size: int

    @classmethod
    def of(cls, size: int, numbered: Sequence[tuple[int, Task]]) -> "_Block":
        (first, low), (last, high) = numbered[0], numbered[-1]
        return cls(slice(first, last + 1), slice(low.outputs.start, high.outputs.stop), size)


def _heads(outputs: Tensor, labels: Tensor, tasks: Sequence[Task]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the outputs, (n, outputs of the task), and labels, (n,), of each task."""
    if len(tasks) == 1:
        yield outputs, labels
        return
    for task, own in zip(tasks, labels.unbind(dim=1), strict=True):
        yield outputs[:, task.outputs.start : task.outputs.stop], own


def _cross_entropy(outputs: Tensor, labels: Tensor, reduction: str, smoothing: float) -> Tensor:
    if outputs.shape[1] == 1:
        targets = labels.to(outputs.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs[:, 0], targets, reduction=reduction)
    return F.cross_entropy(outputs, labels, reduction=reduction, label_smoothing=smoothing)


def _binary_log_likelihoods(logits: Tensor, labels: Tensor) -> Tensor:
    return F.logsigmoid(logits * (2 * labels - 1))


def _predictions(logits: Tensor, dim: int) -> Tensor:
    """Return the predicted classes of logits along an axis."""
    if logits.shape[dim] == 1:
        return (logits > 0).squeeze(dim)
    return logits.max(dim=dim).indices  # much faster than argmax along an axis that is not the last


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Return blocks (trials, tasks, outputs of each, n) as one tensor, (trials, all outputs, n)."""
    flat = [part.flatten(1, 2) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
