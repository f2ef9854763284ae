"""Teams: threads that share out the work of one trial, where there are fewer trials than threads.

A member takes a share of every loop, and waits for the others where the next loop reads what they wrote. Shares cut
between sums, never through them, so the bits do not depend on the number of members.

A team can be told to give up: after an error of a member, which would otherwise be waited for, or after Ctrl-C.
"""

import sys
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from lthprune.kernels.compiling import compiled

TOGETHER = 1024  # numbers that no share divides: compiled loops may round the last few of a range differently
_SPINS = 2000  # looks before a waiting thread lets others go first: longer than a wait takes on an idle machine
_give_way = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())
_ARRIVED, _MET, _GIVEN_UP, _NUMBERS = range(4)  # what a gate has, and how many numbers these are


class Team(NamedTuple):
    """A member's place in its team, the number of members, and what they share, see ``new_gate``."""

    member: int
    members: int
    gate: np.ndarray


def new_gate() -> np.ndarray:
    """Return where a team meets, (3,): how many have arrived, how often all have met, and whether to give up."""
    return np.zeros(_NUMBERS, np.int64)


def give_up(gate: np.ndarray) -> None:
    """Tell the members of a team to return; what they have computed is worth nothing then."""
    gate[_GIVEN_UP] = 1


@intrinsic  # type: ignore[untyped-decorator]
def _add(typing: Any, gate: Any, place: Any, number: Any) -> Any:
    """Add to a number that threads share, all at once; return what it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        at, value = (
            context.cast(builder, argument, kind, types.int64)
            for argument, kind in zip(arguments[1:], signature.args[1:], strict=True)
        )
        return builder.atomic_rmw("add", builder.gep(data, [at]), value, "seq_cst")

    return types.int64(gate, place, number), generate


@compiled
def has_given_up(team: Team) -> bool:
    """Return whether the team was told to give up."""
    return bool(_add(team.gate, _GIVEN_UP, 0) != 0)


@compiled
def meet(team: Team) -> None:
    """Wait until all members are here, or the team is told to give up."""
    if team.members == 1:
        return
    before = _add(team.gate, _MET, 0)
    if _add(team.gate, _ARRIVED, 1) == team.members - 1:
        _add(team.gate, _ARRIVED, -team.members)
        _add(team.gate, _MET, 1)
        return
    spins = 0
    while _add(team.gate, _MET, 0) == before:
        spins += 1
        if spins > _SPINS:
            if has_given_up(team):
                return
            _give_way()


@compiled
def share(team: Team, count: int, unit: int) -> Any:
    """Return the first of a member's share of things, and the one after its last; shares are multiples of a unit."""
    units = (count + unit - 1) // unit
    first, last = units * team.member // team.members, units * (team.member + 1) // team.members
    return min(first * unit, count), min(last * unit, count)
