import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthprune.training.stopping import early_stopping_index, should_stop

losses = st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5, 1.0, math.inf, math.nan])
curves = st.lists(losses, min_size=1, max_size=12)


@given(curves)
def test_early_stopping_is_read_at_the_first_lowest_loss_that_is_a_number(curve: list[float]) -> None:
    numbers = [(loss, index) for index, loss in enumerate(curve) if not math.isnan(loss)]
    assert early_stopping_index(curve) == (min(numbers)[1] if numbers else len(curve) - 1)


def slow_twin(curve: list[float], patience: int | None, min_delta: float, cutoff: float | None) -> bool:
    """Whether a new minimum was made at each evaluation, from all the evaluations before it."""
    if cutoff is not None and curve[-1] < cutoff:
        return True
    if patience is None or len(curve) < patience:
        return False
    new, best = [], math.inf
    for loss in curve:
        new.append(loss < best - min_delta)
        best = loss if new[-1] else best
    return not any(new[-patience:])


@given(curves, st.none() | st.integers(1, 4), st.sampled_from([0.0, 0.05, 0.2]), st.none() | st.just(0.22))
def test_training_stops_as_the_slow_twin_says(
    curve: list[float], patience: int | None, min_delta: float, cutoff: float | None
) -> None:
    stops = should_stop(curve, patience=patience, min_delta=min_delta, loss_cutoff=cutoff)
    assert stops == slow_twin(curve, patience, min_delta, cutoff)


@pytest.mark.parametrize(
    ("curve", "words", "stops"),
    [
        ([0.5, 0.4, 0.3], {"patience": 1}, False),
        ([0.5, 0.4, 0.4], {"patience": 1}, True),
        ([0.5, 0.4, 0.39, 0.38], {"patience": 2, "min_delta": 0.05}, True),
        ([0.5, 0.4, 0.39, 0.34], {"patience": 2, "min_delta": 0.05}, False),
        ([0.5, 0.19], {"patience": None, "loss_cutoff": 0.2}, True),
        ([0.1, 0.2], {"patience": None, "loss_cutoff": 0.2}, False),
        ([0.5] * 9, {"patience": None}, False),
        ([math.nan] * 3, {"patience": 3}, True),
    ],
)
def test_patience_min_delta_and_cutoff_each_stop_a_training(
    curve: list[float], words: dict[str, object], stops: bool
) -> None:
    assert should_stop(curve, **words) == stops  # type: ignore[arg-type]
