"""Schedules: how many weights are left at every level, as exact whole numbers.

Counts are worked out in decimal arithmetic, so that 20 % is 20 % and not the float beside it, and a
schedule gives the same counts on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_DOWN, Decimal, localcontext
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import NamedTuple

from lthprune.errors import PruningError, suggestion
from lthprune.pruning.kinds import ALL_KINDS, Kind

Rate = float | Mapping[str, float]


@dataclass(frozen=True)
class Geometric:
    """Every level prunes the fraction ``rate`` of what the level before left (the paper's p).

    Level k leaves ``(1 - p)^k`` of the weights, rounded to the nearest whole number (a half is pruned):
    rounding errors do not add up over the levels. ``rate`` may also map layer kinds and name patterns to
    rates of their own, as in ``{"dense": 0.2, "output": 0.1}``; a layer's or tensor's name beats its kind.
    """

    rate: Rate


@dataclass(frozen=True)
class Target:
    """The last level leaves ``target``: a density as a float, a number of weights as an int.

    Level k of n leaves ``N * (target / N)^(k / n)`` weights: every level prunes the same fraction of what
    remains.
    """

    target: float | int


@dataclass(frozen=True)
class Explicit:
    """Level k leaves ``left[k - 1]``: a density of the whole as a float, a number of weights as an int."""

    left: Sequence[float | int]


Schedule = Geometric | Target | Explicit


class Pool(NamedTuple):
    """Tensors that compete with one another: how many weights they have left, of how many, and have to keep."""

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    left: int
    total: int
    minimum: int = 0


def counts_per_level(schedule: Schedule, pools: Sequence[Pool], levels: int) -> list[tuple[int, ...]]:
    """Return how many weights each pool keeps at every level; row 0 is the state before pruning.

    Totals that a schedule names (``Target``, ``Explicit``) are met exactly: what a level prunes is
    shared among the pools in proportion to what they have left, by the largest remainders.

    Examples:
        >>> counts_per_level(Geometric(0.2), [Pool(("w",), ("dense",), 100, 100)], 3)
        [(100,), (80,), (64,), (51,)]
        >>> counts_per_level(Target(600), [Pool(("w",), ("dense",), 266_200, 266_200)], 20)[-1]
        (600,)

    Raises:
        PruningError: a rate outside [0, 1), a target above what is left, an explicit list that grows, is of
            another length than ``levels`` or names densities outside [0, 1].
    """
    if levels < 0:
        raise PruningError(f"levels = {levels}: the number of pruning rounds cannot be negative.")
    start = tuple(pool.left for pool in pools)
    if isinstance(schedule, Geometric):
        check_rate_names(schedule.rate, pools)
        rates = [rate_of(pool, schedule.rate) for pool in pools]
        return [
            tuple(_shrunk(left, rate, level) for left, rate in zip(start, rates, strict=True))
            for level in range(levels + 1)
        ]
    totals = _totals(schedule, sum(start), sum(pool.total for pool in pools), levels)
    plan = [start]
    for total in totals:
        plan.append(_share_out(plan[-1], total))
    return plan


def check_rate(rate: Rate) -> None:
    """Raise a PruningError unless every rate is a fraction in [0, 1)."""
    named = rate.items() if isinstance(rate, Mapping) else [("rate", rate)]
    for name, value in named:
        if not _is_real(value) or not 0 <= value < 1:
            raise PruningError(
                f"{name} = {value!r}: a rate is the fraction of the remaining weights that a level prunes, "
                "at least 0 and less than 1."
            )


def left_after(amount: float | int, left: int) -> int:
    """Return how many of ``left`` weights stay when ``amount`` of them, a fraction or a number, are pruned.

    Examples:
        >>> left_after(0.5, 5), left_after(3, 5)
        (2, 2)
    """
    if isinstance(amount, Integral) and not isinstance(amount, bool):
        if not 0 <= amount <= left:
            raise PruningError(f"cannot prune {amount:,} weights: {left:,} are left.")
        return left - int(amount)
    if not _is_real(amount) or not 0 <= amount <= 1:
        raise PruningError(f"amount = {amount!r}: a fraction to prune lies in [0, 1]; a number of weights is an int.")
    return _shrunk(left, amount, 1)


def rate_of(pool: Pool, rate: Rate) -> float:
    """Return the rate of a pool: of the names its tensors have, else of their kinds."""
    check_rate(rate)
    if not isinstance(rate, Mapping):
        return rate
    found = {match for name, kind in zip(pool.names, pool.kinds, strict=True) if (match := _match(name, kind, rate))}
    unmatched = [name for name, kind in zip(pool.names, pool.kinds, strict=True) if not _match(name, kind, rate)]
    if unmatched:
        raise PruningError(
            f"no rate for {', '.join(unmatched)}: the rates name {', '.join(rate)}. Add its kind "
            f"({', '.join(sorted(set(pool.kinds)))}) or its name."
        )
    values = {rate[match] for match in found}
    if len(values) > 1:
        raise PruningError(
            f"{', '.join(pool.names)} compete with one another but have different rates ({', '.join(sorted(found))}). "
            "Rates per layer go with scope='layerwise'."
        )
    return values.pop()


def _match(name: str, kind: Kind, rates: Mapping[str, float]) -> str | None:
    """Return the key that names a tensor's rate: its own or its layer's name or a pattern for it, else its kind."""
    layer = name.rpartition(".")[0]
    patterns = [key for key in rates if key != kind and (fnmatchcase(name, key) or fnmatchcase(layer, key))]
    if len({rates[key] for key in patterns}) > 1:
        raise PruningError(f"{name!r} has two rates: {', '.join(patterns)} all match it. Make the patterns exclusive.")
    if patterns:
        return patterns[0]
    return kind if kind in rates else None


def check_rate_names(rate: Rate, pools: Sequence[Pool]) -> None:
    """Raise a PruningError if a key of a rate mapping is no kind of layer and matches no tensor."""
    if not isinstance(rate, Mapping):
        return
    named = [(name, kind) for pool in pools for name, kind in zip(pool.names, pool.kinds, strict=True)]
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in named))  # in the model's order
    for key in rate:
        if key not in ALL_KINDS and not any(fnmatchcase(word, key) for word in (*layers, *(name for name, _ in named))):
            raise PruningError(
                f"the rate for {key!r} matches no kind and no prunable layer"
                f"{suggestion(key, (*layers, *ALL_KINDS))} Layers: {', '.join(layers)}."
            )


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)  # True is 1 to Python, and a slip to a reader


def _shrunk(left: int, rate: float, level: int) -> int:
    """Return left * (1 - rate)**level, rounded to the nearest whole number, a half downwards."""
    with localcontext(prec=50):
        exact = left * (1 - Decimal(repr(float(rate)))) ** level
        return int(exact.quantize(Decimal(1), ROUND_HALF_DOWN))


def _totals(schedule: Target | Explicit, left: int, total: int, levels: int) -> list[int]:
    """Return the number of weights left in all pools together at levels 1, 2, ..."""
    if isinstance(schedule, Target):
        target = _weights(schedule.target, total)
        if not 0 < target <= left:
            raise PruningError(
                f"target = {schedule.target}: {target:,} weights, but it has to be at least 1 and at most the "
                f"{left:,} that are left."
            )
        with localcontext(prec=50):
            ratio = Decimal(target) / Decimal(left)
            exact = [left * ratio ** (Decimal(level) / levels) for level in range(1, levels)]
            return [int(value.quantize(Decimal(1), ROUND_HALF_DOWN)) for value in exact] + [target] * (levels > 0)
    totals = [_weights(value, total) for value in schedule.left]
    if len(totals) != levels:
        raise PruningError(f"{len(totals)} densities are listed for {levels} levels; list one for each pruning round.")
    for above, below in zip([left, *totals], totals, strict=False):
        if below > above:
            raise PruningError(f"the listed densities grow from {above:,} to {below:,} weights; masks only shrink.")
    return totals


def _weights(value: float | int, total: int) -> int:
    """Return a number of weights: an int as it is, a float as a density of the total."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        if value < 0:
            raise PruningError(f"{value} weights: a number of weights cannot be negative.")
        return int(value)
    if not _is_real(value):
        raise PruningError(f"{value!r} is neither a density (a float in [0, 1]) nor a number of weights (an int).")
    if not 0 <= value <= 1:
        raise PruningError(
            f"{value}: a density is a fraction in [0, 1]. A number of weights is written without a point: {value:.0f}."
        )
    return int((total * Decimal(repr(float(value)))).quantize(Decimal(1), ROUND_HALF_DOWN))


def _share_out(before: tuple[int, ...], total: int) -> tuple[int, ...]:
    """Shrink the counts to a total, each in proportion, by the largest remainders; none ever grows."""
    have = sum(before)
    pruned = have - total
    quotas = [divmod(count * pruned, have) if have else (0, 0) for count in before]
    shares = [whole for whole, _ in quotas]
    by_remainder = sorted(range(len(before)), key=lambda index: (-quotas[index][1], index))
    for index in by_remainder[: pruned - sum(shares)]:
        shares[index] += 1
    return tuple(count - share for count, share in zip(before, shares, strict=True))
