"""Training of given masks and weights, level by level, without a search: how controls are trained."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from torch import nn

from lthprune.errors import PruningError
from lthprune.pruning import Pruning, convert, forget_interrupted, refresh, snapshot
from lthprune.search.failures import Diverged, Failure, OnFailure
from lthprune.search.metrics import Metrics, metrics_of_trials
from lthprune.search.ranks import ranks_of
from lthprune.search.tickets import Ticket
from lthprune.search.trainings import Level, Train, call_training, models_of
from lthprune.search.verification import TrainingCheck


@overload
def retrain_levels(
    model: nn.Module,
    train: Train,
    starts: Iterable[Ticket],
    *,
    levels: int,
    start: int = 0,
    pruning: Pruning | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Ticket]: ...
@overload
def retrain_levels(
    model: Sequence[nn.Module],
    train: Train,
    starts: Iterable[Sequence[Ticket | None]],
    *,
    levels: int,
    start: int = 0,
    pruning: Pruning | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[tuple[Ticket, ...]]: ...
def retrain_levels(
    model: nn.Module | Sequence[nn.Module],
    train: Train,
    starts: Iterable[Any],
    *,
    levels: int,
    start: int = 0,
    pruning: Pruning | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Any]:
    """Train a model from each of some tickets, and yield the tickets with their trained weights and metrics.

    Every training is verified as that of a search is. The masks and weights of one training do not depend on another.

    Args:
        model: a model that the tickets fit, or a list of models of one architecture.
        train: as for ``imp_levels``.
        starts: the tickets to train from; for a list of models, one ticket for each model at every level, or None for a
            model that is not trained at that level.
        levels: the number of the last level, for training functions that ask for it.
        start: the step that training starts from, for training functions that ask for it.
        pruning: which tensors the tickets prune; by default ``Pruning()``.
        on_failure: called with each model whose training diverged.

    Yields:
        The trained ticket of each level; for a list of models a tuple of tickets, of those that were trained and did
        not diverge. Ends before the first level that has none.

    Raises:
        PruningError: a ticket prunes other tensors, or the training changed something that it must not change.
        StorageError: a ticket does not fit the model.

    Examples:
        >>> import torch
        >>> import lthprune
        >>> def train(model):
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ...     model(torch.ones(4)).sum().backward()
        ...     optimizer.step()
        >>> tickets = lthprune.imp(nn.Linear(4, 3), train, levels=2)
        >>> starts = [lthprune.search.reinitialised(ticket, nn.Linear(4, 3)) for ticket in tickets]
        >>> control = lthprune.Tickets(retrain_levels(nn.Linear(4, 3), train, starts, levels=2))
        >>> [ticket.left for ticket in control]
        [12, 10, 8]
    """
    models, pruning = models_of(model, train), pruning or Pruning()
    ranks = ranks_of(models)
    for each in models:
        convert(each, "plain")
    modes = [(module, module.training) for each in models for module in each.modules()]
    for given in starts:
        each_model = [given] if isinstance(model, nn.Module) else list(given)
        if len(each_model) != len(models):
            raise PruningError(
                f"each level needs one ticket for each of the {len(models)} models; one has {len(each_model)}."
            )
        pairs = [(own, ticket) for own, ticket in zip(models, each_model, strict=True) if ticket is not None]
        if not pairs:
            return
        forget_interrupted()
        for module, training in modes:
            module.training = training
        checks = [_begin(*pair, pruning) for pair in pairs]
        trained_models, tickets = ([*each] for each in zip(*pairs, strict=True))
        level = Level(tickets[0].level, levels, tickets[0].density, start, tuple(each.trial for each in tickets))
        returned = call_training(train, model if isinstance(model, nn.Module) else trained_models, level)
        with ranks.together():
            measured = metrics_of_trials([returned] if isinstance(model, nn.Module) else returned, len(pairs))
        agreed = ranks.agree(measured)
        with ranks.together():
            finished = [_finish(*each) for each in zip(trained_models, tickets, checks, agreed, strict=True)]
        for failed in (each for each in finished if isinstance(each, Failure)):
            if on_failure is not None:
                on_failure(failed)
        trained = [each for each in finished if isinstance(each, Ticket)]
        if not trained:
            return
        yield trained[0] if isinstance(model, nn.Module) else tuple(trained)


def _begin(model: nn.Module, ticket: Ticket, pruning: Pruning) -> TrainingCheck:
    """Give a model the ticket's masks and weights, and return the check of its training."""
    ticket.apply(model)
    model.zero_grad(set_to_none=True)
    tensors = pruning.tensors(model)
    if {tensor.name for tensor in tensors} != ticket.masks.keys():
        raise PruningError(
            f"the ticket of level {ticket.level} prunes {', '.join(ticket.masks)}; the model's prunable tensors are "
            f"{', '.join(tensor.name for tensor in tensors)}. Pass the pruning of the search that found it."
        )
    return TrainingCheck(model, tensors, ticket.masks)


def _finish(model: nn.Module, ticket: Ticket, check: TrainingCheck, metrics: Metrics | Diverged) -> Ticket | Failure:
    """Verify a training and return its ticket, or its failure if it diverged."""
    if isinstance(metrics, Diverged):
        check.end()
        return Failure.of(metrics, ticket.trial, ticket.level)
    check.finish(ticket.weights, frozenset())
    refresh(model)
    return Ticket(
        level=ticket.level,
        masks=ticket.masks,
        weights=ticket.weights,
        trained=snapshot(model),
        metrics=metrics,
        provenance=ticket.provenance,
        late_buffers=ticket.late_buffers,
        tied=ticket.tied,
    )
