"""The search for tickets: iterative magnitude pruning (IMP) and one-shot pruning (OSP), level by level.

Both are one descent. They differ in the ticket that the next masks are chosen from: IMP takes the one before, OSP
always the dense network, which it prunes to the very counts that IMP reaches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import torch
from torch import nn

from lthprune.arguments import check_module, check_word, described, whole_number
from lthprune.errors import PruningError, StorageError
from lthprune.forms import FORMS, Form, convert, write_masks
from lthprune.masks import Masks
from lthprune.projection import forget_interrupted
from lthprune.pruning import Pruning, choose_masks, current_masks
from lthprune.rewinding import Rewind, Rewinder, rewinder_for
from lthprune.schedules import Geometric, Schedule
from lthprune.scores import name_of
from lthprune.seeds import Seeds
from lthprune.state import (
    State,
    check_fit,
    first_names,
    live_state,
    masks_of,
    refresh,
    registered_buffers,
    restore,
    snapshot,
)
from lthprune.store import Stored
from lthprune.tickets import Metrics, Ticket, check_metrics
from lthprune.verification import TrainingCheck, moved_between

Train = Callable[[Any], Any]


@dataclass(frozen=True)
class Search:
    """What to search for: how many levels, on which schedule, how to prune and how to rewind.

    ``seed`` is the root seed of scores that draw. ``form`` is the form of the model in every training, ``final_form``
    the one in which the search leaves it; see [`convert`][lthprune.convert]. Tickets are the same in both.
    """

    levels: int
    schedule: Schedule = field(default_factory=lambda: Geometric(0.2))
    pruning: Pruning = field(default_factory=Pruning)
    rewind: Rewind | Rewinder = "init"
    seed: int = 0
    form: Form = "plain"
    final_form: Form = "torch"

    def __post_init__(self) -> None:
        rewinder_for(self.rewind)
        check_word("form", self.form, FORMS)
        check_word("final_form", self.final_form, FORMS)
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
    pools = [search.pruning.pools(model) for model in models]
    if any(each != pools[0] for each in pools):
        raise PruningError(
            "the models of a population are pruned side by side: they need the same prunable tensors with the same "
            "numbers of remaining weights, and these differ. Prune all alike before the search, or search each by "
            "itself."
        )
    return search.pruning.plan(models[0], search.schedule, search.levels)


def _levels(
    driver: str, model: nn.Module | Sequence[nn.Module], train: Train, search: Search, stored: Stored | None
) -> Iterator[Any]:
    descent = Descent(driver, models_of(model, train), search, stored)
    for level in range(descent.level, search.levels + 1):
        descent.prepare()
        if isinstance(model, nn.Module):
            (ticket,) = descent.finish([train(model)])
            yield ticket
        else:
            yield descent.finish(train(descent.models))
        if level == search.levels:
            descent.end()


class Descent:
    """A search level by level, for whoever calls the training: ``prepare``, a training, ``finish``, and again.

    Args:
        driver: ``"imp"`` or ``"osp"``.
        models: one model, or a population.
        search: levels, schedule, pruning, rewinding.
        stored: where to go on, of a search that was broken off.

    Raises:
        PruningError: the models or the search are refused; nothing is changed then.

    Attributes:
        level: the level that is trained next.

    Examples:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> descent = Descent("imp", [model], Search(levels=2))
        >>> while not descent.finished:
        ...     descent.prepare()
        ...     # the training of level descent.level
        ...     (ticket,) = descent.finish([None])
        >>> ticket.left
        102
    """

    def __init__(self, driver: str, models: Sequence[nn.Module], search: Search, stored: Stored | None = None) -> None:
        if torch.is_inference_mode_enabled():
            raise PruningError("a search trains, which torch.inference_mode does not allow. Call it outside.")
        self.models = list(models)
        self.level = 0
        self._driver, self._search = driver, search
        self._rewinder = rewinder_for(search.rewind)
        self._dense: tuple[Ticket, ...] = ()
        self._last: tuple[Ticket, ...] = ()
        if stored is not None:
            _take_up(self.models, stored, self._rewinder)
            self._dense, self._last = stored.dense, stored.last
            self.level = self._last[0].level + 1 if self._last else 0
        self._plan = plan_search(self.models, search)
        for model in self.models:
            convert(model, search.form)
        if self._rewinder is not None:
            self._rewinder.watch(*self.models)
            for model, ticket in zip(self.models, self._dense, strict=False):
                self._rewinder.adopt(model, ticket.weights)
        captures = self._rewinder is not None and self._rewinder.at == 0  # the very state: one copy serves both
        self._initial = [
            self._rewinder.captured(model) if captures and self._rewinder else snapshot(model) for model in self.models
        ]
        self._registered = [registered_buffers(model) for model in self.models]
        self._modes = [(module, module.training) for model in self.models for module in model.modules()]
        self._trainable = [(each, each.requires_grad) for model in self.models for each in model.parameters()]
        self._graded = False
        self._masks: list[Masks] = []
        self._checks: list[TrainingCheck] = []
        self._starts: list[State] = []

    @property
    def finished(self) -> bool:
        """Whether all levels are trained."""
        return self.level > self._search.levels

    def prepare(self) -> None:
        """Give the models the masks and the weights that the training of this level starts from.

        A training that was broken off can be prepared again: it then starts from the same masks and weights.
        """
        forget_interrupted()
        for module, training in self._modes:
            module.training = training
        for parameter, trainable in self._trainable:
            parameter.requires_grad_(trainable)
        if self._checks and not self._dense:
            self._restart()
        self._masks = [current_masks(self._search.pruning.tensors(model)) for model in self.models]
        if self._dense and self._last:
            sources = self._last if self._driver == "imp" else self._dense
            self._masks = [
                self._chosen(trial, model, source)
                for trial, (model, source) in enumerate(zip(self.models, sources, strict=True))
            ]
            for trial, (model, source) in enumerate(zip(self.models, sources, strict=True)):
                registered = self._registered[trial] | source.trained.keys()
                restore(
                    model, source.trained, registered=registered
                )  # the state that a resumed search starts from, too
        if self._dense or self._search.form == "plain":  # a plain model has its hooks before it is compiled
            for model, masks in zip(self.models, self._masks, strict=True):
                write_masks(model, masks, self._search.form)
        if self._dense:
            for model in self.models:
                if self._rewinder is not None:
                    self._rewinder.rewind(model)
                model.zero_grad(set_to_none=True)
        rewinds = self._rewinder is not None and self._rewinder.weights
        self._starts = [] if rewinds else [snapshot(model) for model in self.models]
        self._checks = [
            TrainingCheck(model, self._search.pruning.tensors(model), masks)
            for model, masks in zip(self.models, self._masks, strict=True)
        ]

    def finish(self, metrics: object) -> tuple[Ticket, ...]:
        """Verify the training of this level and return its tickets, one for each model.

        Args:
            metrics: a list of what each model's training is to be remembered by, a dict or None; or None.

        Raises:
            PruningError: the metrics cannot be kept, or the training was not one of these models with these masks.
        """
        checked = _metrics(metrics, len(self.models))
        tickets = tuple(self._ticket(trial, checked[trial]) for trial in range(len(self.models)))
        self._dense, self._last = self._dense or tickets, tickets
        self.level += 1
        return tickets

    def end(self) -> None:
        """Leave the models in the form in which the search is to end."""
        for model in self.models:
            convert(model, self._search.final_form)

    def _restart(self) -> None:
        """Go back to before the dense training, which was broken off."""
        for model, state, registered in zip(self.models, self._initial, self._registered, strict=True):
            restore(model, state, registered=registered)
            model.zero_grad(set_to_none=True)
        if self._rewinder is not None:
            self._rewinder.watch(*self.models)

    def _chosen(self, trial: int, model: nn.Module, source: Ticket) -> Masks:
        return choose_masks(
            self._search.pruning,
            self._search.pruning.pools(model),
            self._plan[self.level],
            masks=source.masks,
            final=source.trained,
            initial=self._initial[trial],
            generator=Seeds(self._search.seed).generator("mask", trial=trial, level=source.level),
        )

    def _start(self, trial: int) -> State:
        """Return the weights that this training started from."""
        return self._starts[trial] if self._starts else self._rewinder.captured(self.models[trial])  # type: ignore[union-attr]

    def _ticket(self, trial: int, metrics: Metrics) -> Ticket:
        """Verify a model's training and return the ticket that came of it."""
        model, start, initial = self.models[trial], self._start(trial), self._initial[trial]
        moved = moved_between(initial, self._dense[trial].trained) if self._dense else frozenset()
        self._graded |= self._checks[trial].finish(start, moved, graded=self._graded)
        refresh(model)
        trained = snapshot(model)
        return Ticket(
            level=self.level,
            masks=self._masks[trial],
            weights=start,
            trained=trained,
            metrics=metrics,
            provenance=self._search.provenance(self._driver) | {"trial": trial},
            late_buffers=tuple(name for name in trained | start if name not in initial),
            tied={name: own for name, own in first_names(model).items() if name != own and own in self._masks[trial]},
        )


def _take_up(models: Sequence[nn.Module], stored: Stored, rewinder: Rewinder | None) -> None:
    """Bring models to where the stored search began, pruned further since or not; refuse before any is changed."""
    if len(stored.initial) != len(models):
        raise StorageError(f"the stored search has {len(stored.initial)} models; this one is given {len(models)}.")
    for model, state in zip(models, stored.initial, strict=True):
        check_fit(model, state, what="the stored initial state")
    if rewinder is not None and stored.dense:
        rewinder.check_resumable()
    before = stored.masks or tuple({} for _ in models)
    for model, state, masks in zip(models, stored.initial, before, strict=True):
        write_masks(model, {name: torch.ones_like(mask) for name, mask in masks_of(model).items()} | masks, "plain")
        restore(model, state)


def _metrics(returned: object, trials: int) -> list[Metrics]:
    if returned is None:
        return [{} for _ in range(trials)]
    if not isinstance(returned, Sequence) or len(returned) != trials:
        raise PruningError(
            f"train() was given a list of {trials} models and returned {described(returned)}; "
            "return one dict of metrics for each model, or None."
        )
    return [check_metrics(metrics) for metrics in returned]
