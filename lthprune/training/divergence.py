"""Divergence: a training whose loss or weights are no longer finite."""

import math

from torch import nn

from lthprune.pruning import all_finite
from lthprune.search import Diverged


def divergence(step: int, lr: float, train_loss: float, *, finite: bool) -> Diverged | None:
    """Return why a training diverged, given what was measured at a step; None if it did not.

    An infinite validation loss alone is no divergence: it may come from a few samples, and training goes on.

    Args:
        step: the number of steps made.
        lr: the learning rate of the last of them.
        train_loss: the mean training loss since the last evaluation.
        finite: whether all weights are finite.

    Examples:
        >>> divergence(300, 3.0, float("nan"), finite=True)
        Diverged(step=300, lr=3.0, reason='the training loss is NaN')
        >>> divergence(300, 0.1, 0.5, finite=True)
    """
    if math.isfinite(train_loss) and finite:
        return None
    if math.isfinite(train_loss):
        return Diverged(step, lr, "weights are NaN or infinite")
    return Diverged(step, lr, f"the training loss is {'NaN' if math.isnan(train_loss) else 'infinite'}")


def has_finite_weights(model: nn.Module) -> bool:
    """Return whether no trained parameter of a model has an entry that is NaN or infinite.

    Examples:
        >>> has_finite_weights(nn.Linear(3, 2))
        True
    """
    return all(all_finite(each) for each in model.parameters() if each.requires_grad)
