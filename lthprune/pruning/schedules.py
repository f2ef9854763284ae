"""Schedules: how many weights remain at each level, as exact whole numbers.

Counts are computed in decimal arithmetic: 20 % is exactly 0.2, not the nearest binary float, and a schedule gives the
same counts on every machine.
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
    """Each level prunes the fraction ``rate`` of the remaining weights, p % per round in Frankle & Carbin (2019).

    Level k leaves ``(1 - rate)^k`` of the weights, rounded to the nearest whole number (a half is rounded down), so
    rounding errors do not accumulate. ``rate`` may also map layer kinds and name patterns to rates, as in
    ``{"dense": 0.2, "output": 0.1}``. A pattern that matches a layer or tensor takes precedence over its kind.

    Examples:
        >>> counts_per_level(Geometric(0.2), [Pool(("fc.weight",), ("dense",), 1000, 1000)], 3)
        [(1000,), (800,), (640,), (512,)]
    """

    rate: Rate


@dataclass(frozen=True)
class Target:
    """The last level leaves ``target`` weights: a density as a float in [0, 1], a number of weights as an int.

    Level k of n leaves ``N * (target / N)^(k / n)`` of N weights: every level prunes the same fraction of the
    remaining weights.

    Examples:
        >>> counts_per_level(Target(0.125), [Pool(("fc.weight",), ("dense",), 1000, 1000)], 3)
        [(1000,), (500,), (250,), (125,)]
    """

    target: float | int


@dataclass(frozen=True)
class Explicit:
    """Level k leaves ``left[k - 1]`` weights: a density as a float in [0, 1], a number of weights as an int.

    Examples:
        >>> counts_per_level(Explicit([0.5, 300]), [Pool(("fc.weight",), ("dense",), 1000, 1000)], 2)
        [(1000,), (500,), (300,)]
    """

    left: Sequence[float | int]


Schedule = Geometric | Target | Explicit


class Pool(NamedTuple):
    """Tensors whose weights compete: how many weights remain, of how many in total, and how many must be kept."""

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    left: int
    total: int
    minimum: int = 0


def counts_per_level(schedule: Schedule, pools: Sequence[Pool], levels: int) -> list[tuple[int, ...]]:
    """Return how many weights each pool keeps at each level; row 0 holds the counts before pruning.

    ``Target`` and ``Explicit`` fix the total of each level, which is met exactly: each pool loses weights in
    proportion to its remaining weights, rounded by the largest-remainder method.

    Args:
        schedule: what each level leaves.
        pools: the groups of tensors whose weights compete.
        levels: how many pruning rounds.

    Returns:
        ``levels + 1`` rows with one count for each pool.

    Examples:
        >>> counts_per_level(Geometric(0.2), [Pool(("w",), ("dense",), 100, 100)], 3)
        [(100,), (80,), (64,), (51,)]
        >>> counts_per_level(Target(600), [Pool(("w",), ("dense",), 266_200, 266_200)], 20)[-1]
        (600,)

    Raises:
        PruningError: a rate is outside [0, 1), a target exceeds the remaining weights, or an explicit list grows,
            does not have ``levels`` values or has a density outside [0, 1].
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
    rows = [start]
    for total in totals:
        rows.append(_share_out(rows[-1], total))
    return rows


def check_rate(rate: Rate) -> None:
    """Raise a PruningError unless there is a rate, and every rate is a fraction in [0, 1)."""
    if isinstance(rate, Mapping) and not rate:
        raise PruningError(
            f"rate = {dict(rate)}: this names no layer. Give one rate for all weights, as in 0.2, or a rate for each "
            "kind or name of a layer, as in {'dense': 0.2, 'output': 0.1}."
        )
    named = rate.items() if isinstance(rate, Mapping) else [("rate", rate)]
    for name, value in named:
        if not _is_real(value) or not 0 <= value < 1:
            raise PruningError(
                f"{name} = {value!r}: a rate is the fraction of the remaining weights that a level prunes, "
                "at least 0 and less than 1."
            )


def left_after(amount: float | int, left: int) -> int:
    """Return how many of ``left`` weights remain once ``amount`` of them, a fraction or a number, are pruned.

    Examples:
        >>> left_after(0.5, 5), left_after(3, 5)
        (2, 2)
    """
    if isinstance(amount, Integral) and not isinstance(amount, bool):
        if not 0 <= amount <= left:
            raise PruningError(f"cannot prune {amount:,} weights: {left:,} remain.")
        return left - int(amount)
    if not _is_real(amount) or not 0 <= amount <= 1:
        raise PruningError(
            f"amount = {amount!r}: a fraction to prune is a float in [0, 1], a number of weights an int."
        )
    return _shrunk(left, amount, 1)


