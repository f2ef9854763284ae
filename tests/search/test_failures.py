"""Searches of which some models diverge: the others go on as if they were alone."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from lthprune.errors import DivergedWarning, PruningError, StorageError
from lthprune.search.collection import Tickets
from lthprune.search.drivers import imp, osp
from lthprune.search.failures import Diverged, Failure
from lthprune.search.joining import split_off
from lthprune.search.retraining import retrain_levels
from lthprune.search.rewinding import Rewinder
from lthprune.search.store import TicketStore
from lthprune.search.trainings import Level
from tests.nets import all_bits

pytestmark = pytest.mark.filterwarnings("ignore::lthprune.errors.DivergedWarning")
DRIVERS = {"imp": imp, "osp": osp}
WHY = Diverged(step=7, lr=0.5, reason="the training loss is NaN")


class KilledError(Exception):
    """The process ends here."""


def nets(number: int = 3) -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)) for _ in range(number)]


def training(
    diverges: dict[int, int], *, dies_at: int | None = None, rewinder: Rewinder | None = None
) -> Callable[[list[nn.Module], Level], list[Any]]:
    """Return a training of three steps whose models diverge at the level given for their trial."""

    def train(models: list[nn.Module], level: Level) -> list[Any]:
        if level.number == dies_at:
            raise KilledError
        return [one(model, trial, level) for model, trial in zip(models, level.trials, strict=True)]

    def one(model: nn.Module, trial: int, level: Level) -> Any:
        generator = torch.Generator().manual_seed(trial)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(level.start, 3):
            if diverges.get(trial) == level.number:
                with torch.no_grad():
                    next(model.parameters()).fill_(math.nan)
                return WHY
            optimizer.zero_grad()
            model(torch.randn(8, 5, generator=generator)).square().mean().backward()
            optimizer.step()
            if rewinder is not None:
                rewinder.step(model)
        return {"trial": trial}

    return train


def bits(tickets: Tickets) -> list[Any]:
    return [[all_bits(each) for each in (ticket.masks, ticket.weights, ticket.trained)] for ticket in tickets]


@pytest.mark.parametrize("rewind", ["init", "none", 2])
@pytest.mark.parametrize("driver", ["imp", "osp"])
@pytest.mark.parametrize("diverges", [{1: 0}, {1: 2}, {0: 1, 2: 1}], ids=str)
def test_the_models_that_go_on_end_with_the_bits_of_a_search_in_which_all_do(
    driver: str, rewind: Any, diverges: dict[int, int]
) -> None:
    def search(diverges: dict[int, int]) -> list[Tickets]:
        rewinder = Rewinder(at=rewind) if isinstance(rewind, int) else None
        train = training(diverges, rewinder=rewinder)
        return DRIVERS[driver](nets(), train, levels=3, rate=0.3, score="random", rewind=rewinder or rewind)  # type: ignore[return-value]

    found, whole = search(diverges), search({})
    for trial in range(3):
        assert len(found[trial]) == diverges.get(trial, 4)
        assert bits(found[trial]) == bits(whole[trial])[: len(found[trial])]


@pytest.mark.parametrize("dies_at", range(4))
def test_a_search_that_is_resumed_goes_on_with_the_models_that_are_left(tmp_path: Path, dies_at: int) -> None:
    diverges, words = {0: 0, 2: 2}, {"levels": 3, "rate": 0.3}
    with pytest.raises(KilledError):
        imp(nets(), training(diverges, dies_at=dies_at), store=tmp_path, **words)  # type: ignore[call-overload]
    resumed = imp(nets(), training(diverges), store=tmp_path, **words)  # type: ignore[call-overload]
    assert [bits(each) for each in resumed] == [bits(each) for each in imp(nets(), training(diverges), **words)]  # type: ignore[call-overload]
    assert [len(each) for each in resumed] == [0, 4, 2]
    assert TicketStore(tmp_path).failures == (Failure.of(WHY, 0, 0), Failure.of(WHY, 2, 2))
    with pytest.raises(StorageError, match="the stored search has 3 models; this one is given 2"):
        imp(nets(2), training({}), store=tmp_path, **words)  # type: ignore[call-overload]


def test_an_optimiser_of_all_models_is_rewound_for_those_that_go_on() -> None:
    models = nets()
    optimizer = torch.optim.SGD([each for model in models for each in model.parameters()], lr=0.1, momentum=0.9)
    first, last = (next(models[place].parameters()) for place in (0, 2))
    for number, parameter in enumerate((first, last)):
        optimizer.state[parameter]["momentum_buffer"] = torch.full_like(parameter, number)
    momenta: list[Any] = []

    def train(models: list[nn.Module], level: Level) -> list[Any]:
        momenta.append(optimizer.state[last]["momentum_buffer"].unique().tolist())
        optimizer.state[last]["momentum_buffer"] = torch.full_like(last, 7)
        return training({0: 0})(models, level)

    imp(models, train, levels=2, rewind=Rewinder(optimizer=optimizer))
    assert momenta == [[1], [1], [1]]


def test_the_store_of_one_trial_ends_where_its_training_diverged(tmp_path: Path) -> None:
    imp(nets(), training({1: 2}), levels=3, store=tmp_path / "whole")
    whole = TicketStore(tmp_path / "whole")
    for trial in range(3):
        part = TicketStore(tmp_path / f"{trial}")
        split_off(whole, trial, part)
        assert part.finished == (2 if trial == 1 else 4)
        assert part.ended == ("the training of every trial diverged" if trial == 1 else None)
        assert part.failures == ((Failure.of(WHY, 1, 2),) if trial == 1 else ())


def test_a_search_warns_of_a_model_that_diverges_with_trial_level_step_and_learning_rate() -> None:
    with pytest.warns(DivergedWarning, match="trial 1 diverged at level 2, step 7, learning rate 0.5: the"):
        imp(nets(), training({1: 2}), levels=2)


def test_a_single_model_that_diverges_ends_its_search() -> None:
    (model,) = nets(1)
    train = training({0: 2})
    tickets = imp(model, lambda model, level: train([model], level)[0], levels=4)
    assert [ticket.level for ticket in tickets] == [0, 1]


def test_a_search_of_which_all_models_diverge_ends_and_is_not_trained_again(tmp_path: Path) -> None:
    found = imp(nets(), training({0: 1, 1: 1, 2: 0}), levels=3, store=tmp_path)
    assert [len(each) for each in found] == [1, 1, 0]
    assert TicketStore(tmp_path).ended == "the training of every trial diverged"
    again = imp(nets(), training({}, dies_at=1), levels=3, store=tmp_path)
    assert [bits(each) for each in again] == [bits(each) for each in found]


def test_weights_that_are_not_finite_are_refused_with_the_trial_and_the_level_when_masks_are_chosen() -> None:
    def train(models: list[nn.Module], level: Level) -> None:
        if level.number == 1:
            with torch.no_grad():
                models[2][0].weight.fill_(math.nan)  # type: ignore[index,union-attr,operator]

    with pytest.raises(PruningError, match=r"trial 2, trained at level 1: '0.weight': some weights are NaN"):
        imp(nets(), train, levels=3)


def test_models_that_are_left_behind_have_the_final_form() -> None:
    models = nets(2)
    imp(models, training({1: 1}), levels=2)
    assert [prune.is_pruned(model) for model in models] == [True, True]
    assert len(copy.deepcopy(models[1])(torch.zeros(1, 5))) == 1


def test_retraining_leaves_out_models_without_a_ticket_and_those_that_diverge() -> None:
    first, second = imp(nets(2), training({}), levels=2, rate=0.3)
    starts = [[first[0], second[0]], [first[1], None], [first[2], second[2]]]
    failures: list[Failure] = []
    levels = list(retrain_levels(nets(2), training({1: 0}), starts, levels=2, on_failure=failures.append))
    assert [[ticket.trial for ticket in level] for level in levels] == [[0], [0], [0, 1]]
    assert failures == [Failure.of(WHY, 1, 0)]
    assert list(retrain_levels(nets(2), training({0: 0, 1: 0}), starts, levels=2)) == []
