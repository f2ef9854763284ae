"""Figures of stored sweeps over moons and circles: which networks separate, each seed with its mean over the sizes."""

from collections.abc import Container
from typing import Any

import numpy as np

from lthprune.experiments.comparison import paired_difference
from results.measures import Figure, Measure, Result

Cell = dict[str, Any]
"""What became of the networks of a cell, as ``record_sweeps`` stores it."""

WEIGHTS = 112  # of the smallest network: separated by then counts
FAMILY = range(8, 128)  # sizes of the hidden layers


def share_separated(hidden: Container[int]) -> Measure:
    """Return the share of networks of these sizes that are separated at 112 weights or before, with zero biases."""

    def measure(result: Result) -> Figure:
        return _figure(_separated(_cells(result, "zeros", hidden)))

    return measure


def more_with_uniform_biases(result: Result) -> Figure:
    """Return the share that separates with uniform biases less the share with zero biases, over the same sizes."""
    uniform = _cells(result, "uniform", FAMILY)
    zeros = _cells(result, "zeros", [cell["settings"]["model.hidden"] for cell in uniform])
    return _figure(_separated(uniform) - _separated(zeros))


def more_at_low_rates(levels: int) -> Measure:
    """Return the share that separates in so many levels or more, less the share in fewer levels, with zero biases."""

    def measure(result: Result) -> Figure:
        cells = [cell for cell in result.stored["cells"] if cell["settings"]["model.bias_init"] == "zeros"]
        many, few = (
            [cell for cell in cells if (cell["settings"]["prune.levels"] >= levels) == side] for side in (True, False)
        )
        return _figure(_separated(many) - _separated(few))

    return measure


def more_active(hidden: int) -> Measure:
    """Return how many more weights are active at separation with so many hidden units or more than with fewer.

    Networks have zero biases, and separate at any number of weights; seeds without such networks are left out.
    """

    def measure(result: Result) -> Figure:
        sides = [_cells(result, "zeros", sizes) for sizes in (range(hidden, FAMILY.stop), range(hidden))]
        larger, smaller = (
            np.ma.masked_invalid(np.array([cell["active"] for cell in side], dtype=float)).mean(axis=0)
            for side in sides
        )
        difference = np.ma.filled(larger - smaller, np.nan)
        return Figure(paired_difference(difference[~np.isnan(difference)]), "separation")

    return measure


def _cells(result: Result, bias: str, hidden: Container[int]) -> list[Cell]:
    return [
        cell
        for cell in result.stored["cells"]
        if cell["settings"]["model.bias_init"] == bias and cell["settings"]["model.hidden"] in hidden
    ]


def _separated(cells: list[Cell]) -> np.ndarray:
    """Return, for each seed, the share of the cells in which its network is separated by 112 weights."""
    shares: np.ndarray = np.mean([[(at or 0) >= WEIGHTS for at in cell["separated_at"]] for cell in cells], axis=0)
    return shares


def _figure(over_seeds: np.ndarray) -> Figure:
    return Figure(paired_difference(over_seeds), f"{WEIGHTS} weights")
