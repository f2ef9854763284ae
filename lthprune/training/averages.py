"""Means and ranges over the trials of a run, of which some may lack a value."""

from typing import NamedTuple

import numpy as np


class OverTrials(NamedTuple):
    """Mean, minimum and maximum over the trials that have a value."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def over_trials(values: np.ndarray) -> OverTrials:
    """Return mean, minimum and maximum over the first axis, without entries that are NaN; NaN where all are.

    Args:
        values: (trials, ...).

    Examples:
        >>> over_trials(np.array([[0.5, np.nan], [0.25, np.nan], [np.nan, np.nan]])).mean.tolist()
        [0.375, nan]
    """
    there = ~np.isnan(values)
    none = ~there.any(axis=0)
    low, high = np.where(there, values, np.inf).min(axis=0), np.where(there, values, -np.inf).max(axis=0)
    total = np.where(there, values, 0).sum(axis=0) / np.maximum(1, there.sum(axis=0))
    return OverTrials(*(np.where(none, np.nan, each) for each in (total, low, high)))
