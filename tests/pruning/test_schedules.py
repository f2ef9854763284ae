"""Exact counts, level by level."""

from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthprune.errors import PruningError
from lthprune.pruning.schedules import Explicit, Geometric, Pool, Target, counts_per_level, left_after, rate_of
from tests import strategies

LENET = [
    Pool(("fc1.weight",), ("dense",), 235_200, 235_200),
    Pool(("fc2.weight",), ("dense",), 30_000, 30_000),
    Pool(("head.weight",), ("output",), 1_000, 1_000),
]


def half_down(exact):
    return ceil(exact - Fraction(1, 2))


def totals(plan):
    return [sum(row) for row in plan]


@settings(max_examples=150)
@given(st.data(), strategies.pools(), st.integers(0, 12))
def test_counts_start_at_the_remaining_weights_and_never_grow(data, pools, levels):
    plan = counts_per_level(data.draw(strategies.schedules(sum(pool.left for pool in pools), levels)), pools, levels)
    assert plan[0] == tuple(pool.left for pool in pools)
    assert len(plan) == levels + 1
    for above, below in pairwise(plan):
        assert all(0 <= after <= before for before, after in zip(above, below, strict=True))


@settings(max_examples=100)
@given(strategies.pools(), st.integers(0, 999), st.integers(0, 40))
def test_a_rate_takes_the_exact_decimal_fraction_without_adding_up_rounding_errors(pools, thousandths, levels):
    plan = counts_per_level(Geometric(thousandths / 1000), pools, levels)
    for level, row in enumerate(plan):
        factor = (1 - Fraction(thousandths, 1000)) ** level
        assert row == tuple(half_down(pool.left * factor) for pool in pools)


@settings(max_examples=100)
@given(st.data(), strategies.pools(), st.integers(1, 25))
def test_a_target_is_met_exactly_by_even_steps(data, pools, levels):
    start = sum(pool.left for pool in pools)
    target = data.draw(st.integers(1, start))
    left = totals(counts_per_level(Target(target), pools, levels))
    assert left[-1] == target
    for level, count in enumerate(left):
        assert abs(count - start * (target / start) ** (level / levels)) <= 0.5 + 1e-6


@settings(max_examples=100)
@given(st.data(), strategies.pools())
def test_what_a_total_prunes_is_shared_among_the_pools_in_proportion(data, pools):
    start = sum(pool.left for pool in pools)
    total = data.draw(st.integers(0, start))
    (row,) = counts_per_level(Explicit([total]), pools, 1)[1:]
    assert sum(row) == total
    assert all(abs(left - Fraction(pool.left * total, start)) < 1 for left, pool in zip(row, pools, strict=True))


def test_lenet_reaches_the_densities_of_the_paper():
    plan = counts_per_level(Geometric({"dense": 0.2, "output": 0.1}), LENET, 15)
    assert plan[1] == (188_160, 24_000, 900)
    assert plan[7] == (49_325, 6_291, 478)
    assert totals(plan)[15] == 9_537


def test_lenet_has_600_weights_after_20_levels():
    left = totals(counts_per_level(Target(600), LENET, 20))
    assert (left[0], left[20]) == (266_200, 600)


def test_floats_are_densities_of_all_weights_and_ints_are_counts():
    half_gone = [Pool(("w",), ("dense",), 500, 1000)]
    assert counts_per_level(Explicit([0.4, 300, 0.1]), half_gone, 3) == [(500,), (400,), (300,), (100,)]
    assert counts_per_level(Target(0.05), half_gone, 4)[-1] == (50,)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (0.5, (0.5, 0.5)),
        ({"dense": 0.2, "output": 0.1}, (0.2, 0.1)),
        ({"dense": 0.2, "output": 0.1, "fc1": 0.3}, (0.3, 0.1)),
        ({"dense": 0.2, "output": 0.1, "fc*": 0.3}, (0.3, 0.1)),
        ({"fc1.weight": 0.4, "dense": 0.2, "head": 0}, (0.4, 0)),
    ],
)
def test_a_name_or_pattern_beats_a_kind(rates, expected):
    assert (rate_of(LENET[0], rates), rate_of(LENET[2], rates)) == expected


@given(st.integers(0, 1000), st.integers(0, 100))
def test_a_fraction_of_the_remaining_weights_is_rounded_to_the_nearest_number_with_a_half_pruned(left, hundredths):
    assert left_after(hundredths / 100, left) == half_down(left * (1 - Fraction(hundredths, 100)))


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_number_is_pruned_exactly_or_refused(left, amount):
    if amount <= left:
        assert left_after(amount, left) == left - amount
    else:
        with pytest.raises(PruningError, match="cannot prune"):
            left_after(amount, left)


@pytest.mark.parametrize("amount", [-1, -0.1, 1.01, float("nan"), float("inf")])
def test_an_amount_that_is_neither_fraction_nor_number_is_refused(amount):
    with pytest.raises(PruningError):
        left_after(amount, 10)


@pytest.mark.parametrize(
    ("schedule", "levels", "complaint"),
    [
        (Geometric(1), 3, "rate = 1: a rate is the fraction"),
        (Geometric(-0.1), 3, "at least 0 and less than 1"),
        (Geometric(float("nan")), 3, "at least 0 and less than 1"),
        (Geometric({"dense": 1.5, "output": 0.1}), 3, "dense = 1.5"),
        (Geometric({"dense": 0.2}), 3, r"no rate for head\.weight.*\(output\)"),
        (Geometric({"dense": 0.2, "output": 0.1, "fc9": 0.1}), 3, "'fc9' matches no kind.*did you mean"),
        (Geometric({"dense": 0.2, "output": 0.1, "fc*": 0.3, "*1": 0.4}), 3, "has two rates"),
        (Geometric(0.2), -1, "levels = -1"),
        (Target(0), 3, "at least 1"),
        (Target(266_201), 3, "at most the 266,200"),
        (Target(2.5), 3, "a fraction in"),
        (Target(-4), 3, "cannot be negative"),
        (Explicit([0.5, 0.25]), 3, "lists 2 values for 3 levels: list one density"),
        (Explicit([0.5]), 2, "lists 1 value for 2 levels"),
        (Geometric({}), 3, r"rate = \{\}: this names no layer.*0\.2"),
        (Explicit([0.5, 0.6]), 2, "masks only shrink"),
        (Explicit([300_000]), 1, "masks only shrink"),
        (Explicit([600.0]), 1, "an int, without a point: 600"),
        (Explicit([-1]), 1, "cannot be negative"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_and_the_error_says_why(schedule, levels, complaint):
    with pytest.raises(PruningError, match=complaint):
        counts_per_level(schedule, LENET, levels)


def test_tensors_that_compete_need_the_same_rate():
    together = Pool(("fc.weight", "head.weight"), ("dense", "output"), 10, 10)
    with pytest.raises(PruningError, match="scope='layerwise'"):
        rate_of(together, {"dense": 0.2, "output": 0.1})
    assert rate_of(together, {"dense": 0.2, "output": 0.2}) == 0.2


def test_an_unmatched_rate_lists_the_layers_in_the_order_of_the_model():
    pools = [Pool((f"{at}.weight",), ("dense",), 5, 5) for at in (0, 2, 4, 10)]
    with pytest.raises(PruningError, match=r"'fc' matches no kind .*Layers: 0, 2, 4, 10\."):
        counts_per_level(Geometric({"dense": 0.2, "fc": 0.1}), pools, 1)
