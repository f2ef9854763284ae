"""Paired differences between a run and its controls."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import PruningError
from lthprune.experiments.comparison import against_dense, compare, level_ranges, paired_difference
from lthprune.training.histories import Histories

VALUES = st.lists(st.integers(-50, 50).map(lambda value: value / 100), min_size=2, max_size=5)


def histories(test_acc, losses=None):
    """Two evaluations at each level; ``losses`` are the validation losses at them, falling by default."""
    test_acc = np.asarray(test_acc, dtype=float)  # (trials, levels + 1)
    trials, levels = test_acc.shape
    found = Histories.empty(trials, levels - 1, [100, 200])
    for curve in found.curves.values():
        curve[:] = 0.5
    found.curves["test_acc"][:] = test_acc[:, :, None]
    found.curves["val_loss"][:] = [0.5, 0.4] if losses is None else losses
    found.density[:] = [0.8**level for level in range(levels)]
    return found


@given(VALUES)
def test_the_interval_holds_95_percent_of_all_resamples(values):
    found = paired_difference(values)
    assert found.mean == pytest.approx(np.mean(values))
    means = np.array([np.mean(resample) for resample in itertools.product(values, repeat=len(values))])
    for side in (means - found.low, found.high - means):  # 2.5 % of them lie outside on each side, ties aside
        assert np.mean(side < -1e-9) < 0.035
        assert np.mean(side < 1e-9) > 0.015
    assert paired_difference(values) == pytest.approx(found, nan_ok=True)


@given(VALUES)
def test_the_opposite_difference_has_the_opposite_sign_and_the_same_p_value(values):
    one, other = paired_difference(values), paired_difference([-value for value in values])
    assert other.mean == pytest.approx(-one.mean)
    assert other.p_value == pytest.approx(one.p_value, nan_ok=True)
    assert not (one.positive and one.negative)
    assert not (one.positive and other.positive)


def test_the_p_value_is_that_of_a_paired_t_test():
    values = [1.0, 2.0, 3.0, 4.0]  # mean 2.5, standard error 0.6455, t = 3.873 with 3 degrees of freedom
    assert paired_difference(values).p_value == pytest.approx(0.0305, abs=1e-4)
    assert paired_difference(values).positive
    assert not paired_difference([1.0, -1.0, 3.0, -2.0]).positive


def test_a_single_trial_has_a_mean_and_no_interval():
    found = paired_difference([0.25])
    assert found.mean == 0.25
    assert np.isnan([found.low, found.high, found.p_value]).all()
    comparison = compare("shuffled", histories([[0.9, 0.9]]), [histories([[0.8, 0.7]])])
    assert comparison.sentence().startswith("shuffled: a single trial gives no intervals.")


def test_trials_are_compared_one_by_one_with_the_mean_over_repetitions():
    run = histories([[0.9, 0.9], [0.5, 0.6]])
    repeats = [histories([[0.9, 0.7], [0.5, 0.5]]), histories([[0.9, 0.8], [0.5, 0.4]])]
    found = compare("reinitialised", run, repeats)
    assert (found.repeats, found.levels, found.density) == (2, (0, 1), (1.0, 0.8))
    assert [each.mean for each in found.differences["test_acc"]] == pytest.approx([0.0, 0.15])  # 0.15 and 0.15
    assert found.differences["test_acc"][1].low == pytest.approx(0.15)


def test_only_levels_that_all_have_finished_are_compared():
    run, control = histories([[0.9, 0.9, 0.9]] * 2), histories([[0.8, 0.8, 0.8]] * 2)
    assert compare("shuffled", run, [control.up_to(2)]).levels == (0, 1)
    assert compare("shuffled", run.up_to(1), [control]).levels == (0,)


def test_other_trials_are_refused():
    with pytest.raises(PruningError, match="it needs the 2 trials of the run"):
        compare("shuffled", histories([[0.9], [0.9]]), [histories([[0.9]])])


def test_the_sentence_names_the_levels_at_which_interval_and_test_agree():
    generator = np.random.default_rng(0)
    control = generator.uniform(0.6, 0.61, (5, 5))
    gaps = np.array([0.0, 0.1, 0.1, -0.1, 0.1])
    run = control + gaps + generator.uniform(-0.001, 0.001, (5, 5))
    steps = np.full((5, 5, 2), [0.5, 0.4])
    earlier = steps.copy()
    earlier[:, 4] = [0.4, 0.5]  # all trials stop at step 100 instead of 200: no spread, so no test
    earlier[:4, 2] = [0.4, 0.5]
    found = compare("shuffled", histories(run, earlier), [histories(control, steps)])
    assert found.better("test_acc") == (1, 2, 4)
    assert found.worse("test_acc") == (3,)
    assert found.better("early_stop") == (2,)
    assert found.sentence() == (
        "shuffled: the tickets are more accurate at levels 1-2 and 4; less accurate at level 3; "
        "earlier at their lowest validation loss at level 2."
    )
    assert compare("shuffled", histories(run), [histories(run)]).sentence() == "shuffled: no level shows a difference."


def test_against_the_dense_network_every_level_is_compared_with_level_0_of_its_trial():
    found = against_dense(histories([[0.9, 0.95, 0.8], [0.7, 0.75, 0.7]]))
    assert [each.mean for each in found.differences["test_acc"]] == pytest.approx([0.0, 0.05, -0.05])


@given(st.sets(st.integers(0, 30), min_size=1))
def test_ranges_of_levels_name_exactly_these_levels(levels):
    words = level_ranges(sorted(levels)).removeprefix("levels ").removeprefix("level ").replace(" and ", ", ")
    named = [tuple(map(int, part.split("-"))) for part in words.split(", ")]
    assert {level for part in named for level in range(part[0], part[-1] + 1)} == levels
