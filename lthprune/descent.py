"""The search for tickets: iterative magnitude pruning (IMP) and one-shot pruning (OSP), level by level.

Both are one descent. They differ in the ticket that the next masks are chosen from: IMP takes the one before, OSP
always the dense network, which it prunes to the very counts that IMP reaches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import torch
from torch import nn

from lthprune.arguments import check_module, described, whole_number
from lthprune.errors import PruningError, StorageError
from lthprune.masks import Masks
from lthprune.pruning import Pruning, choose_masks, current_masks, write_masks
from lthprune.rewinding import Rewind, Rewinder, rewinder_for
from lthprune.schedules import Geometric, Schedule
from lthprune.scores import name_of
from lthprune.seeds import Seeds
from lthprune.state import State, check_fit, live_state, refresh, restore, snapshot
from lthprune.store import Stored
from lthprune.tickets import Metrics, Ticket, check_metrics

Train = Callable[[Any], Any]


@dataclass(frozen=True)
class Search:
    """What to search for: how many levels, on which schedule, how to prune and how to rewind.

    ``seed`` is the root seed of scores that draw.
    """

    levels: int
    schedule: Schedule = field(default_factory=lambda: Geometric(0.2))
    pruning: Pruning = field(default_factory=Pruning)
    rewind: Rewind | Rewinder = "init"
    seed: int = 0

    def __post_init__(self) -> None:
        rewinder_for(self.rewind)
        for name in ("levels", "seed"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))

    def provenance(self, driver: str) -> dict[str, Any]:
        """Return where this search's tickets come from, in words fit for a file."""
        return {
            "driver": driver,
            "levels": self.levels,
            "schedule": repr(self.schedule),
            "scope": self.pruning.scope,
            "score": name_of(self.pruning.score),
            "bias": self.pruning.bias,
            "min_survivors": self.pruning.min_survivors,
            "selection": self.pruning.selection.describe(),
            "rewind": str(self.rewind),
            "seed": self.seed,
        }


@overload
def imp_levels(model: nn.Module, train: Train, search: Search, stored: Stored | None = None) -> Iterator[Ticket]: ...
@overload
def imp_levels(
    model: Sequence[nn.Module], train: Train, search: Search, stored: Stored | None = None
) -> Iterator[tuple[Ticket, ...]]: ...
def imp_levels(
    model: nn.Module | Sequence[nn.Module], train: Train, search: Search, stored: Stored | None = None
) -> Iterator[Ticket] | Iterator[tuple[Ticket, ...]]:
    """Search by iterative magnitude pruning and yield each level's ticket as it is found.

    Args:
        model: the dense model, or a list of models of one architecture (a population).
        train: trains the model, or the list, in place; may return metrics, for a list one dict for each.
        search: levels, schedule, pruning, rewinding.
        stored: where to go on, of a search that was broken off.

    Yields:
        The ticket of level 0, 1, ...; for a population a tuple of tickets, one for each model.
    """
    return _levels("imp", model, train, search, stored)


@overload
def osp_levels(model: nn.Module, train: Train, search: Search, stored: Stored | None = None) -> Iterator[Ticket]: ...
@overload
def osp_levels(
    model: Sequence[nn.Module], train: Train, search: Search, stored: Stored | None = None
) -> Iterator[tuple[Ticket, ...]]: ...
def osp_levels(
    model: nn.Module | Sequence[nn.Module], train: Train, search: Search, stored: Stored | None = None
) -> Iterator[Ticket] | Iterator[tuple[Ticket, ...]]:
    """Search by one-shot pruning; as ``imp_levels``, but every level is pruned from the dense network."""
    return _levels("osp", model, train, search, stored)


def models_of(model: object, train: object) -> list[nn.Module]:
    """Return the models to search, one or a list of them, or refuse what is no model or no training function."""
    models: list[Any] = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
    if callable(model) and not isinstance(model, nn.Module) and isinstance(train, nn.Module | Sequence):
        raise PruningError(
            f"the model is {described(model)} and train {described(train)}: the two look swapped. The model comes "
            "first, as in imp(model, train, levels=12)."
        )
    for each in models:
        check_module(each)
    if not callable(train):
        raise PruningError(f"train is a function that trains the model; this is {described(train)}.")
    return models


