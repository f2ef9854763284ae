"""Counting, comparing and packing masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lthprune.errors import PruningError
from lthprune.pruning.masks import Count, count, expected_overlap, overlap, pack, unpack
from lthprune.search.tickets import Ticket
from tests import strategies


@given(strategies.competitions())
def test_counts_and_densities_are_what_the_masks_hold(competition):
    for name, (left, size) in count(competition[1]).items():
        entries = competition[1][name].flatten().tolist()
        assert (left, size) == (entries.count(True), len(entries))
        assert count(competition[1])[name].density == left / size


@given(strategies.competitions(), strategies.seeds)
def test_overlap_is_both_over_either(competition, seed):
    first = competition[1]
    generator = torch.Generator().manual_seed(seed)
    second = {name: torch.rand(mask.shape, generator=generator) < 0.5 for name, mask in first.items()}
    one, two = (
        {(n, i) for n, m in masks.items() for i in m.flatten().nonzero()[:, 0].tolist()} for masks in (first, second)
    )
    assert overlap(first, second) == overlap(second, first) == (len(one & two) / len(one | two) if one | two else 1)
    assert overlap(first, first) == 1


def test_overlap_is_of_masks_of_one_architecture_and_says_where_a_ticket_has_them():
    masks = {"weight": torch.tensor([True, False])}
    ticket = Ticket(0, masks, {}, {})
    with pytest.raises(PruningError, match=r"this is a Ticket. Pass the masks .*overlap\(one\.masks, other\.masks\)"):
        overlap(ticket, ticket)
    for other in ({"w": masks["weight"]}, {"weight": torch.tensor([True])}, {}):
        with pytest.raises(PruningError, match="differ in names or shapes"):
            overlap(masks, other)


@given(st.lists(st.integers(0, 7), max_size=4).map(tuple).flatmap(strategies.masks))
def test_packing_takes_an_eighth_of_a_byte_per_weight_and_loses_nothing(mask):
    packed = pack(mask)
    assert packed.dtype == torch.uint8
    assert packed.numel() == -(-mask.numel() // 8)
    assert unpack(packed, tuple(mask.shape)).equal(mask)


def test_packing_reads_a_mask_row_by_row_whatever_its_memory_layout():
    mask = torch.tensor([[True, False, False], [True, True, False]])
    assert pack(mask.t().contiguous().t()).tolist() == pack(mask).tolist() == [0b10011000]


@st.composite
def pairs_of_counts(draw):
    """The numbers of weights of one to three layers, and how many of them two masks leave: a fifth at least."""
    sizes = draw(st.lists(st.integers(20, 60), min_size=1, max_size=3))
    return [(size, *(draw(st.integers(size // 5, size)) for _ in range(2))) for size in sizes]


@given(pairs_of_counts())
def test_the_expected_overlap_is_that_of_all_pairs_of_random_masks(layers):
    chances, remaining = np.ones(1), sum(one + other for _, one, other in layers)
    for size, one, other in layers:  # the distribution of the intersection, layer by layer
        chances = np.convolve(chances, stats.hypergeom.pmf(range(min(one, other) + 1), size, one, other))
    shared = np.arange(len(chances))
    first, second = ({f"{i}": Count(layer[at], layer[0]) for i, layer in enumerate(layers)} for at in (1, 2))
    assert expected_overlap(first, second) == pytest.approx(chances @ (shared / (remaining - shared)), abs=0.002)
    assert expected_overlap(second, first) == pytest.approx(expected_overlap(first, second))


def test_dense_and_empty_masks_leave_nothing_to_chance():
    dense, some, none = ({"w": Count(left, 4)} for left in (4, 1, 0))
    assert [expected_overlap(dense, each) for each in (dense, some, none)] == [1, 0.25, 0]
    assert expected_overlap(none, none) == 1
    assert expected_overlap({"w": Count(1, 1)}, {"w": Count(1, 1)}) == 1


def test_the_expected_overlap_of_other_layers_is_refused():
    with pytest.raises(PruningError, match="these differ in names or sizes"):
        expected_overlap({"w": Count(1, 4)}, {"w": Count(1, 5)})
