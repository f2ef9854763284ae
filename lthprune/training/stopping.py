"""Early stopping, in both senses: the best step of a finished training, and the decision to stop."""

from collections.abc import Sequence

import numpy as np


def early_stopping_index(val_loss: Sequence[float] | np.ndarray) -> int:
    """Return the index of the evaluation with the minimum validation loss, the first if several are equal.

    This is the early-stopping iteration of Frankle & Carbin (2019), section 2: a number read off a full training.
    Evaluations that are NaN (not made, or diverged) do not count.

    Args:
        val_loss: validation losses of all evaluations, in order.

    Examples:
        >>> early_stopping_index([0.9, 0.4, 0.5, 0.4])
        1
    """
    losses = np.asarray(val_loss, dtype=float)
    return int(np.nanargmin(losses)) if not np.isnan(losses).all() else len(losses) - 1


def should_stop(
    val_loss: Sequence[float], *, patience: int | None, min_delta: float = 0.0, loss_cutoff: float | None = None
) -> bool:
    """Return whether to stop after these evaluations.

    Args:
        val_loss: validation losses so far, in order.
        patience: stop after this many evaluations in a row without a new minimum; None never does.
        min_delta: by how much a loss must be below the minimum to count as a new one.
        loss_cutoff: stop once the last loss is below this value.

    Examples:
        >>> should_stop([0.9, 0.4, 0.5, 0.45], patience=2)
        True
        >>> should_stop([0.9, 0.4, 0.5, 0.39], patience=2)
        False
    """
    if loss_cutoff is not None and val_loss[-1] < loss_cutoff:
        return True
    if patience is None:
        return False
    best, since = float("inf"), 0
    for loss in val_loss:
        if loss < best - min_delta:
            best, since = loss, 0
        else:
            since += 1
    return since >= patience
