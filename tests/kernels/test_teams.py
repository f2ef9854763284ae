"""Members of a team share out work without gaps, and wait for one another."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from lthprune.kernels.teams import Team, give_up, meet, share
from tests.laid import teams


@njit(nogil=True)
def pass_on(numbers: Any, team: Team) -> None:
    """Write one's own number of each round once all have written those of the round before."""
    for each in range(1, len(numbers)):
        total = numbers[each - 1].sum()
        meet(team)
        numbers[each, team.member] = total
        meet(team)


@given(members=st.integers(1, 9), count=st.integers(0, 100), unit=st.integers(1, 20))
def test_shares_follow_one_another_and_are_multiples_of_the_unit(members: int, count: int, unit: int) -> None:
    shares = [share(member, count, unit) for member in teams(members)]
    assert [0, *(last for _, last in shares)] == [*(first for first, _ in shares), count]
    assert all(first % unit == 0 or first == count for first, _ in shares)


def test_members_wait_for_nobody_once_their_team_has_given_up() -> None:
    numbers, (here, absent) = np.ones((3, 2)), teams(2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pass_on, numbers, here)
        assert not waiting.done()
        give_up(absent.gate)
        waiting.result()


def test_a_member_reads_what_the_others_wrote_before_they_met() -> None:
    numbers = np.zeros((30, 3))
    numbers[0] = 1
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda team: pass_on(numbers, team), teams(3)))
    assert (numbers == 3.0 ** np.arange(30)[:, None]).all()
