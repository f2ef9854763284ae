"""The overlap of masks between trials, levels and runs."""

from itertools import combinations, product

import numpy as np
import pytest

from lthprune.errors import PruningError
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.overlaps import level_overlaps, mask_overlaps
from lthprune.experiments.run import Run
from lthprune.pruning import expected_overlap, overlap
from tests.tiny import tiny


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    out = tmp_path_factory.mktemp("runs")
    settings = {
        "first": ("run.trials=3",),
        "one-shot": ("run.trials=3", "prune.method=osp"),
        "faster": ("prune.rate.dense=0.4",),
        "seeds": ("run.seed=1", "prune.rate.dense=0.4"),
        "wider": ("run.trials=3", "model.dense=[9]"),
        "single": ("run.trials=1",),
    }
    return {name: run_recipe(tiny(*own), name, out=out) for name, own in settings.items()}


def test_between_trials_all_pairs_of_a_level_are_compared(runs: dict[str, Run]) -> None:
    found = mask_overlaps(runs["first"])
    assert len(found) == 3
    for level, own in enumerate(found):
        assert own is not None
        pairs = list(combinations(runs["first"].tickets.level(level), 2))
        shared = [overlap(one.masks, two.masks) for one, two in pairs]
        assert own[:3] == pytest.approx((np.mean(shared), min(shared), max(shared)))
        assert own.chance == pytest.approx(np.mean([expected_overlap(one.counts, two.counts) for one, two in pairs]))
        assert own.pairs == 3
    assert found[0] is not None
    assert found[0].mean == found[0].chance == 1  # nothing is pruned


def test_between_runs_that_can_be_paired_each_trial_meets_its_counterpart(runs: dict[str, Run]) -> None:
    first, other = runs["first"], runs["one-shot"]
    for level, found in enumerate(mask_overlaps(first, other)):
        pairs = zip(first.tickets.level(level), other.tickets.level(level), strict=True)
        assert found is not None
        assert found.pairs == 3
        assert found.mean == pytest.approx(np.mean([overlap(one.masks, two.masks) for one, two in pairs]))


@pytest.mark.parametrize(
    ("name", "pairs"), [("faster", [(0, 0), (1, 1)]), ("seeds", list(product(range(3), range(2))))]
)
def test_between_other_runs_trials_of_the_same_seed_meet_or_else_all(
    name: str, pairs: list[tuple[int, int]], runs: dict[str, Run]
) -> None:
    dense, unmatched, found = mask_overlaps(runs["first"], runs[name])
    assert unmatched is None
    assert dense is not None
    assert found is not None
    assert dense.pairs == found.pairs == len(pairs)
    one, two = runs["first"].tickets.level(2), runs[name].tickets.level(1)  # both near 65 %
    assert found.mean == pytest.approx(np.mean([overlap(one[a].masks, two[b].masks) for a, b in pairs]))


def test_masks_shuffled_within_layers_overlap_as_by_chance(runs: dict[str, Run]) -> None:
    for repeat in range(3):
        control = run_control(runs["first"], "shuffled", repeat)
        found = mask_overlaps(runs["first"], control)[2]
        assert found is not None
        assert found.mean == pytest.approx(found.chance, abs=0.04)  # of three pairs of masks of 592 weights


def test_a_single_trial_has_no_pair(runs: dict[str, Run]) -> None:
    assert mask_overlaps(runs["single"]) == (None, None, None)


def test_masks_of_nested_levels_overlap_by_the_ratio_of_their_densities(runs: dict[str, Run]) -> None:
    run = runs["first"]
    found, chance = level_overlaps(run)
    density = run.histories().density
    np.testing.assert_allclose(found, np.minimum.outer(density, density) / np.maximum.outer(density, density))
    assert np.array_equal(chance, chance.T)
    one, two = (run.tickets.ticket(level) for level in (1, 2))
    assert chance[1, 2] == pytest.approx(expected_overlap(one.counts, two.counts))
    assert chance[1, 2] < found[1, 2]
    assert np.diag(chance).tolist() == [1, 1, 1]


def test_masks_of_another_architecture_are_refused(runs: dict[str, Run]) -> None:
    with pytest.raises(PruningError, match="differ in names or shapes, so they cannot overlap"):
        mask_overlaps(runs["first"], runs["wider"])