def rate_of(pool: Pool, rate: Rate) -> float:
    """Return the rate of a pool, found by the names of its tensors, then by their kinds."""
    check_rate(rate)
    if not isinstance(rate, Mapping):
        return rate
    found = {match for name, kind in zip(pool.names, pool.kinds, strict=True) if (match := _match(name, kind, rate))}
    unmatched = [name for name, kind in zip(pool.names, pool.kinds, strict=True) if not _match(name, kind, rate)]
    if unmatched:
        raise PruningError(
            f"no rate for {', '.join(unmatched)}: there are rates for {', '.join(rate)} only. Add a rate for its kind "
            f"({', '.join(sorted(set(pool.kinds)))}) or its name."
        )
    values = {rate[match] for match in found}
    if len(values) > 1:
        raise PruningError(
            f"{', '.join(pool.names)} compete with one another but have different rates ({', '.join(sorted(found))}). "
            "Rates per layer need scope='layerwise'."
        )
    return values.pop()


def _match(name: str, kind: Kind, rates: Mapping[str, float]) -> str | None:
    """Return the key of a tensor's rate: a pattern that matches the name of the tensor or its layer, else its kind."""
    layer = name.rpartition(".")[0]
    patterns = [key for key in rates if key != kind and (fnmatchcase(name, key) or fnmatchcase(layer, key))]
    if len({rates[key] for key in patterns}) > 1:
        raise PruningError(f"{name!r} has two rates: {', '.join(patterns)} all match it. Make the patterns exclusive.")
    if patterns:
        return patterns[0]
    return kind if kind in rates else None


def check_rate_names(rate: Rate, pools: Sequence[Pool]) -> None:
    """Raise a PruningError if a key of a rate mapping is neither a kind of layer nor matches a tensor."""
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
    return isinstance(value, Real) and not isinstance(value, bool)  # True equals 1 in Python, but is a mistake here


def _shrunk(left: int, rate: float, level: int) -> int:
    """Return left * (1 - rate)**level, rounded to the nearest whole number, a half down."""
    with localcontext(prec=50):
        exact = left * (1 - Decimal(repr(float(rate)))) ** level
        return int(exact.quantize(Decimal(1), ROUND_HALF_DOWN))


def _totals(schedule: Target | Explicit, left: int, total: int, levels: int) -> list[int]:
    """Return the number of weights that all pools together keep at levels 1, 2, ..."""
    if isinstance(schedule, Target):
        target = _weights(schedule.target, total)
        if not 0 < target <= left:
            raise PruningError(
                f"target = {schedule.target}: this is {target:,} weights, and must be at least 1 and at most the "
                f"{left:,} that remain."
            )
        with localcontext(prec=50):
            ratio = Decimal(target) / Decimal(left)
            exact = [left * ratio ** (Decimal(level) / levels) for level in range(1, levels)]
            return [int(value.quantize(Decimal(1), ROUND_HALF_DOWN)) for value in exact] + [target] * (levels > 0)
    totals = [_weights(value, total) for value in schedule.left]
    if len(totals) != levels:
        raise PruningError(
            f"the schedule lists {_counted(len(totals), 'value')} for {_counted(levels, 'level')}: list one density or "
            "number of weights for each pruning round."
        )
    for above, below in zip([left, *totals], totals, strict=False):
        if below > above:
            raise PruningError(
                f"the schedule grows from {above:,} to {below:,} weights, but masks only shrink. List falling values."
            )
    return totals


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
            f"{value}: a density is a fraction in [0, 1]. Write a number of weights as an int, without a point: "
            f"{value:.0f}."
        )
    return int((total * Decimal(repr(float(value)))).quantize(Decimal(1), ROUND_HALF_DOWN))


def _share_out(before: tuple[int, ...], total: int) -> tuple[int, ...]:
    """Shrink counts to a total, each in proportion, by the largest-remainder method; no count grows."""
    have = sum(before)
    pruned = have - total
    quotas = [divmod(count * pruned, have) if have else (0, 0) for count in before]
    shares = [whole for whole, _ in quotas]
    by_remainder = sorted(range(len(before)), key=lambda index: (-quotas[index][1], index))
    for index in by_remainder[: pruned - sum(shares)]:
        shares[index] += 1
    return tuple(count - share for count, share in zip(before, shares, strict=True))
