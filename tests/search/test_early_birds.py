"""Early-bird tickets: their masks, distances and stop rule."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthprune.errors import PruningError
from lthprune.pruning import snapshot
from lthprune.search import EarlyBird
from tests.nets import all_bits


def set_large(layer: nn.Linear, *places: int) -> None:
    """Make some of ten weights large."""
    layer.weight.data.fill_(0.1)
    layer.weight.data[0, list(places)] = -2.0


def test_the_ticket_is_found_once_the_newest_mask_agrees_with_all_others_in_the_queue() -> None:
    bird, layer = EarlyBird(0.2, epsilon=0.3, queue=3), nn.Linear(10, 1, bias=False)
    kept = [(0, 1), (0, 1), (2, 3), (2, 4), (2, 4), (2, 3)]
    found = []
    for places in kept:
        set_large(layer, *places)
        found.append(bird.update(layer))
    # distances to the two masks before: none, one, (.4, .4), (.4, .2), (.2, 0), (.2, .2)
    assert found == [False, False, False, False, True, True]
    assert bird.distances == (0.2, 0.2)
    assert bird.masks is not None
    assert bird.masks["weight"].nonzero()[:, 1].tolist() == [2, 3]
    assert bird.epochs == 6


def test_a_distance_that_equals_epsilon_is_too_far() -> None:
    bird, layer = EarlyBird(0.2, epsilon=0.2, queue=2), nn.Linear(10, 1, bias=False)
    set_large(layer, 0, 1)
    bird.update(layer)
    set_large(layer, 0, 2)
    assert not bird.update(layer)
    assert bird.distances == (0.2,)


def test_the_model_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    before = all_bits(snapshot(model))
    EarlyBird(0.4).update(model)
    assert all_bits(snapshot(model)) == before
    assert not hasattr(model[0], "weight_mask")


@given(density=st.floats(0.3, 1), queue=st.integers(2, 5))
def test_weights_that_stay_fulfil_the_rule_as_soon_as_the_queue_is_full(density: float, queue: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    bird = EarlyBird(density, queue=queue)
    assert [bird.update(model) for _ in range(queue)] == [False] * (queue - 1) + [True]
    assert bird.masks is not None
    assert sum(int(mask.sum()) for mask in bird.masks.values()) == round(40 * density)


def test_each_tensor_may_have_its_own_density() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    bird = EarlyBird({"0.weight": 0.5, "2.weight": 0.2})
    bird.update(model)
    assert bird.masks is not None
    assert {name: int(mask.sum()) for name, mask in bird.masks.items()} == {"0.weight": 15, "2.weight": 2}


def test_settings_without_a_meaning_are_refused() -> None:
    for words in ({"epsilon": 0.0}, {"queue": 1}):
        with pytest.raises(PruningError, match=r"epsilon = .*, queue = "):
            EarlyBird(0.5, **words)  # type: ignore[arg-type]
    with pytest.raises(PruningError, match="density = 2"):
        EarlyBird(2).update(nn.Linear(3, 3))
