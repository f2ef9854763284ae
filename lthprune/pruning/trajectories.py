"""Trajectories: how weights, levels, rate and target hang together, and networks of other sizes on the same one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lthprune.arguments import whole_number
from lthprune.errors import PruningError
from lthprune.pruning.schedules import Geometric, Pool, check_rate, plan_counts


@dataclass(frozen=True)
class Trajectory:
    """A geometric descent: ``weights * (1 - rate)**levels`` is ``target``, up to rounding.

    Attributes:
        weights: how many there are at level 0.
        levels: how many pruning rounds.
        rate: the fraction of the remaining weights that every level prunes, in [0, 1).
        target: how many weights are left at the last level.
    """

    weights: int
    levels: int
    rate: float
    target: int

    @classmethod
    def through(
        cls,
        *,
        weights: int | None = None,
        levels: int | None = None,
        rate: float | None = None,
        target: int | None = None,
    ) -> "Trajectory":
        """Return the trajectory that three of the four decide.

        Weights and target are rounded to the nearest whole number; levels are the fewest that reach the target.

        Raises:
            PruningError: not exactly three are given, or no trajectory goes through them.

        Examples:
            >>> Trajectory.through(weights=266_200, levels=20, rate=0.2).target
            3069
            >>> round(Trajectory.through(weights=270_000, levels=20, target=600).rate, 3)
            0.263
            >>> Trajectory.through(weights=112, rate=0.32, target=12).levels
            6
            >>> Trajectory.through(levels=1, rate=0.32, target=112).weights
            165
        """
        given = {"weights": weights, "levels": levels, "rate": rate, "target": target}
        for name in ("weights", "levels", "target"):
            if given[name] is not None:
                whole_number(name, given[name])
        if rate is not None:
            _check_one_rate(rate)
        if None not in given.values():
            raise PruningError("weights, levels, rate and target are all given: three of them decide the fourth.")
        if levels is not None and rate is not None:
            if target is not None:
                return cls(round(target / (1 - rate) ** levels), levels, rate, target)
            if weights is not None:
                return cls(weights, levels, rate, _left(weights, rate, levels))
        if weights is not None and target is not None:
            if not 0 < target <= weights:
                raise PruningError(f"target = {target:,}: of {weights:,} weights at least 1 and at most all are left.")
            if levels is not None:
                return cls(weights, levels, _rate(weights, levels, target), target)
            if rate is not None:
                return cls(weights, _levels(weights, rate, target), rate, target)
        missing = ", ".join(name for name, value in given.items() if value is None)
        raise PruningError(f"three of weights, levels, rate and target decide a trajectory; missing: {missing}.")

    def extended(self, times: int = 1) -> "Trajectory":
        """Return the trajectory that begins so many levels earlier, with more weights, and then follows this one.

        ``weights`` is a number of weights, not the size of a network. A network of the sizes that
        [`extend`][lthprune.pruning.extend] returns has a few more or fewer weights, because its layers have whole
        numbers of neurons; [`count_parameters`][lthprune.pruning.count_parameters] counts them.

        Examples:
            >>> Trajectory(112, 6, 0.32, 11).extended(2)
            Trajectory(weights=242, levels=8, rate=0.32, target=11)
            >>> Trajectory(112, 6, 0.32, 11).extended(7).weights
            1666
            >>> count_parameters(extend((4, 8, 8, 2), rate=0.32, times=7))
            1672
        """
        times = whole_number("times", times)
        return Trajectory(round(self.weights / (1 - self.rate) ** times), self.levels + times, self.rate, self.target)


def extend(sizes: Sequence[int], *, rate: float, times: int = 1, bias: bool = False) -> tuple[int, ...]:
    """Return the sizes of a larger perceptron from which ``times`` levels at ``rate`` lead to this one's size.

    The hidden layers, all of one size h, grow; inputs and outputs stay. With m hidden layers, h solves
    (m - 1) h^2 + (inputs + outputs) h = weights / (1 - rate)^times and is rounded; where biases are pruned, too, they
    count, and m h + outputs is added on the left.

    Args:
        sizes: of the inputs, the hidden layers and the outputs, as in (4, 8, 8, 2).
        rate: the fraction of the remaining weights that every level prunes.
        times: how many levels earlier the larger network begins.
        bias: whether biases are among what is pruned.

    Raises:
        PruningError: there is no hidden layer, or they differ in size.

    Examples:
        >>> [extend((4, 8, 8, 2), rate=0.32, times=times)[1] for times in range(8)]
        [8, 10, 13, 16, 20, 25, 31, 38]
    """
    inputs, *hidden, outputs = (whole_number("a layer's size", size) for size in sizes) if len(sizes) > 2 else (0, 0)
    if len(set(hidden)) != 1 or 0 in (inputs, outputs, *hidden):
        raise PruningError(
            f"sizes = {tuple(sizes)}: to be extended, a perceptron has inputs, hidden layers of one size, and outputs, "
            "as in (4, 8, 8, 2)."
        )
    _check_one_rate(rate)
    wanted = count_parameters(sizes, bias=bias) / (1 - rate) ** whole_number("times", times)
    square, linear = len(hidden) - 1, inputs + outputs + (len(hidden) if bias else 0)
    constant = (outputs if bias else 0) - wanted
    size = -constant / linear if square == 0 else (math.sqrt(linear**2 - 4 * square * constant) - linear) / (2 * square)
    return (inputs, *[round(size)] * len(hidden), outputs)


def count_parameters(sizes: Sequence[int], *, bias: bool = False) -> int:
    """Return the number of weights of a perceptron, and of biases if they count.

    Args:
        sizes: of the inputs, the hidden layers and the outputs, as in (4, 8, 8, 2).
        bias: whether to count biases, too.

    Examples:
        >>> count_parameters((4, 8, 8, 2)), count_parameters((4, 8, 8, 2), bias=True)
        (112, 130)
    """
    pairs = pairwise(sizes)
    return sum(before * after for before, after in pairs) + (sum(sizes[1:]) if bias else 0)


def _check_one_rate(rate: float) -> None:
    if isinstance(rate, Mapping):
        raise PruningError(
            f"rate = {dict(rate)!r}: a trajectory has one rate for all weights, a number as in rate=0.2."
        )
    check_rate(rate)


def _rate(weights: int, levels: int, target: int) -> float:
    if levels == 0 and target < weights:
        raise PruningError(f"no level leads from {weights:,} weights to {target:,}: levels = 0.")
    return 1 - (target / weights) ** (1 / levels) if levels else 0.0


def _levels(weights: int, rate: float, target: int) -> int:
    if rate == 0 and target < weights:
        raise PruningError(f"a rate of 0 never leads from {weights:,} weights to {target:,}.")
    levels = math.floor(math.log((target + 1) / weights) / math.log(1 - rate)) if target + 1 < weights and rate else 0
    while _left(weights, rate, levels) > target:  # rounding decides
        levels += 1
    return levels


def _left(weights: int, rate: float, levels: int) -> int:
    return plan_counts(Geometric(rate), [Pool(("weights",), ("dense",), weights, weights)], levels)[-1][0]
