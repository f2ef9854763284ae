"""What a search hands to training functions."""

from functools import partial

import pytest

import lthprune
from lthprune.errors import PruningError
from lthprune.pruning import Pruning
from lthprune.search import Descent, Level, Search
from tests.nets import net, refused

either = pytest.mark.parametrize("driver", [lthprune.imp, lthprune.osp])


@either
def test_a_training_function_with_a_second_argument_is_given_its_level(driver):
    given = []

    def train(model, level: Level) -> None:
        given.append(level)

    tickets = driver(net("dense"), train, levels=3, rate=0.5, scope="layerwise")
    assert [(each.number, each.levels, each.start) for each in given] == [(0, 3, 0), (1, 3, 0), (2, 3, 0), (3, 3, 0)]
    assert [each.density for each in given] == [ticket.density for ticket in tickets]


def test_the_step_to_start_from_is_that_of_the_rewinder_after_the_first_training():
    rewinder, starts = lthprune.Rewinder(at=2), []

    def train(models, level):
        starts.append(level.start)
        for _ in range(level.start, 4):
            rewinder.step()

    lthprune.imp([net("dense"), net("dense", seed=1)], train, levels=2, rate=0.5, rewind=rewinder)
    assert starts == [0, 2, 2]


@pytest.mark.parametrize(
    "train",
    [
        lambda model: {"given": 0.0},
        lambda model, epochs=3: {"given": float(epochs != 3)},
        lambda model, *rest: {"given": float(bool(rest))},
        partial(lambda data, model: {"given": 0.0}, None),
    ],
)
def test_a_training_function_without_a_second_argument_of_need_is_given_the_model_alone(train):
    assert [ticket.metrics["given"] for ticket in lthprune.imp(net("dense"), train, levels=1)] == [0, 0]


@pytest.mark.parametrize(
    "train",
    [
        lambda model, level=None: {"level": level.number},
        lambda model, *, level: {"level": level.number},
        lambda model, data=3, level=None: {"level": level.number, "data": data},
        partial(lambda model, data, level: {"level": level.number}, data=[1]),
        lambda model, lvl: {"level": lvl.number},
    ],
)
def test_an_argument_named_level_or_a_second_one_without_default_receives_the_level(train):
    assert [ticket.metrics["level"] for ticket in lthprune.imp(net("dense"), train, levels=1)] == [0, 1]


def test_a_level_that_is_bound_already_is_left_as_it_is():
    train = partial(lambda model, level: {"level": level}, level=7)
    assert [ticket.metrics["level"] for ticket in lthprune.imp(net("dense"), train, levels=1)] == [7, 7]


def test_a_descent_tells_the_level_only_while_one_is_prepared():
    descent = Descent("imp", [net("dense")], Search(levels=1, pruning=Pruning("layerwise")))
    for number, density in enumerate((1.0, 0.8)):
        with pytest.raises(PruningError, match="call prepare"):
            _ = descent.current
        descent.prepare()
        assert (descent.current.number, round(descent.current.density, 1)) == (number, density)
        descent.finish(None)


@pytest.mark.parametrize("train", [lambda model, data, epochs: None, lambda model, *, data: None])
def test_a_training_function_that_needs_more_arguments_is_refused_before_anything_is_trained(train):
    with refused(r"a search calls train\(model\) or train\(model, level\).*functools.partial", model := net("dense")):
        lthprune.imp(model, train, levels=1)
