from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lthprune.analysis import (
    BiasStates,
    ComatoseBiases,
    NeuronState,
    ZombieLives,
    bias_statistics,
    comatose_biases,
    ticket_states,
    zombie_lives,
)
from lthprune.analysis.level_states import TicketStates
from tests.drawn import INPUTS, search, searches

ALIVE, ZOMBIE, COMATOSE, PRUNED = NeuronState.ALIVE, NeuronState.ZOMBIE, NeuronState.COMATOSE, NeuronState.PRUNED


def levels_of(neurons: Any, values: Any = None, left: Any = None, attached: Any = None) -> list[TicketStates]:
    """Levels with one layer of biases, of arrays (levels, neurons)."""
    (some, *_) = ticket_states(*search(levels=1), INPUTS)
    neurons = np.asarray(neurons, dtype=np.int8)
    values = np.zeros(neurons.shape) if values is None else np.asarray(values, dtype=float)
    whole = [
        np.ones(neurons.shape, dtype=bool) if each is None else np.asarray(each, bool) for each in (left, attached)
    ]
    return [
        replace(some, level=level, biases={"layer.bias": BiasStates(value, own, states, touched)})
        for level, (value, own, states, touched) in enumerate(zip(values, whole[0], neurons, whole[1], strict=True))
    ]


@settings(max_examples=30, deadline=None)
@given(searches)
def test_every_bias_is_counted_once_at_every_level(searched: Any) -> None:
    levels = list(ticket_states(*searched, INPUTS))
    statistics = bias_statistics(levels)
    for place, level in enumerate(levels):
        biases = level.biases.values()
        left = np.concatenate([np.empty(0), *(bias.values[bias.unpruned] for bias in biases)])
        assert statistics.count[place].sum() == sum(len(bias.values) for bias in biases)
        assert statistics.left[place].sum() == len(left)
        assert statistics.negative[place].sum() == (left < 0).sum()
        if len(left):
            assert statistics.fraction_negative[place] == (left < 0).mean()
            mean = np.nansum(statistics.mean[place] * statistics.left[place]) / len(left)
            np.testing.assert_allclose(mean, left.mean(), rtol=1e-9, atol=1e-12)
        else:
            assert np.isnan(statistics.fraction_negative[place])


def test_the_statistics_of_a_state_are_those_of_its_unpruned_biases() -> None:
    values = [[-1.0, 3.0, 0.0, 7.0]]
    (levels,) = [levels_of([[ALIVE, ALIVE, ALIVE, ZOMBIE]], values, left=[[1, 1, 0, 1]])]
    statistics = bias_statistics(levels)
    assert statistics.count[0].tolist() == [3, 0, 1, 0, 0, 0]
    assert statistics.left[0].tolist() == [2, 0, 1, 0, 0, 0]
    assert statistics.negative[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert (statistics.mean[0, ALIVE], statistics.deviation[0, ALIVE]) == (1, 2)
    np.testing.assert_allclose(statistics.quantiles[0, ALIVE], [-0.8, 0, 1, 2, 2.8])
    assert statistics.quantiles[0, ZOMBIE].tolist() == [7] * 5
    assert np.isnan(statistics.mean[0, COMATOSE])
    assert statistics.fraction_negative.tolist() == [1 / 3]


def test_a_zombies_life_is_counted_from_its_first_level_as_one() -> None:
    states = [[ALIVE, ALIVE, ALIVE], [ZOMBIE, ALIVE, ALIVE], [ZOMBIE, ZOMBIE, ALIVE], [COMATOSE, ZOMBIE, ALIVE]]
    values = [[0, 0, 0], [0.5, 9, 9], [9, -0.5, 9], [9, 9, 9]]
    lives = zombie_lives(levels_of(states, values))
    assert (lives.bias.tolist(), lives.levels.tolist(), lives.ended.tolist()) == ([0.5, -0.5], [2, 2], [True, False])


@pytest.mark.parametrize(
    ("bias", "levels", "ended", "correlation"),
    [
        ([1, 2, 3], [1, 2, 3], [True] * 3, 1.0),
        ([3, 2, 1], [1, 2, 3], [True] * 3, -1.0),
        ([1, 3, 2], [1, 2, 3], [True] * 3, 1 / 3),
        ([1, 2], [2, 1], [True, False], np.nan),  # the second may have outlived the first
        ([1, 2], [2, 2], [True, False], 1.0),  # the second outlived the first
        ([5, 5, 5], [1, 2, 3], [True] * 3, np.nan),
        ([], [], [], np.nan),
    ],
)
def test_the_correlation_counts_pairs_whose_order_is_known(
    bias: list[float], levels: list[int], ended: list[bool], correlation: float
) -> None:
    lives = ZombieLives(np.array(bias, dtype=float), np.array(levels, dtype=int), np.array(ended, dtype=bool))
    np.testing.assert_allclose(lives.correlation, correlation)


@given(arrays.arrays(float, st.integers(2, 30), elements=st.integers(-9, 9)), st.integers(0, 2**31))
def test_the_correlation_is_antisymmetric_and_within_bounds(bias: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    levels, ended = generator.integers(1, 9, len(bias)), generator.random(len(bias)) < 0.7
    correlation = ZombieLives(bias, levels, ended).correlation
    if not np.isnan(correlation):
        assert -1 <= correlation <= 1
    np.testing.assert_equal(ZombieLives(-bias, levels, ended).correlation + 0.0, -correlation + 0.0)


def test_comatose_neurons_are_counted_by_what_was_pruned_first() -> None:
    #         early     before    together  after     not yet   neither   never comatose
    states = [[ALIVE] * 7, [COMATOSE] * 6 + [ALIVE], [COMATOSE] * 6 + [ALIVE], [COMATOSE] * 6 + [PRUNED]]
    left = [
        [1, 1, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1, 1],
        [0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1, 0],
    ]
    attached = [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 1, 0],
    ]
    counts = comatose_biases(levels_of(states, left=left, attached=attached))
    assert counts == ComatoseBiases(early=1, before=1, together=1, after=2, neither=1)


@settings(max_examples=30, deadline=None)
@given(searches)
def test_every_comatose_neuron_is_counted_once_where_biases_are_pruned(searched: Any) -> None:
    levels = list(ticket_states(*searched, INPUTS))
    counts = comatose_biases(levels)
    ever = sum(
        int(np.any([level.biases[name].neurons == COMATOSE for level in levels], axis=0).sum())
        for name in levels[0].biases
    )
    pruned = any(not bias.unpruned.all() for level in levels for bias in level.biases.values())
    assert counts is None if not pruned else sum(counts or ()) == ever


def test_a_network_without_biases_has_empty_statistics() -> None:
    levels = [replace(level, biases={}) for level in ticket_states(*search(levels=1), INPUTS)]
    assert bias_statistics(levels).count.sum() == 0
    assert len(zombie_lives(levels).bias) == 0
    assert comatose_biases(levels) is None
