"""The descent over the levels: what a search owns, and what a training loop may not take from it."""

import operator

import numpy as np
import pytest
import torch
from torch import nn

from lthprune.errors import LayerCollapseWarning, PruningError, StorageError
from lthprune.pruning.forms import strip
from lthprune.pruning.pruner import prune
from lthprune.pruning.selection import Selection
from lthprune.pruning.state import masks_of
from lthprune.search import Descent, imp_levels
from lthprune.search.drivers import imp, osp
from lthprune.search.rewinding import Rewinder
from lthprune.search.settings import Search
from lthprune.search.store import TicketStore
from tests.nets import all_bits, net, train

pytestmark = pytest.mark.filterwarnings(f"ignore::lthprune.errors.{LayerCollapseWarning.__name__}")


class Interrupted(Exception):  # noqa: N818
    """Somebody presses Ctrl-C."""


@pytest.mark.parametrize("driver", [imp, osp])
@pytest.mark.parametrize("stop_before", [1, 2, 4])
def test_the_same_model_object_goes_on_after_an_interruption_as_a_fresh_one_would(tmp_path, driver, stop_before):
    words = {"levels": 4, "rate": 0.3, "score": "movement", "scope": "layerwise"}
    whole = driver(net("normalised"), train, **words)
    calls = iter(range(10))

    def interrupted(model):
        if next(calls) == stop_before:
            raise Interrupted
        return train(model)

    model = net("normalised")
    with pytest.raises(Interrupted):
        driver(model, interrupted, store=tmp_path, **words)
    resumed = driver(model, train, store=tmp_path, **words)
    assert [ticket.left for ticket in resumed] == [ticket.left for ticket in whole]
    assert [all_bits(ticket.trained) for ticket in resumed] == [all_bits(ticket.trained) for ticket in whole]


def loads_an_old_checkpoint():
    seen = []

    def loop(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        if len(seen) > 2:
            model.load_state_dict(seen[1])

    return loop


def removes_the_pruning():
    def loop(model):
        if masks_of(model):
            strip(model)

    return loop


def replaces_a_layer():
    def loop(model):
        model[5] = nn.Linear(model[5].in_features, model[5].out_features)

    return loop


@pytest.mark.parametrize("form", ["plain", "torch"])
@pytest.mark.parametrize(
    ("loop", "complaint"),
    [
        (loads_an_old_checkpoint, "pruned weights are not zero|changed the masks of"),
        (removes_the_pruning, "changed the masks of"),
        (replaces_a_layer, r"train\(\) replaced or removed 5\.weight"),
    ],
)
def test_a_training_loop_that_changes_masks_is_refused(loop, complaint, form):
    tickets = imp_levels(net("dense"), loop(), Search(levels=3, form=form))
    with pytest.raises(PruningError, match=complaint):
        list(tickets)


def test_gradients_of_one_level_do_not_reach_the_next():
    found = []

    def loop(model):
        found.append([parameter.grad for parameter in model.parameters()])
        model(torch.ones(2, 1, 4, 4)).sum().backward()

    imp(net("dense"), loop, levels=2)
    assert all(gradient is None for gradients in found for gradient in gradients)


def test_a_score_that_works_in_place_changes_neither_ticket_nor_model(tmp_path):
    def in_place(candidate):
        return candidate.final.abs_()

    tickets = imp(net("dense"), train, levels=1, score=in_place, store=tmp_path)
    assert all_bits(tickets[0].trained) == all_bits(TicketStore(tmp_path).level(0)[0].trained)
    model = net("dense")
    before = model[1].weight.detach().clone()
    prune(model, 0.5, score=in_place)
    assert torch.equal(model[1].weight_orig, before)


def test_a_scheduler_goes_back_with_its_optimisers_learning_rate():
    model, rates = net("dense"), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    def loop(model):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    imp(model, loop, levels=2, rewind=Rewinder(weights=False, scheduler=scheduler))
    assert rates == [1.0, 1.0, 1.0]


def test_a_rewind_point_never_reached_is_refused_even_where_weights_stay():
    with pytest.raises(PruningError, match="step 100 was never reached"):
        imp(net("dense"), train, levels=1, rewind=Rewinder(at=100, weights=False))


def test_training_after_a_late_rewind_knows_where_to_start():
    rewinder, starts = Rewinder(at=2), []

    def loop(model):
        starts.append(rewinder.start)
        for _ in range(3):
            rewinder.step()

    imp(net("dense"), loop, levels=2, rewind=rewinder)
    assert starts == [0, 2, 2]


def test_what_a_population_shares_cannot_go_back_to_a_later_step():
    models = [net("dense", 0), net("dense", 1)]
    optimizer = torch.optim.SGD([p for model in models for p in model.parameters()], lr=0.1)
    with pytest.raises(PruningError, match="at different times"):
        imp(models, lambda models: None, levels=1, rewind=Rewinder(at=2, optimizer=optimizer))


def test_a_level_that_is_not_the_next_one_is_not_stored(tmp_path):
    imp(net("dense"), train, levels=1, store=tmp_path)
    store = TicketStore(tmp_path)
    with pytest.raises(StorageError, match="another process"):
        store.append(store.level(0))
    assert store.finished == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"levels": 2.5}, "levels = 2.5"),
        ({"levels": -1}, "levels = -1"),
        ({"levels": 1, "rate": "0.2"}, "rate = '0.2'"),
        ({"levels": 1, "target": "600"}, "'600' is neither a density"),
        ({"levels": 1, "schedule": 0.5}, "schedule = 0.5"),
        ({"levels": 1, "selection": "conv"}, "selection = 'conv'"),
        ({"levels": 1, "score": lambda candidate: None, "rate": 0.5}, "returned None for"),
    ],
)
def test_words_of_a_wrong_kind_are_refused_in_words(words, complaint):
    with pytest.raises(PruningError, match=complaint):
        imp(net("dense"), lambda model: None, **words)


