"""Cross-entropies of a panel of 64 samples, summed over tasks, with their gradients and the correct answers."""

import math
from typing import Any

import numpy as np

from lthprune.kernels.activations import exponential
from lthprune.kernels.compiling import compiled
from lthprune.kernels.lanes import LANES


@compiled
def cross_entropy(
    outputs: Any,
    labels: Any,
    samples: Any,
    heads: Any,
    share: float,
    deltas: Any,
    right: Any,
    smoothing: float = 0.0,
) -> float:
    """Return the sum of the losses in nats; write gradients and add to the numbers of correct samples.

    Args:
        outputs: logits, (outputs, 64); only as many lanes count as there are samples.
        labels: classes of all samples, (n, tasks).
        samples: which samples these are, up to 64.
        heads: the first output of every task and the one after its last, (tasks, 2). A single output is the logit of
            class 1 against class 0.
        share: what a sample's gradient is multiplied by.
        deltas: receives the gradient by the outputs, (outputs, 64), zero for the other samples.
        right: receives the number of correct samples of every task, (tasks,).
        smoothing: the part of every label that is shared out among all classes of its task.
    """
    number = outputs.dtype.type
    count, loss = len(samples), 0.0
    for task in range(len(heads)):
        first, last = heads[task, 0], heads[task, 1]
        if last - first == 1:
            loss += _binary(outputs[first], labels, samples, share, deltas[first], right, task)
            if smoothing:
                loss += _smooth(outputs[first:last], labels, samples, share, deltas[first:last], task, smoothing)
            continue
        highest, total = np.empty(LANES, outputs.dtype), np.zeros(LANES, outputs.dtype)
        best = np.zeros(LANES, np.int64)
        for lane in range(LANES):
            highest[lane] = outputs[first, lane]
        for output in range(first + 1, last):
            for lane in range(LANES):
                if outputs[output, lane] > highest[lane]:
                    highest[lane], best[lane] = outputs[output, lane], output - first
        for output in range(first, last):
            for lane in range(LANES):
                deltas[output, lane] = exponential(outputs[output, lane] - highest[lane])
                total[lane] += deltas[output, lane]
        for lane in range(count):
            wanted = labels[samples[lane], task]
            loss += math.log(total[lane]) + highest[lane] - outputs[first + wanted, lane]
            right[task] += best[lane] == wanted
        for lane in range(count):
            total[lane] = number(share) / total[lane]
        for output in range(first, last):
            for lane in range(count):
                deltas[output, lane] *= total[lane]
            for lane in range(count, LANES):  # whatever these lanes hold, NaN as well
                deltas[output, lane] = number(0)
        for lane in range(count):
            deltas[first + labels[samples[lane], task], lane] -= number(share)
        if smoothing:
            loss += _smooth(outputs[first:last], labels, samples, share, deltas[first:last], task, smoothing)
    return loss


@compiled
def _smooth(outputs: Any, labels: Any, samples: Any, share: float, deltas: Any, task: int, smoothing: float) -> float:
    """Return what smoothing the labels of a task adds to its losses, and add the same to their gradients."""
    number, classes = outputs.dtype.type, len(outputs)
    loss, moved = 0.0, number(share * smoothing)
    for lane in range(len(samples)):
        wanted = labels[samples[lane], task]
        if classes == 1:
            loss += (wanted - 0.5) * outputs[0, lane]
            deltas[0, lane] += number(wanted - 0.5) * moved
            continue
        mean = 0.0
        for output in range(classes):
            mean += outputs[output, lane] / classes
            deltas[output, lane] -= moved / number(classes)
        loss += outputs[wanted, lane] - mean
        deltas[wanted, lane] += moved
    return smoothing * loss


@compiled
def _binary(outputs: Any, labels: Any, samples: Any, share: float, deltas: Any, right: Any, task: int) -> float:
    """The same for a task with one output, (64,)."""
    number = outputs.dtype.type
    loss = 0.0
    for lane in range(LANES):
        deltas[lane] = exponential(-abs(outputs[lane]))
    for lane in range(len(samples)):
        positive, wanted = outputs[lane] > 0, labels[samples[lane], task]
        loss += math.log1p(deltas[lane]) + (abs(outputs[lane]) if positive != (wanted == 1) else number(0))
        right[task] += positive == (wanted == 1)
    for lane in range(LANES):
        likely = number(1) / (number(1) + deltas[lane])  # the probability of the class that the sign says
        deltas[lane] = likely if outputs[lane] > 0 else number(1) - likely
    for lane in range(len(samples)):
        deltas[lane] = number(share) * (deltas[lane] - number(labels[samples[lane], task]))
    for lane in range(len(samples), LANES):
        deltas[lane] = number(0)
    return loss
