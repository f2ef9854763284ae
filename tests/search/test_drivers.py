"""The searches: iterative and one-shot pruning."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from lthprune.errors import LayerCollapseWarning, PruningError
from lthprune.pruning.pruner import Pruning, prune
from lthprune.pruning.ranking import keep_highest_by_sorting
from lthprune.pruning.scores import magnitude
from lthprune.pruning.selection import Selection
from lthprune.pruning.state import live_state, masks_of, restore, snapshot
from lthprune.search import imp_levels, osp_levels
from lthprune.search.drivers import imp, osp
from lthprune.search.rewinding import Rewinder
from lthprune.search.settings import Search
from tests import strategies
from tests.nets import all_bits, net, refused, train

pytestmark = pytest.mark.filterwarnings("ignore::lthprune.errors.LayerCollapseWarning")
DRIVERS = {"imp": imp, "osp": osp}
either = pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)


def as_found(tickets):
    return [(all_bits(t.masks), all_bits(t.weights), all_bits(t.trained), t.metrics["sum"]) for t in tickets]


@st.composite
def searches(draw):
    """A model's architecture, how to prune it, for how many levels and on which schedule."""
    architecture = draw(strategies.architectures())
    pruning = Pruning(draw(strategies.scopes), bias=draw(strategies.biases))
    levels = draw(st.integers(1, 4))
    left = sum(pool.left for pool in pruning.pools(architecture.build()))
    return architecture, pruning, levels, draw(strategies.schedules(left, levels, one_rate=True))


@either
@given(search=searches())
def test_every_level_leaves_what_the_schedule_says_in_every_scope_and_masks_only_shrink(driver, search):
    architecture, pruning, levels, schedule = search
    model = architecture.build()
    pools = pruning.pools(model)
    plan = pruning.counts(model, schedule, levels)
    tickets = driver(model, train, levels=levels, scope=pruning.scope, bias=pruning.bias, schedule=schedule)
    for ticket, row in zip(tickets, plan, strict=True):
        assert [sum(int(ticket.masks[name].sum()) for name in pool.names) for pool in pools] == list(row)
    for above, below in pairwise(tickets):
        assert not any((below.masks[name] & ~above.masks[name]).any() for name in above.masks)


@either
@given(architecture=strategies.architectures(), at=st.integers(0, 3), scope=strategies.scopes)
def test_every_level_starts_from_the_rewound_weights_biases_and_buffers_to_the_bit(driver, architecture, at, scope):
    rewinder, starts = Rewinder(at), []
    twin = architecture.build()
    train(twin, number=at) if at else None

    def training(model):
        starts.append(all_bits(snapshot(model)))
        return train(model, rewinder=rewinder)

    tickets = driver(architecture.build(), training, levels=3, rate=0.3, scope=scope, rewind=rewinder)
    rewound = live_state(twin)
    for start, ticket in zip(starts[1:], tickets[1:], strict=True):
        assert all_bits(ticket.weights) == all_bits(rewound)
        kept = {name: tensor.detach().clone() for name, tensor in rewound.items()}
        for name, mask in ticket.masks.items():
            kept[name][~mask] = 0
        assert start == all_bits(kept)
    assert starts[0] == all_bits(live_state(architecture.build()))


@either
@pytest.mark.parametrize("rewind", ["lr", "none"])
def test_without_rewinding_a_level_starts_from_the_trained_weights_it_was_pruned_from(driver, rewind):
    tickets = driver(net("normalised"), train, levels=3, rate=0.3, rewind=rewind)
    for source, ticket in zip(tickets if driver is imp else [tickets[0]] * 3, tickets[1:], strict=False):
        masked = {name: tensor * ticket.masks.get(name, True) for name, tensor in source.trained.items()}
        for name, tensor in ticket.weights.items():
            assert tensor.equal(masked[name])


