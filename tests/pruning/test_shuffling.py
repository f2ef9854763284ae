"""Random masks with the numbers of given ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.pruning.shuffling import random_masks
from tests import strategies

DENSITIES = ["layers", "global", "uniform", "erk"]


def left(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("densities", DENSITIES)
@given(competition=strategies.competitions(), seed=strategies.seeds)
def test_random_masks_keep_exactly_as_many_weights_in_total(densities, competition, seed):
    masks = competition[1]
    drawn = random_masks(masks, densities, seeded(seed))
    assert sum(left(drawn).values()) == sum(left(masks).values())
    assert {name: mask.shape for name, mask in drawn.items()} == {name: mask.shape for name, mask in masks.items()}


@given(competition=strategies.competitions(), seed=strategies.seeds)
def test_shuffling_keeps_every_layers_density(competition, seed):
    assert left(random_masks(competition[1], "layers", seeded(seed))) == left(competition[1])


@given(competition=strategies.competitions(), seed=strategies.seeds)
def test_uniform_masks_differ_by_at_most_one_weight_from_the_common_density(competition, seed):
    masks = competition[1]
    total, size = sum(left(masks).values()), sum(mask.numel() for mask in masks.values())
    for name, kept in left(random_masks(masks, "uniform", seeded(seed))).items():
        assert abs(kept - masks[name].numel() * total / max(1, size)) < 1


@pytest.mark.parametrize("densities", DENSITIES)
@given(seed=strategies.seeds, kept=st.lists(st.integers(0, 20), min_size=2, max_size=2, unique=True))
def test_the_same_draws_give_nested_masks_for_nested_numbers(densities, seed, kept):
    few, many = sorted(kept)
    scores = torch.rand(20, generator=seeded(0))

    def masks(number):
        flat = torch.zeros(20, dtype=torch.bool)
        flat[scores.argsort()[:number]] = True
        return {"a": flat[:6].view(2, 3), "b": flat[6:].view(2, 7)}

    sparse, dense = (random_masks(masks(number), densities, seeded(seed)) for number in (few, many))
    assert not any((sparse[name] & ~dense[name]).sum() > 1 for name in sparse)  # rounding may move one weight
    if densities in ("layers", "global"):
        assert not any((sparse[name] & ~dense[name]).any() for name in sparse)


def test_kernels_of_erdos_and_renyi_give_small_layers_more_and_are_dense_at_most():
    masks = {"big": torch.zeros(100, 400, dtype=torch.bool), "small": torch.zeros(100, 10, dtype=torch.bool)}
    masks["big"].view(-1)[:5125] = True
    assert left(random_masks(masks, "erk", seeded(0))) == {"big": 4201, "small": 924}  # as 500 to 110
    masks["big"].view(-1)[:10_000] = True
    assert left(random_masks(masks, "erk", seeded(0))) == {"big": 9000, "small": 1000}


def test_every_weight_of_a_layer_is_equally_likely_to_stay():
    masks = {"w": torch.tensor([True, True, False, False, False, False, False, False])}
    counts = sum(random_masks(masks, "layers", seeded(seed))["w"].int() for seed in range(2000))
    assert bool(((counts - 500).abs() < 100).all())  # five standard deviations
