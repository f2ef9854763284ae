"""The stability of a network: from which step of its training on copies of it end in one basin of the error."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lthprune.analysis.interpolation import LinearPath

STABLE = 0.02
"""A mean barrier below this is stable: 2 points of error (Frankle et al. 2020, section 2)."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two copies of a network, trained from the same weights by different orders of the samples.

    Attributes:
        trial: the trial whose network was copied.
        copies: the numbers of the two copies.
        path: the networks on the line between them.
        distance: the L2 distance between the copies, over all parameters.
        angle: in degrees, between the ways of the two from their common weights; NaN if they did not move.
    """

    trial: int
    copies: tuple[int, int]
    path: LinearPath
    distance: float
    angle: float


@dataclass(frozen=True, eq=False)
class Stability:
    """The stability of the networks of one level, dense or tickets, over the steps at which they were copied.

    Attributes:
        level: 0 for the dense network.
        density: of the level, in [0, 1].
        steps: the steps of the dense training at which copies were made, in ascending order.
        pairs: for each of these steps, the pairs of copies of all trials.
    """

    level: int
    density: float
    steps: tuple[int, ...]
    pairs: tuple[tuple[Pair, ...], ...]

    def barriers(self, data: str = "test") -> np.ndarray:
        """Return the error barriers on ``"train"`` or ``"test"`` data, (steps, pairs), as fractions."""
        return np.array([[pair.path.barrier(data) for pair in pairs] for pairs in self.pairs])

    def mean_barriers(self, data: str = "test") -> np.ndarray:
        """Return the instability at each step, (steps,): the mean barrier over all trials and pairs."""
        return np.asarray(self.barriers(data).mean(axis=1))

    def distances(self) -> np.ndarray:
        """Return the distances between the copies, (steps, pairs)."""
        return np.array([[pair.distance for pair in pairs] for pairs in self.pairs])

    def angles(self) -> np.ndarray:
        """Return the angles between the ways of the copies, in degrees, (steps, pairs)."""
        return np.array([[pair.angle for pair in pairs] for pairs in self.pairs])

    def only(self, steps: Collection[int]) -> "Stability":
        """Return the stability at those of the measured steps that are among these."""
        kept = [place for place, step in enumerate(self.steps) if step in steps]
        own, pairs = tuple(self.steps[place] for place in kept), tuple(self.pairs[place] for place in kept)
        return replace(self, steps=own, pairs=pairs)

    def moving_steps(self) -> tuple[int, ...]:
        """Return the measured steps from which copies moved: their angles are not all NaN."""
        return tuple(step for step, own in zip(self.steps, self.angles(), strict=True) if not np.isnan(own).all())

    def earliest_stable(self, data: str = "test") -> int | None:
        """Return the first measured step from which on the network is stable; None if there is none.

        Steps from which no copy moved, such as the last one of the training, do not count: their copies are identical,
        so their barriers are 0 for any network.
        """
        steps, barriers = self.moving_steps(), dict(zip(self.steps, self.mean_barriers(data), strict=True))
        return earliest_stable(steps, [barriers[step] for step in steps])


def earliest_stable(steps: Sequence[int], barriers: Sequence[float] | np.ndarray) -> int | None:
    """Return the first step from which on all barriers are below ``STABLE``; None if the last one is not.

    Args:
        steps: in ascending order, before the last step of the training, at which every barrier is 0.
        barriers: the mean barrier at each step, as a fraction.

    Examples:
        >>> earliest_stable([0, 100, 500, 1000], [0.3, 0.01, 0.05, 0.019])
        1000
    """
    stable = None
    for step, barrier in zip(reversed(steps), reversed(list(barriers)), strict=True):
        if not barrier < STABLE:
            break
        stable = step
    return stable
