"""Exact selection of masks: by sampling, in threads, and by sorting."""

import threading
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lthprune.errors import PruningError
from lthprune.pruning.ranking import LazyScores, keep_highest, keep_highest_by_sorting
from tests import strategies
from tests.nets import all_bits


def total(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def widened(scores, masks):
    """All scores inside the masks, in one vector of the precision they have in common."""
    return torch.cat([scores[name][mask].double() for name, mask in masks.items()])


@settings(max_examples=300)
@given(strategies.competitions())
def test_the_fast_selection_keeps_what_its_readable_twin_keeps(competition):
    assert all_bits(keep_highest(*competition)) == all_bits(keep_highest_by_sorting(*competition))


@settings(max_examples=300)
@given(strategies.competitions(), st.integers(1, 8), st.integers(1, 8), st.sampled_from([0.0, 0.5, 5.0]), st.booleans())
def test_the_selection_by_a_sample_keeps_what_a_sort_keeps_however_bad_the_sample(
    competition, chunk, sample, margin, lazy
):
    scores, held, left = competition
    read = scores
    if lazy:
        flat = {name: score.flatten() for name, score in scores.items()}
        read = {name: LazyScores(score, lambda some, name=name: flat[name][some]) for name, score in scores.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_CHUNK": chunk, "_SAMPLE": sample, "_MARGIN": margin}.items():
            patch.setattr(f"lthprune.pruning.ranking.{name}", value)
        kept = keep_highest(read, held, left)
    assert all_bits(kept) == all_bits(keep_highest_by_sorting(*competition))


@settings(max_examples=100)
@given(strategies.competitions(), st.integers(1, 3), st.integers(2, 4))
def test_masks_are_the_same_with_any_number_of_threads(competition, part, threads):
    kept, readers = [], set()
    scores, held, left = competition
    flat = {name: score.flatten() for name, score in scores.items()}

    def compute(some, name):
        readers.add(threading.current_thread())
        return flat[name][some]

    read = {name: LazyScores(score, partial(compute, name=name)) for name, score in scores.items()}
    for number in (1, threads):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"_CHUNK": 1, "_PART": part, "_SAMPLE": 1}.items():
                patch.setattr(f"lthprune.pruning.ranking.{name}", value)
            patch.setattr("torch.get_num_threads", lambda number=number: number)
            kept.append(keep_highest(read, held, left))
    assert all_bits(kept[0]) == all_bits(kept[1])
    if sum(mask.numel() for mask in held.values()) > part and left < total(held):
        assert readers - {threading.main_thread()}


@settings(max_examples=100)
@given(strategies.competitions())
def test_exactly_the_wanted_number_of_remaining_weights_is_kept_and_no_pruned_one_scores_higher(competition):
    scores, held, left = competition
    kept = keep_highest(scores, held, left)
    assert total(kept) == left
    assert not any((kept[name] & ~held[name]).any() for name in held)
    dropped = {name: held[name] & ~kept[name] for name in held}
    if left and total(dropped):
        assert widened(scores, kept).min() >= widened(scores, dropped).max()


@settings(max_examples=100)
@given(strategies.competitions(), st.integers(0, 4))
def test_a_minimum_is_kept_in_every_tensor_and_the_total_stays_exact(competition, minimum):
    scores, held, left = competition
    floor = {name: min(minimum, int(mask.sum())) for name, mask in held.items()}
    if sum(floor.values()) > left:
        with pytest.raises(PruningError, match="keep at least"):
            keep_highest(scores, held, left, minimum=minimum)
        return
    kept = keep_highest(scores, held, left, minimum=minimum)
    assert total(kept) == left
    for name, mask in kept.items():
        assert int(mask.sum()) >= floor[name]
        assert not (mask & ~held[name]).any()
        assert mask.equal(keep_highest({name: scores[name]}, {name: held[name]}, int(mask.sum()))[name])


def test_of_equal_scores_the_first_stay_in_the_order_of_tensors_and_rows():
    scores = {"b": torch.ones(2, 2), "a": torch.ones(3)}
    held = {"b": torch.tensor([[True, False], [True, True]]), "a": torch.ones(3, dtype=torch.bool)}
    kept = keep_highest(scores, held, 4)
    assert kept["b"].tolist() == [[True, False], [True, True]]
    assert kept["a"].tolist() == [True, False, False]


def test_ties_are_broken_by_place_and_not_by_memory_layout():
    scores = {"conv": torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last)}
    kept = keep_highest(scores, {"conv": torch.ones_like(scores["conv"], dtype=torch.bool)}, 5)["conv"]
    assert kept.flatten().nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


def test_whole_numbers_can_be_scores():
    scores = {"w": torch.tensor([3, 1, 2, 1])}
    assert keep_highest(scores, {"w": torch.ones(4, dtype=torch.bool)}, 3)["w"].tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("scores", "left", "complaint"),
    [
        (torch.tensor([0.0, torch.nan, 1.0]), 1, "'w' contain NaN"),
        (torch.zeros(3, 1), 1, r"shape \(3, 1\), the tensor \(3,\)"),
        (torch.zeros(3), 4, "cannot keep 4 weights of the 3"),
        (torch.zeros(3), -1, "cannot keep -1"),
    ],
)
@pytest.mark.parametrize("select", [keep_highest, keep_highest_by_sorting])
def test_scores_that_cannot_be_ranked_are_refused(select, scores, left, complaint):
    with pytest.raises(PruningError, match=complaint):
        select({"w": scores}, {"w": torch.ones(3, dtype=torch.bool)}, left)