def plan_search(models: Sequence[nn.Module], search: Search) -> list[tuple[int, ...]]:
    """Return the counts per level and pool, or refuse what cannot be searched; nothing is changed.

    Raises:
        PruningError: the models are no population, or the pruning or schedule does not fit them.
    """
    if not models:
        raise PruningError("there is no model to prune: the list is empty.")
    for model in models:
        search.pruning.tensors(model)
    states = [live_state(model) for model in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise PruningError("the models of a population share one architecture; these differ in names or shapes.")
    tensors = {id(tensor) for state in states for tensor in state.values()}
    if len(tensors) < sum(len({id(tensor) for tensor in state.values()}) for state in states):
        raise PruningError("models of the population share parameters; each needs parameters of its own.")
    return search.pruning.plan(models[0], search.schedule, search.levels)


def _levels(
    driver: str, model: nn.Module | Sequence[nn.Module], train: Train, search: Search, stored: Stored | None
) -> Iterator[Any]:
    models = models_of(model, train)
    if isinstance(model, nn.Module):
        for (ticket,) in _descend(driver, models, lambda models: [train(models[0])], search, stored):
            yield ticket
    else:
        yield from _descend(driver, models, train, search, stored)


def _descend(
    driver: str, models: list[nn.Module], train: Train, search: Search, stored: Stored | None
) -> Iterator[tuple[Ticket, ...]]:
    rewinder = rewinder_for(search.rewind)
    dense, last = (stored.dense, stored.last) if stored else ((), ())
    if stored is not None:
        _take_up(models, stored, rewinder)
    plan = plan_search(models, search)
    if rewinder is not None:
        rewinder.watch(*models)
        for model, ticket in zip(models, dense, strict=False):
            rewinder.adopt(model, ticket.weights)
    initial = [snapshot(model) for model in models]
    for level in range(last[0].level + 1 if last else 0, search.levels + 1):
        masks = [_masks_in(search, model) for model in models]
        if dense and last:
            sources = last if driver == "imp" else dense
            masks = [
                _masks_after(search, model, source, plan[level], initial[trial], trial)
                for trial, (model, source) in enumerate(zip(models, sources, strict=True))
            ]
            for model, source, mask in zip(models, sources, masks, strict=True):
                restore(model, source.trained)  # the state that a resumed search starts from, too
                write_masks(search.pruning.tensors(model), mask)
            for model in models:
                if rewinder is not None:
                    rewinder.rewind(model)
                model.zero_grad(set_to_none=True)
        last = _trained(driver, models, train, search, rewinder, level, masks)
        dense = dense or last
        yield last


def _take_up(models: Sequence[nn.Module], stored: Stored, rewinder: Rewinder | None) -> None:
    """Bring models to where the stored search began, pruned further since or not; refuse before any is changed."""
    if len(stored.initial) != len(models):
        raise StorageError(f"the stored search has {len(stored.initial)} models; this one is given {len(models)}.")
    for model, state in zip(models, stored.initial, strict=True):
        check_fit(model, state, what="the stored initial state")
    if rewinder is not None and stored.dense:
        rewinder.check_resumable()
    for model, ticket in zip(models, stored.dense, strict=False):
        ticket.apply(model)
    for model, state in zip(models, stored.initial, strict=True):
        restore(model, state)


def _masks_in(search: Search, model: nn.Module) -> Masks:
    return current_masks(search.pruning.tensors(model))


def _masks_after(
    search: Search, model: nn.Module, source: Ticket, left: Sequence[int], initial: State, trial: int
) -> Masks:
    return choose_masks(
        search.pruning,
        search.pruning.pools(model),
        left,
        masks=source.masks,
        final=source.trained,
        initial=initial,
        generator=Seeds(search.seed).generator("mask", trial=trial, level=source.level),
    )


def _trained(
    driver: str,
    models: list[nn.Module],
    train: Train,
    search: Search,
    rewinder: Rewinder | None,
    level: int,
    masks: Sequence[Masks],
) -> tuple[Ticket, ...]:
    rewinds = rewinder is not None and rewinder.weights
    starts = [] if rewinds else [snapshot(model) for model in models]
    metrics = _metrics(train(models), len(models))
    for model, before in zip(models, masks, strict=True):
        _refuse_other_masks(before, _masks_in(search, model))
        refresh(model)
    return tuple(
        Ticket(
            level=level,
            masks=_masks_in(search, model),
            weights=rewinder.captured(model) if rewinder is not None and rewinds else starts[trial],
            trained=snapshot(model),
            metrics=metrics[trial],
            provenance=search.provenance(driver) | {"trial": trial},
        )
        for trial, model in enumerate(models)
    )


def _refuse_other_masks(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> None:
    """Masks are the search's: a loop that loads an old checkpoint or replaces a layer would let them grow."""
    changed = [name for name in before if name not in after or not torch.equal(before[name].cpu(), after[name].cpu())]
    if changed:
        raise PruningError(
            f"train() changed the masks of {', '.join(changed)}. It may not load weights with other masks (those of an "
            "earlier level), call prune.remove or replace layers."
        )


def _metrics(returned: object, trials: int) -> list[Metrics]:
    if returned is None:
        return [{} for _ in range(trials)]
    if not isinstance(returned, Sequence) or len(returned) != trials:
        raise PruningError(
            f"train() was given a list of {trials} models and returned {described(returned)}; "
            "return one dict of metrics for each model, or None."
        )
    return [check_metrics(metrics) for metrics in returned]
