"""The estimate of a run's time; that it is roughly right is checked by what it must be proportional to."""

from dataclasses import replace

import pytest

from lthprune.errors import RecipeError
from lthprune.experiments import timing
from lthprune.experiments.timing import estimate_time
from tests.tiny import tiny


def test_an_estimate_times_the_dense_level_the_last_and_two_between() -> None:
    estimate = estimate_time(tiny("prune.levels=9", "prune.rate=0.3"))
    assert [level.level for level in estimate.timed] == [0, 3, 6, 9]
    assert [round(level.density, 2) for level in estimate.timed] == [1.0, 0.34, 0.12, 0.04]
    assert {level.engine for level in estimate.timed} == {"compiled"}
    assert (estimate.levels, estimate.steps, estimate.evaluations, estimate.trials) == (10, 6, 3, 2)
    assert all(level.step > 0 and level.evaluation >= 0 and level.setup >= 0 for level in estimate.timed)
    assert estimate.seconds > 0


def test_an_estimate_counts_levels_steps_and_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_time_training", lambda experiment, models: ("stacked", 0.5, 0.01, 0.1))
    assert estimate_time(tiny()).seconds == pytest.approx(3 * (0.5 + 6 * 0.01 + 3 * 0.1))
    late = estimate_time(tiny("prune.rewind=2"))  # pruned levels start at step 2, after the first evaluation
    assert late.seconds == pytest.approx((0.5 + 0.06 + 0.3) + 2 * (0.5 + 0.04 + 0.2))


def test_levels_between_the_timed_ones_are_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter([0.08, 0.04, 0.02, 0.02])
    monkeypatch.setattr(timing, "_time_training", lambda experiment, models: ("stacked", 0.0, next(steps), 0.0))
    estimate = estimate_time(tiny("prune.levels=6"))
    assert estimate.seconds == pytest.approx(6 * (0.08 + 0.06 + 0.04 + 0.03 + 0.02 + 0.02 + 0.02))


def test_where_the_dense_level_takes_long_to_time_the_others_are_taken_to_be_as_slow() -> None:
    estimate = estimate_time(tiny("prune.levels=4"), budget=0.0)
    (dense,) = estimate.timed
    assert dense.level == 0
    assert estimate.seconds == pytest.approx(5 * (dense.setup + 6 * dense.step + 3 * dense.evaluation))


def test_a_slow_recipe_is_timed_with_one_trial_and_few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_SLOW", 0.0)
    sizes = []

    def time_training(experiment: timing.Experiment, models: object) -> tuple[str, float, float, float]:
        assert isinstance(models, list)
        sizes.append((len(models), len(experiment.data.x_val), len(experiment.data.x_test)))
        return "stacked", 1.0, 1.0, 1.0

    monkeypatch.setattr(timing, "_time_training", time_training)
    estimate = estimate_time(tiny("run.trials=3"))
    assert (estimate.scaled, set(sizes)) == (True, {(1, 237, 250)})
    samples = (237 + 360) / (237 + 250)  # of an evaluation, to those timed
    assert estimate.timed[0] == replace(estimate.timed[0], setup=3.0, step=3.0, evaluation=pytest.approx(3 * samples))


def test_a_recipe_that_cannot_run_here_is_refused_before_anything_is_timed() -> None:
    with pytest.raises(RecipeError, match="compiled"):
        estimate_time(tiny("train.engine=compiled", "model.kind=tiny", "prune.rate=0.2"))
