"""Early stopping, in both its senses: a step read off a finished training, and a reason to stop."""

from collections.abc import Sequence

import numpy as np


def early_stopping_index(val_loss: Sequence[float] | np.ndarray) -> int:
    """Return the evaluation of minimum validation loss, the first of equals.

    This is the paper's early-stopping iteration (Frankle & Carbin 2019, section 2): a number read off a full
    training. Evaluations that are NaN, not made or diverged, do not count.

    Examples:
        >>> early_stopping_index([0.9, 0.4, 0.5, 0.4])
        1
    """
    losses = np.asarray(val_loss, dtype=float)
    return int(np.nanargmin(losses)) if not np.isnan(losses).all() else len(losses) - 1


def should_stop(
    val_loss: Sequence[float], *, patience: int | None, min_delta: float = 0.0, loss_cutoff: float | None = None
) -> bool:
    """Say whether to stop after these evaluations.

    Stops after ``patience`` evaluations in a row that are not lower than the best before by more than
    ``min_delta``, or as soon as one is below ``loss_cutoff``.

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
