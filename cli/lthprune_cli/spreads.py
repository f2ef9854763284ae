"""Means with their ranges, as tables show them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def mean_and_range(values: "np.ndarray") -> str:
    """Return the mean of some values with two decimals; of several, with minimum and maximum in brackets."""
    mean = f"{values.mean():.2f}"
    return mean if len(values) == 1 else f"{mean} ({values.min():.2f}-{values.max():.2f})"
