"""The arguments of a search: all of them visible, each with one default."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

import lthprune
from lthprune.integrations.repeated import RepeatedTraining
from lthprune.pruning import Pruning, score_named
from lthprune.search import PruneSpec, Search


def keywords(function: Callable[..., Any]) -> dict[str, object]:
    """The keyword-only arguments of a function and their defaults."""
    parameters = inspect.signature(function).parameters.items()
    return {name: parameter.default for name, parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("driver", [lthprune.imp, lthprune.osp])
def test_every_signature_of_a_driver_lists_all_its_arguments_with_types_and_defaults(driver):
    assert list(inspect.signature(driver).parameters)[:2] == ["model", "train"]
    for signature in (driver, *typing.get_overloads(driver)):
        parameters = inspect.signature(signature).parameters.values()
        assert keywords(signature) == keywords(driver)
        assert all(each.annotation is not each.empty and each.kind is not each.VAR_KEYWORD for each in parameters)
    assert len(typing.get_overloads(driver)) == 2
    assert [name for name, default in keywords(driver).items() if default is inspect.Parameter.empty] == ["levels"]


def test_an_option_has_one_default_wherever_it_can_be_given():
    options, callbacks = keywords(lthprune.imp), keywords(RepeatedTraining)
    assert options == keywords(lthprune.osp)
    assert callbacks.items() <= options.items()
    assert options.keys() - callbacks.keys() == {"form", "final_form", "progress"}
    pruning, search, table = Pruning(), Search(levels=0), PruneSpec(levels=0, rate=0.2)
    assert pruning.score == table.pruning().score == score_named(options["score"])
    assert pruning.score == score_named(keywords(lthprune.prune)["score"])
    for name in ("scope", "bias", "min_survivors"):
        assert options[name] == getattr(pruning, name) == getattr(table.pruning(), name), name
        assert keywords(lthprune.prune)[name] == options[name], name
    for name in ("rewind", "seed", "form", "final_form"):
        assert options[name] == getattr(search, name), name
    assert table.rewind == options["rewind"]
    assert table.pruning().selection == pruning.selection


def test_the_provenance_holds_every_option_that_decides_the_tickets():
    decisive = {each.name for each in (*fields(Search), *fields(Pruning))} - {"pruning", "form", "final_form"}
    assert Search(levels=2).provenance("imp").keys() == decisive | {"driver"}
