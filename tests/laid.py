"""Inputs laid out as the kernels read them, and the teams that read them."""

import numpy as np

from lthprune.kernels import LANES, Inputs, Team, count_differences, find_differences, new_gate

ALONE = Team(0, 1, new_gate())


def teams(members: int) -> list[Team]:
    """The members of a team."""
    gate = new_gate()
    return [Team(member, members, gate) for member in range(members)]


def laid(dense: np.ndarray, background: np.ndarray | None = None) -> Inputs:
    """Inputs stored by their differences from a background, or densely with panels if there is none."""
    if background is None:
        panels = np.zeros((-(-len(dense) // LANES), dense.shape[1], LANES), dense.dtype)
        for sample, row in enumerate(dense):
            panels[sample // LANES, :, sample % LANES] = row
        nothing = np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, dense.dtype)
        return Inputs(dense, False, np.zeros(dense.shape[1], dense.dtype), *nothing, panels)
    starts = count_differences(dense, background)
    differences = find_differences(dense, background, starts)
    return Inputs(dense, True, background, starts, *differences, np.empty((0, dense.shape[1], LANES), dense.dtype))


def mostly(background: np.ndarray, samples: int, random: np.random.Generator, share: float = 0.3) -> np.ndarray:
    """Samples that differ from a background in this share of their features."""
    other = random.normal(size=(samples, len(background)))
    return np.where(random.random(other.shape) < share, other, background).astype(background.dtype)
