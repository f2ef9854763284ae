import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import DataError
from lthprune.training.batches import Batches
from tests.strategies import seeds


def order(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(samples=st.integers(1, 40), batch_size=st.integers(1, 40), trials=st.integers(1, 3), seed=seeds)
def test_every_epoch_is_a_new_permutation_for_each_trial_without_a_last_incomplete_batch(
    samples: int, batch_size: int, trials: int, seed: int
) -> None:
    orders = [order(seed + trial) for trial in range(trials)]
    if batch_size > samples:
        with pytest.raises(DataError, match="only"):
            Batches(samples, batch_size, orders)
        return
    batches, whole = Batches(samples, batch_size, orders), samples // batch_size
    twins = [order(seed + trial) for trial in range(trials)]
    for _ in range(3):
        seen = torch.cat([next(batches) for _ in range(whole)], dim=1)
        expected = [torch.randperm(samples, generator=twin)[: whole * batch_size] for twin in twins]
        assert torch.equal(seen, torch.stack(expected))


@given(passed=st.integers(0, 12), left=st.sets(st.integers(0, 3), min_size=1).map(sorted))
def test_remaining_trials_keep_their_order(passed: int, left: list[int]) -> None:
    all_of_them, some = (Batches(10, 3, [order(trial) for trial in range(4)]) for _ in range(2))
    for _ in range(passed):
        next(all_of_them), next(some)
    some.keep(left)
    for _ in range(7):
        assert torch.equal(next(some), next(all_of_them)[left])
