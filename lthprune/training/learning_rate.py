"""Schedules of the learning rate: factors of the plan's rate, as functions of the step.

Steps count from 1; ``steps`` is the number of steps in all.
"""

import math
from collections.abc import Sequence

_DIVISOR, _FINAL_DIVISOR = 25.0, 1e4  # of the one-cycle policy: peak / start, and start / end
_RISE = 0.45  # the share of all steps in which it rises, and in which it falls back


def warmed_up(step: int, warmup: int) -> float:
    """Return the factor of a linear warm-up over the first steps (Goyal et al., 2017, section 2.2).

    As in Frankle & Carbin (2019), section 4, the rate rises from 0: step 1 has the first part of it, step ``warmup``
    all of it.

    Examples:
        >>> [warmed_up(step, 4) for step in (1, 2, 4, 5)]
        [0.25, 0.5, 1.0, 1.0]
    """
    return min(1.0, step / warmup) if warmup else 1.0


def at_milestones(step: int, milestones: Sequence[int], gamma: float) -> float:
    """Return the factor of a rate that is multiplied by ``gamma`` after each milestone.

    Examples:
        >>> [at_milestones(step, (10, 20), 0.5) for step in (10, 11, 21)]
        [1.0, 0.5, 0.25]
    """
    return gamma ** sum(step > milestone for milestone in milestones)


def cosine(step: int, warmup: int, steps: int) -> float:
    """Return the factor of cosine annealing to 0 (Loshchilov & Hutter, 2017, equation 5, with a single cycle).

    The cycle begins after the warm-up. The last step is one before the end of the cycle, where the rate would be 0.

    Examples:
        >>> [round(cosine(step, 0, 4), 3) for step in (1, 2, 3, 4)]
        [1.0, 0.854, 0.5, 0.146]
    """
    made = max(0, step - 1 - warmup)
    return (1 + math.cos(math.pi * made / (steps - warmup))) / 2


def one_cycle(step: int, steps: int) -> float:
    """Return the factor of the one-cycle policy (Smith & Topin, 2018, section 3).

    The rate rises linearly from 1/25 of its peak in 45 % of the steps, falls back in as many, and then falls to a
    ten-thousandth of where it started. This is ``OneCycleLR`` of torch with ``three_phase=True``,
    ``anneal_strategy="linear"`` and ``pct_start=0.45``. Momentum stays as it is.

    Examples:
        >>> [round(one_cycle(step, 100), 3) for step in (1, 23, 45, 89, 100)]
        [0.04, 0.52, 1.0, 0.04, 0.0]
    """
    made, start = step - 1, 1 / _DIVISOR
    peak, back, end = _RISE * steps - 1, 2 * _RISE * steps - 2, steps - 1
    if made <= peak:
        return start + (1 - start) * made / peak
    if made <= back:
        return 1 + (start - 1) * (made - peak) / (back - peak)
    return start + (start / _FINAL_DIVISOR - start) * (made - back) / (end - back)
