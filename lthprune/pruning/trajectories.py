"""Trajectories: the relation of weights, levels, rate and target, and larger networks that prune to the same sizes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lthprune.arguments import whole_number
from lthprune.errors import PruningError
from lthprune.pruning.schedules import Geometric, Pool, check_rate, counts_per_level

MOST_LEVELS = 10_000  # of a search


@dataclass(frozen=True)
class Trajectory:
    """A geometric pruning schedule: ``weights * (1 - rate)**levels`` is ``target``, up to rounding.

    Attributes:
        weights: the number of weights at level 0.
        levels: the number of pruning rounds.
        rate: the fraction of the remaining weights that every level prunes, in [0, 1).
        target: the number of weights that the last level leaves.
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
        """Return the trajectory with three given values; the fourth follows from them.

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
            raise PruningError("weights, levels, rate and target are all given. Leave one out: three determine it.")
        if levels is not None and rate is not None:
            if target is not None:
                return cls(round(target / (1 - rate) ** levels), levels, rate, target)
            if weights is not None:
                return cls(weights, levels, rate, _left(weights, rate, levels))
        if weights is not None and target is not None:
            if not 0 < target <= weights:
                raise PruningError(
                    f"target = {target:,}: this must be at least 1 and at most all of the {weights:,} weights."
                )
            if levels is not None:
                return cls(weights, levels, _rate(weights, levels, target), target)
            if rate is not None:
                return cls(weights, _levels(weights, rate, target), rate, target)
        missing = ", ".join(name for name, value in given.items() if value is None)
        raise PruningError(f"a trajectory takes three of weights, levels, rate and target; missing: {missing}.")

    def extended(self, times: int = 1) -> "Trajectory":
        """Return the trajectory that begins ``times`` levels earlier, with more weights, and then follows this one.

        Its ``weights`` are ``weights / (1 - rate)**times``, rounded: a number of weights, not the size of a network. A
        network of the sizes that [`extend`][lthprune.pruning.extend] returns has a few more or fewer weights, because
        its layers have whole numbers of neurons; [`count_parameters`][lthprune.pruning.count_parameters] counts them.

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
    """Return the layer sizes of a larger perceptron that ``times`` levels at ``rate`` prune to this one's weights.

    Only the hidden layers grow; all have one size h. With m hidden layers, h solves
    (m - 1) h^2 + (inputs + outputs) h = weights / (1 - rate)^times, which counts the weights of the larger network,
    and is rounded. If biases are pruned, they count, too: m h + outputs is added on the left.

    Args:
        sizes: the sizes of the inputs, the hidden layers and the outputs, as in (4, 8, 8, 2).
        rate: the fraction of the remaining weights that every level prunes, in [0, 1).
        times: how many levels earlier the larger network begins.
        bias: whether biases are pruned, too.

    Raises:
        PruningError: there is no hidden layer, the hidden layers differ in size, or the rate is not a fraction.

    Examples:
        >>> [extend((4, 8, 8, 2), rate=0.32, times=times)[1] for times in range(8)]
        [8, 10, 13, 16, 20, 25, 31, 38]
    """
    inputs, *hidden, outputs = (whole_number("a layer's size", size) for size in sizes) if len(sizes) > 2 else (0, 0)
    if len(set(hidden)) != 1 or 0 in (inputs, outputs, *hidden):
        raise PruningError(
            f"sizes = {tuple(sizes)}: this must list inputs, one or more hidden layers of the same size, and outputs, "
            "as in (4, 8, 8, 2)."
        )
    _check_one_rate(rate)
    wanted = count_parameters(sizes, bias=bias) / (1 - rate) ** whole_number("times", times)
    square, linear = len(hidden) - 1, inputs + outputs + (len(hidden) if bias else 0)
    constant = (outputs if bias else 0) - wanted
    size = -constant / linear if square == 0 else (math.sqrt(linear**2 - 4 * square * constant) - linear) / (2 * square)
    return (inputs, *[round(size)] * len(hidden), outputs)