@either
def test_a_search_is_the_pseudo_code_of_the_paper(driver):
    model = net("mixed")
    initial, masks = snapshot(model), None
    names = [f"{layer}.weight" for layer in ("0.0", "1", "3", "5.0", "5.2")]
    expected = [{name: torch.ones_like(initial[name], dtype=torch.bool) for name in names}]
    train(model)
    dense = snapshot(model)
    for left in (139, 111, 89, 71):  # of 174, 20 % less each time
        final, held = (snapshot(model), expected[-1]) if driver is imp else (dense, expected[0])
        masks = keep_highest_by_sorting({name: final[name].abs() for name in names}, held, left)
        expected.append(masks)
        model = net("mixed")
        for name, mask in masks.items():
            torch_prune.custom_from_mask(model.get_submodule(name.removesuffix(".weight")), "weight", mask)
        train(model)
    tickets = driver(net("mixed"), train, levels=4)
    assert [all_bits(ticket.masks) for ticket in tickets] == [all_bits(each) for each in expected]
    assert all_bits(tickets[4].trained) == all_bits(snapshot(model))


@either
@given(architecture=strategies.architectures(), rewind=st.sampled_from(["init", "lr", "none"]))
def test_the_model_ends_as_the_last_ticket_trained(driver, architecture, rewind):
    model = architecture.build()
    tickets = driver(model, train, levels=2, rate=0.4, rewind=rewind)
    assert all_bits(snapshot(model)) == all_bits(tickets[-1].trained)
    assert all_bits(masks_of(model)) == all_bits(tickets[-1].masks)
    assert torch_prune.is_pruned(model)


@either
def test_lenet_is_down_to_600_weights_in_20_levels_exactly(driver):
    lenet = nn.Sequential(nn.Linear(784, 300), nn.Tanh(), nn.Linear(300, 100), nn.Tanh(), nn.Linear(100, 10))
    tickets = driver(lenet, lambda model: None, levels=20, target=600)
    assert (tickets[0].left, tickets[10].left, tickets[20].left) == (266_200, 12_638, 600)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ({}, [159, 127, 102]),
        ({"rate": 0.5}, [159, 79, 40]),
        ({"target": 0.25}, [159, 80, 40]),
        ({"schedule": [0.5, 10]}, [159, 79, 10]),
        ({"rate": 0.5, "scope": "layerwise"}, [159, 79, 39]),
        ({"rate": {"dense": 0.5, "output": 0.25, "3": 0}, "scope": "layerwise"}, [159, 106, 78]),
        ({"rate": 0.9, "scope": "layerwise", "min_survivors": 5}, [159, 20, 15]),
        ({"rate": 0.5, "selection": Selection(kinds=("output",))}, [21, 10, 5]),
        ({"rate": 0.5, "bias": "together"}, [175, 87, 44]),
        ({"rate": 0.5, "bias": "separate"}, [175, 87, 44]),
    ],
)
@either
def test_words_lead_to_counts(driver, words, left):
    model = net("dense")
    assert [ticket.left for ticket in driver(model, train, levels=2, **words)] == left
    assert sum(int(mask.sum()) for mask in masks_of(model).values()) == left[-1]


@either
@pytest.mark.parametrize("rewind", ["init", "none"])
def test_each_model_of_a_population_finds_the_tickets_it_finds_alone(driver, rewind):
    seen = []
    found = driver(
        [net("mixed", seed) for seed in range(3)],
        lambda models: [train(model) for model in models],
        levels=2,
        rate=0.4,
        rewind=rewind,
        on_level=seen.append,
    )
    assert [as_found(tickets) for tickets in found] == [
        as_found(driver(net("mixed", seed), train, levels=2, rate=0.4, rewind=rewind)) for seed in range(3)
    ]
    assert seen == list(zip(*found, strict=True))
    assert [tickets[1].provenance["trial"] for tickets in found] == [0, 1, 2]


