"""Criteria: tensors in, scores out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import PruningError
from lthprune.pruning.scores import SCORES, Candidate, scale_bias_scores, score_named
from lthprune.testing import check_score
from tests import strategies

FORMULAS = {
    "magnitude": lambda final, initial: abs(final),
    "large_final": lambda final, initial: abs(final),
    "magnitude_increase": lambda final, initial: abs(final) - abs(initial),
    "movement": lambda final, initial: abs(final - initial),
    "small_final": lambda final, initial: -abs(final),
    "large_init": lambda final, initial: abs(initial),
    "small_init": lambda final, initial: -abs(initial),
    "large_final_same_sign": lambda final, initial: (
        abs(final) if math.copysign(1, final) == math.copysign(1, initial) and initial else 0
    ),
}
RANKS = {"large_init_large_final": 1, "small_init_small_final": -1}
weights = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


def test_every_score_has_its_formula_here():
    assert SCORES.keys() - {"random", *RANKS} == FORMULAS.keys()


@pytest.mark.parametrize("name", FORMULAS)
@given(pairs=st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=12))
def test_a_score_is_its_formula_for_every_weight(name, pairs):
    final, initial = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    scores = score_named(name)(Candidate("w", final, initial))
    assert scores.tolist() == [FORMULAS[name](*pair) for pair in pairs]


@pytest.mark.parametrize("name", RANKS)
@given(seed=strategies.seeds, left=st.integers(1, 30))
def test_the_criteria_of_two_magnitudes_cut_both_at_the_same_percentile(name, seed, left):
    generator = torch.Generator().manual_seed(seed)
    final, initial = torch.randn(2, 5, 8, generator=generator)
    final[0] = 0  # pruned before: neither counted nor kept
    kept = score_named(name)(Candidate("w", final, initial)).flatten().argsort(descending=True)[:left]
    remaining = torch.arange(8, 40)
    assert set(kept.tolist()) <= set(remaining.tolist())
    ranks = [(RANKS[name] * abs(each.flatten()[remaining])).argsort().argsort() for each in (final, initial)]
    lower = torch.minimum(*ranks)
    chosen = torch.isin(remaining, kept)
    assert lower[chosen].min() >= lower[~chosen].max() if left < 32 else True


@pytest.mark.parametrize("name", ["movement", "magnitude_increase", "large_init_large_final", "large_final_same_sign"])
def test_a_score_that_needs_initial_weights_says_how_to_pass_them(name):
    with pytest.raises(PruningError, match=r"'fc\.weight'.*initial="):
        SCORES[name](Candidate("fc.weight", torch.ones(2)))


@pytest.mark.parametrize("name", SCORES)
def test_a_score_has_the_properties_of_scores(name):
    check_score(name, random=name == "random")


@given(strategies.seeds, strategies.floats)
def test_random_scores_are_spread_over_the_unit_interval_and_follow_the_seed(seed, dtype):
    first, other = (
        SCORES["random"](Candidate("w", torch.zeros(9, 7, dtype=dtype), generator=torch.Generator().manual_seed(each)))
        for each in (seed, seed + 1)
    )
    assert not first.equal(other)
    assert 0 <= first.min() < 0.3 < 0.7 < first.max() < 1


def test_a_score_is_found_by_name_and_a_function_is_a_score():
    mine = lambda candidate: candidate.final  # noqa: E731
    assert score_named(mine) is mine
    assert score_named("large_final") is score_named("magnitude")


def test_an_unknown_score_is_refused_with_the_nearest_known_one():
    with pytest.raises(PruningError, match="unknown score 'magnitud'; did you mean 'magnitude'"):
        score_named("magnitud")


@given(weights, weights, strategies.seeds)
def test_scaled_bias_scores_have_the_mean_of_the_weights_and_keep_their_order(weight, bias, seed):
    weight, bias = torch.tensor(weight).abs(), torch.tensor(bias).abs()
    generator = torch.Generator().manual_seed(seed)
    held_weight, held_bias = (torch.rand(len(each), generator=generator) < 0.7 for each in (weight, bias))
    scaled = scale_bias_scores(weight, held_weight, bias, held_bias)
    if not held_weight.any() or not held_bias.any():
        assert scaled.equal(bias)
        return
    if bias[held_bias].mean() and weight[held_weight].mean() > 1e-3 and bias[held_bias].mean() > 1e-3:
        assert torch.isclose(scaled[held_bias].mean(), weight[held_weight].mean(), rtol=1e-4)
        assert (scaled[bias.sort().indices].diff() >= 0).all()
    elif not bias[held_bias].mean():
        assert scaled.eq(weight[held_weight].mean()).all()