def shared_counts(
    sizes: Sequence[int], *, hidden: int, rate: float, target: int, bias: bool = False
) -> tuple[int, ...]:
    """Return how many weights an extended perceptron keeps at levels 1, 2, ..., equal in all of its family.

    The family are the extensions of the network with ``hidden`` units in every hidden layer; see
    [`extend`][lthprune.pruning.extend]. Their layers have whole numbers of neurons, so that pruning by one rate leaves
    each of them with slightly different numbers of weights. With these counts, every network first has exactly as many
    weights as the next smaller ones of the family have before any pruning. From the smallest network on, the rate
    decides.

    Args:
        sizes: of the network that is pruned, one of the family.
        hidden: the size of the hidden layers of the smallest network.
        rate: the fraction of the remaining weights that a level prunes.
        target: the last level is the first with at most so many weights.
        bias: whether biases are pruned, too.

    Raises:
        PruningError: the network is not one of the family, or the rate is so small that two of the family are equal.

    Examples:
        >>> shared_counts((4, 20, 20, 2), hidden=8, rate=0.32, target=60)
        (352, 247, 160, 112, 76, 52)
        >>> shared_counts((4, 10, 10, 2), hidden=8, rate=0.32, target=60)
        (112, 76, 52)
    """
    inputs, *own, outputs = sizes
    smallest = (inputs, *[hidden] * len(own), outputs)
    family = [extend(smallest, rate=rate, times=0, bias=bias)]
    while family[-1][1] < max(own, default=0):
        family.append(extend(smallest, rate=rate, times=len(family), bias=bias))
        if family[-1] == family[-2]:
            raise PruningError(
                f"rate = {rate}: this is too small to extend a network with {family[-1][1]} hidden units by one unit. "
                "Choose a larger rate, or extend a larger network."
            )
    if family[-1] != tuple(sizes):
        listed = ", ".join(str(each[1]) for each in family)
        raise PruningError(
            f"sizes = {tuple(sizes)}: the extensions of {smallest} at a rate of {rate} have other hidden layers: "
            f"{listed}. Choose one of these sizes."
        )
    counts = [count_parameters(each, bias=bias) for each in reversed(family)]
    below = Trajectory.through(weights=counts[-1], rate=rate, target=min(target, counts[-1])).levels
    counts += [_left(counts[-1], rate, level) for level in range(1, below + 1)]
    last = next(place for place, count in enumerate(counts) if count <= target)
    return tuple(counts[1 : last + 1])


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
            f"rate = {dict(rate)!r}: a trajectory needs one rate for all weights, a number as in rate=0.2."
        )
    check_rate(rate)


def _rate(weights: int, levels: int, target: int) -> float:
    if levels == 0 and target < weights:
        raise PruningError(
            f"levels = 0 prunes nothing, so {weights:,} weights do not become {target:,}. Give at least one level."
        )
    return 1 - (target / weights) ** (1 / levels) if levels else 0.0


def _levels(weights: int, rate: float, target: int) -> int:
    if rate == 0 and target < weights:
        raise PruningError(f"a rate of 0 never prunes {weights:,} weights to {target:,}. Give a rate above 0.")
    levels = math.floor(math.log((target + 1) / weights) / math.log1p(-rate)) if target + 1 < weights and rate else 0
    if levels > MOST_LEVELS:
        raise PruningError(
            f"rate = {rate}: this needs more than {MOST_LEVELS:,} levels to prune {weights:,} weights to {target:,}. "
            "Choose a larger rate."
        )
    while _left(weights, rate, levels) > target:  # rounding decides
        levels += 1
    return levels


def _left(weights: int, rate: float, levels: int) -> int:
    return counts_per_level(Geometric(rate), [Pool(("weights",), ("dense",), weights, weights)], levels)[-1][0]