@either
def test_chance_differs_between_trials_and_seeds_and_is_the_same_for_the_same(driver):
    def masks(seed):
        models = [net("dense") for _ in range(2)]
        found = driver(models, lambda models: None, levels=2, rate=0.5, score="random", seed=seed)
        return [[all_bits(ticket.masks) for ticket in tickets[1:]] for tickets in found]

    first = masks(0)
    assert first == masks(0)
    assert first != masks(1)
    assert first[0] != first[1]


def test_iterative_pruning_draws_chance_anew_at_every_level_and_one_shot_draws_once():
    iterative, at_once = (driver(net("dense"), train, levels=2, score="random") for driver in (imp, osp))
    assert all_bits(iterative[1].masks) == all_bits(at_once[1].masks)
    assert all_bits(iterative[2].masks) != all_bits(at_once[2].masks)


def test_a_score_that_compares_is_given_the_weights_from_before_the_first_training():
    initial, seen = snapshot(net("dense")), []

    def score(candidate):
        seen.append(torch.equal(candidate.initial, initial[candidate.name]))
        return magnitude(candidate)

    imp(net("dense"), train, levels=2, score=score, rewind="none")
    assert seen == [True] * 6


@either
def test_a_model_that_is_pruned_already_is_pruned_further(driver):
    model = net("dense")
    prune(model, 59)
    before = {name: mask.clone() for name, mask in masks_of(model).items()}
    tickets = driver(model, train, levels=2, rate=0.5)
    assert [ticket.left for ticket in tickets] == [100, 50, 25]
    assert not any((tickets[2].masks[name] & ~mask).any() for name, mask in before.items())


@pytest.mark.parametrize("levels", [imp_levels, osp_levels])
def test_a_search_can_be_stopped_at_any_level(levels):
    trained = []
    for ticket in levels(net("dense"), trained.append, Search(levels=100)):
        if ticket.level == 1:
            break
    assert len(trained) == 2


def test_a_ticket_says_where_it_comes_from():
    words = {"scope": "layerwise", "score": "movement", "bias": "separate", "min_survivors": 2, "seed": 3}
    ticket = osp(net("dense"), train, levels=1, rate=0.3, rewind=Rewinder(0), **words)[1]
    expected = words | {"driver": "osp", "levels": 1, "trial": 0}
    assert expected.items() <= ticket.provenance.items()
    assert "0.3" in ticket.provenance["schedule"]


def test_a_progress_bar_is_shown_where_it_is_asked_for(capsys):
    imp(net("dense"), train, levels=2)
    assert capsys.readouterr() == ("", "")
    imp(net("dense"), train, levels=2, progress=True)
    out, err = capsys.readouterr()
    assert (out, "imp: finished" in err) == ("", True)


