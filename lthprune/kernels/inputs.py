"""Inputs as the kernels read them: by sample in memory, by feature in a panel of 64 samples.

Inputs are stored sparsely where most of them equal their feature's background, as four fifths of MNIST's pixels do:
then a sample is its differences from the background.
"""

from typing import Any, NamedTuple

import numpy as np

from lthprune.kernels.compiling import compiled
from lthprune.kernels.lanes import LANES
from lthprune.kernels.teams import share


class Inputs(NamedTuple):
    """The inputs of one split of a data set.

    If ``sparse``, the differences of sample i from the background are ``numbers[starts[i]:starts[i + 1]]``, in the
    features ``columns``. If not, splits that are evaluated are laid out in ``panels``. Arrays without use are empty.
    """

    dense: np.ndarray  # (samples, features)
    sparse: bool
    background: np.ndarray  # (features,)
    starts: np.ndarray  # (samples + 1,)
    columns: np.ndarray
    numbers: np.ndarray
    panels: np.ndarray  # (panels, features, 64)


class Columns(NamedTuple):
    """The differences from the background of a panel's samples, by feature: which sample, and how much."""

    starts: np.ndarray  # (features + 1,)
    samples: np.ndarray
    numbers: np.ndarray


@compiled
def count_differences(dense: Any, background: Any) -> Any:
    """Return where each sample's differences from the background start, and their number at the end, (samples + 1,)."""
    starts = np.zeros(len(dense) + 1, np.int64)
    for sample in range(len(dense)):
        found = 0
        for feature in range(dense.shape[1]):
            found += dense[sample, feature] != background[feature]
        starts[sample + 1] = starts[sample] + found
    return starts


@compiled
def find_differences(dense: Any, background: Any, starts: Any) -> Any:
    """Return the features of all differences from the background, and the differences."""
    columns, numbers = np.empty(starts[-1], np.int32), np.empty(starts[-1], dense.dtype)
    at = 0
    for sample in range(len(dense)):
        for feature in range(dense.shape[1]):
            if dense[sample, feature] != background[feature]:
                columns[at], numbers[at] = feature, dense[sample, feature] - background[feature]
                at += 1
    return columns, numbers


@compiled
def read_panel(inputs: Inputs, samples: Any, features: Any, x: Any, team: Any) -> None:
    """Write a member's share of some features of up to 64 samples into x, (features of the data, 64).

    Sparse inputs expect the background in all of x; ``clear_panel`` brings it back.
    """
    if inputs.sparse:
        begin, end = share(team, LANES, 1)  # lanes, so that whoever wrote one clears it
        for place in range(begin, min(end, len(samples))):
            for at in range(inputs.starts[samples[place]], inputs.starts[samples[place] + 1]):
                x[inputs.columns[at], place] += inputs.numbers[at]
        return
    begin, end = share(team, len(features), 16)
    for first in range(begin, end, 16):
        last = min(first + 16, end)
        for place in range(len(samples)):
            sample = inputs.dense[samples[place]]
            for at in range(first, last):
                x[features[at], place] = sample[features[at]]


@compiled
def clear_panel(inputs: Inputs, samples: Any, x: Any, team: Any) -> None:
    """Write the background where ``read_panel`` wrote these samples."""
    if inputs.sparse:
        begin, end = share(team, LANES, 1)  # lanes, so that whoever wrote one clears it
        for place in range(begin, min(end, len(samples))):
            for at in range(inputs.starts[samples[place]], inputs.starts[samples[place] + 1]):
                x[inputs.columns[at], place] = inputs.background[inputs.columns[at]]


@compiled
def read_rows(inputs: Inputs, samples: Any, rows: Any, team: Any) -> None:
    """Write a member's share of up to 64 samples into rows, (64, features); the other rows become 0."""
    begin, end = share(team, len(samples), 1)
    for place in range(begin, end):
        sample = inputs.dense[samples[place]]
        for feature in range(len(sample)):
            rows[place, feature] = sample[feature]
    if end == len(samples):
        for place in range(end, len(rows)):  # they may hold another trial's NaN
            for feature in range(rows.shape[1]):
                rows[place, feature] = 0


@compiled
def by_column(inputs: Inputs, samples: Any) -> Columns:
    """Return the differences of up to 64 samples by feature."""
    starts = np.zeros(len(inputs.background) + 1, np.int64)
    for place in range(len(samples)):
        for at in range(inputs.starts[samples[place]], inputs.starts[samples[place] + 1]):
            starts[inputs.columns[at] + 1] += 1
    for feature in range(len(inputs.background)):
        starts[feature + 1] += starts[feature]
    found, numbers, free = np.empty(starts[-1], np.int32), np.empty(starts[-1], inputs.numbers.dtype), starts.copy()
    for place in range(len(samples)):
        for at in range(inputs.starts[samples[place]], inputs.starts[samples[place] + 1]):
            feature = inputs.columns[at]
            found[free[feature]], numbers[free[feature]] = place, inputs.numbers[at]
            free[feature] += 1
    return Columns(starts, found, numbers)