@pytest.mark.parametrize("train", [None, 3])
def test_a_training_that_cannot_be_called_is_refused(train):
    with pytest.raises(PruningError, match="train is a function"):
        imp(net("dense"), train, levels=1)


def test_what_is_no_model_is_refused():
    with pytest.raises(PruningError, match=r"a model is an nn\.Module; this is a str"):
        imp("model", train, levels=1)


@pytest.mark.parametrize("pattern", ["include", "exclude", "kinds"])
def test_a_word_in_the_place_of_a_tuple_of_words_is_refused(pattern):
    with pytest.raises(PruningError, match="this must be a tuple"):
        Selection(**{pattern: "dense"})


def test_whole_numbers_of_numpy_are_as_good_as_ints(tmp_path):
    tickets = imp(net("dense"), train, levels=np.int64(2), seed=np.int64(1), target=np.int64(30), store=tmp_path)
    assert [operator.index(ticket.level) for ticket in tickets] == [0, 1, 2]
    assert tickets[-1].left == 30


def test_a_store_refuses_a_function_without_a_name(tmp_path):
    with pytest.raises(PruningError, match="one lambda from another"):
        imp(net("dense"), train, levels=1, score=lambda candidate: candidate.final, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_lazy_layer_anywhere_is_refused_until_it_has_seen_data():
    model = nn.Sequential(nn.Linear(4, 3), nn.LazyBatchNorm1d(), nn.Linear(3, 2))
    with pytest.raises(PruningError, match="not initialised yet"):
        imp(model, train, levels=1)
    model(torch.ones(2, 4))
    assert len(imp(model, lambda model: None, levels=1, scope="layerwise")) == 2


def test_what_is_pruned_already_may_be_nan():
    model = nn.Linear(8, 8)
    prune(model, 0.5)
    with torch.no_grad():
        model.weight_orig[~model.weight_mask] = float("nan")
    assert prune(model, 0.5)["weight"].left == 16


@pytest.mark.parametrize("rewind", ["init", "none", 2])
@pytest.mark.parametrize("broken", [0, 1])
def test_a_training_that_was_broken_off_can_be_prepared_again(broken, rewind):
    def found(broken):
        model, rewinder = net("normalised"), Rewinder(at=rewind) if rewind == 2 else rewind
        descent, tickets = Descent("imp", [model], Search(levels=2, rewind=rewinder)), []
        counting = rewinder if rewind == 2 else None
        while not descent.finished:
            if descent.level == broken:
                descent.prepare()
                train(model, rewinder=counting, number=1)
            descent.prepare()
            train(model, rewinder=counting)
            tickets += descent.finish([None])
        return [(all_bits(t.masks), all_bits(t.weights), all_bits(t.trained)) for t in tickets]

    assert found(broken) == found(None)