@pytest.mark.filterwarnings("default")
def test_the_end_of_a_layer_is_announced_during_a_search():
    model = net("dense")
    nn.init.constant_(model[1].weight, 1e-9)
    with pytest.warns(LayerCollapseWarning, match=r"layer collapse at level 1: .*'1\.weight'") as caught:
        imp(model, lambda model: None, levels=1, target=30)
    assert [each.filename for each in caught if each.category is LayerCollapseWarning] == [__file__]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"levels": -1}, "levels = -1"),
        ({"rate": 1.0}, "less than 1"),
        ({"rate": 0.2, "target": 600}, "give one of rate, target and schedule"),
        ({"target": 160}, "at most the 159"),
        ({"target": 0.0}, "at least 1"),
        ({"schedule": [0.5, 0.4, 0.3]}, "lists 3 values for 2 levels"),
        ({"schedule": [0.5, 0.6]}, "masks only shrink"),
        ({"rate": {"dense": 0.2}, "scope": "layerwise"}, "no rate for 5.weight"),
        ({"rate": {"dense": 0.2, "output": 0.1}}, "scope='layerwise'"),
        ({"scope": "globl"}, "did you mean 'global'"),
        ({"score": "magnitud"}, "did you mean 'magnitude'"),
        ({"bias": "apart"}, "unknown bias"),
        ({"rewind": "inti"}, "unknown rewind 'inti'"),
        ({"selection": Selection(include=("fc",))}, "'fc' matches no"),
        ({"min_survivors": -1}, "min_survivors = -1: this must be a whole number, 0 or more"),
        ({"min_survivors": "3"}, "min_survivors = '3': this must be a whole number"),
        ({"levels": 2.5}, r"levels = 2\.5: this must be a whole number"),
        ({"levels": True}, "levels = True: this must be a whole number"),
        ({"rate": True}, "rate = True"),
        ({"target": True}, "True is neither a density"),
        ({"min_survivors": 20, "target": 50}, "Lower min_survivors"),
        ({"seed": -1}, "-1"),
        ({"seed": 0.5}, r"seed = 0\.5: this must be a whole number"),
    ],
)
@either
def test_what_cannot_be_searched_is_refused_before_anything_is_trained_or_written(tmp_path, driver, words, complaint):
    model, trained = net("dense"), []
    with refused(complaint, model, error=PruningError):
        driver(model, trained.append, **({"levels": 2, "store": tmp_path / "store"} | words))
    assert not trained
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("stored", [False, True])
@either
def test_what_is_no_model_or_no_training_function_is_refused_by_what_it_is(tmp_path, driver, stored):
    def network():
        return net("dense")

    words = {"levels": 1, "store": tmp_path / "store"}
    if stored:
        driver(net("dense"), train, **words)
    model = net("dense")
    for arguments, complaint in (
        ((network, train), "this is the function network. If it makes the model, call it"),
        ((nn.Linear, train), "this is the class Linear. If it makes the model, call it"),
        (([model, network], train), "this is the function network"),
        ((3, train), r"this is an int\.$"),
        (("net", train), r"this is a str\.$"),
        ((train, model), "the model is the function train and train a Sequential: the two look swapped"),
        ((train, [model]), "the two look swapped"),
        ((model, model.state_dict()), "train is a function that trains the model; this is an OrderedDict"),
    ):
        with refused(complaint, model, error=PruningError):
            driver(*arguments, **words)
    assert (tmp_path / "store").exists() == stored


twin = net("dense")


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        ([], "the list is empty"),
        ([net("dense"), net("mixed")], "need the same architecture"),
        ([twin, twin], "share parameters"),
        ([nn.Sequential(nn.LazyLinear(3))], "not initialised yet"),
        ([nn.Sequential(nn.ReLU())], "nothing to prune"),
    ],
)
@either
def test_a_population_that_is_none_is_refused(driver, models, complaint):
    with refused(complaint, *models, error=PruningError):
        driver(models, lambda models: pytest.fail("trained"), levels=1)


@pytest.mark.parametrize("returned", [{"acc": 0.9}, [{"acc": 0.9}], 0.9])
def test_a_population_returns_metrics_for_each_model_or_none(returned):
    with pytest.raises(PruningError, match="a list of 2 models"):
        imp([net("dense"), net("dense")], lambda models: returned, levels=0)
    assert imp([net("dense")], lambda models: None, levels=0)[0][0].metrics == {}


def test_a_rewind_point_that_is_never_reached_is_an_error_that_says_so():
    with pytest.raises(PruningError, match=r"step 9 was never reached.*made 0 steps.*rewinder\.step\(\)"):
        imp(net("dense"), train, levels=1, rewind=Rewinder(at=9))


def test_tickets_stay_what_they_were_while_the_search_goes_on():
    model, found = net("normalised"), []
    tickets = imp(model, train, levels=3, rate=0.3, on_level=lambda ticket: found.extend(as_found([ticket])))
    restore(model, snapshot(net("normalised", seed=9)))
    assert as_found(tickets) == found
