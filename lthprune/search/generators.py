"""Searches as generators: each level's ticket as soon as it is found."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

from torch import nn

from lthprune.search.descent import Descent
from lthprune.search.failures import OnFailure
from lthprune.search.settings import Search
from lthprune.search.store import Stored
from lthprune.search.tickets import Ticket
from lthprune.search.trainings import Train, call_training, models_of


@overload
def imp_levels(
    model: nn.Module,
    train: Train,
    search: Search,
    stored: Stored | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Ticket]: ...
@overload
def imp_levels(
    model: Sequence[nn.Module],
    train: Train,
    search: Search,
    stored: Stored | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[tuple[Ticket, ...]]: ...
def imp_levels(
    model: nn.Module | Sequence[nn.Module],
    train: Train,
    search: Search,
    stored: Stored | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Ticket] | Iterator[tuple[Ticket, ...]]:
    """Search by iterative magnitude pruning and yield each level's ticket as it is found.

    Args:
        model: the dense model, or a list of models of one architecture (a population).
        train: ``train(model)`` or ``train(model, level)`` trains the model, or the list, in place; may return metrics,
            for a list one dict for each. See [`Level`][lthprune.search.Level].
        search: levels, schedule, pruning, rewinding.
        stored: the state of an interrupted search, to continue it with the models of its trials.
        on_failure: called with each model whose training diverged.

    Yields:
        The ticket of level 0, 1, ...; for a population a tuple of tickets, one for each model whose trainings have not
        diverged. Ends when all have.
    """
    return _levels("imp", model, train, search, stored, on_failure)


@overload
def osp_levels(
    model: nn.Module,
    train: Train,
    search: Search,
    stored: Stored | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Ticket]: ...
@overload
def osp_levels(
    model: Sequence[nn.Module],
    train: Train,
    search: Search,
    stored: Stored | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[tuple[Ticket, ...]]: ...
def osp_levels(
    model: nn.Module | Sequence[nn.Module],
    train: Train,
    search: Search,
    stored: Stored | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Ticket] | Iterator[tuple[Ticket, ...]]:
    """Search by one-shot pruning; as ``imp_levels``, but every level is pruned from the dense network."""
    return _levels("osp", model, train, search, stored, on_failure)


def _levels(
    driver: str,
    model: nn.Module | Sequence[nn.Module],
    train: Train,
    search: Search,
    stored: Stored | None,
    on_failure: OnFailure | None,
) -> Iterator[Any]:
    descent = Descent(driver, models_of(model, train), search, stored)
    del stored  # its initial weights, which the models have now
    known = 0
    while not descent.finished:
        descent.prepare()
        single = isinstance(model, nn.Module)
        returned = call_training(train, model if single else descent.models, descent.current)
        tickets = descent.finish([returned] if single else returned)
        for failure in descent.failures[known:]:
            if on_failure is not None:
                on_failure(failure)
        known = len(descent.failures)
        if tickets:
            yield tickets[0] if single else tickets
        if descent.finished:
            descent.end()
