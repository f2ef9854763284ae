"""From which step on a network is stable."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthprune.analysis import STABLE, LinearPath, Pair, Stability, earliest_stable


def stability(barriers: list[list[float]], steps: tuple[int, ...], still: tuple[int, ...] = ()) -> Stability:
    """The stability of a network with these barriers on test data, by step and pair; half of them on training data.

    Copies do not move from the steps in ``still``.
    """
    pairs = [
        tuple(
            Pair(
                trial,
                (0, 1),
                LinearPath(
                    np.linspace(0, 1, 3),
                    {"test": np.array([0.1, 0.1 + height, 0.1]), "train": np.array([0.1, 0.1 + height / 2, 0.1])},
                    {},
                ),
                distance=2.0 + trial,
                angle=math.nan if step in still else 30.0,
            )
            for trial, height in enumerate(own)
        )
        for step, own in zip(steps, barriers, strict=True)
    ]
    return Stability(0, 1.0, steps, tuple(pairs))


@pytest.mark.parametrize(
    ("barriers", "expected"),
    [
        ([0.3, 0.1, 0.01], 100),
        ([0.3, 0.01, 0.1], None),  # a later step is unstable again
        ([0.01, 0.1, 0.01], 100),
        ([0.0, 0.0, 0.0], 0),
        ([0.01, 0.01, STABLE], None),  # below 2 points, not at 2 points
        ([0.01, 0.01, float("nan")], None),
    ],
)
def test_a_network_is_stable_from_a_step_if_all_later_barriers_are_low_too(
    barriers: list[float], expected: int | None
) -> None:
    assert earliest_stable((0, 10, 100), barriers) == expected


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=8))
def test_the_earliest_stable_step_is_the_first_without_a_high_barrier_after_it(barriers: list[float]) -> None:
    steps = [10 * place for place in range(len(barriers))]
    fitting = [step for place, step in enumerate(steps) if max(barriers[place:]) < STABLE]
    assert earliest_stable(steps, barriers) == (fitting[0] if fitting else None)


def test_the_mean_over_all_pairs_decides_and_each_data_for_itself() -> None:
    measured = stability([[0.01, 0.05], [0.0, 0.038]], (0, 100))
    np.testing.assert_allclose(measured.barriers(), [[0.01, 0.05], [0.0, 0.038]])
    np.testing.assert_allclose(measured.mean_barriers(), [0.03, 0.019])
    assert (measured.earliest_stable(), measured.earliest_stable("train")) == (100, 0)
    assert measured.distances().tolist() == [[2, 3], [2, 3]]
    assert measured.angles().tolist() == [[30, 30], [30, 30]]


def test_steps_from_which_no_copy_moves_say_nothing_about_stability() -> None:
    steps = (0, 2000, 4000)
    unstable = stability([[0.3], [0.3], [0.0]], steps, still=(4000,))
    assert (unstable.moving_steps(), unstable.earliest_stable()) == ((0, 2000), None)
    stable = stability([[0.3], [0.01], [0.0]], steps, still=(4000,))
    assert stable.earliest_stable() == 2000
    assert stability([[0.0]], (4000,), still=(4000,)).earliest_stable() is None
