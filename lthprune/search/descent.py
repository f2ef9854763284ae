"""The search for tickets: iterative magnitude pruning (IMP) and one-shot pruning (OSP), level by level.

IMP and OSP differ only in the ticket that the next masks are chosen from: IMP takes the previous level's, OSP always
the dense one, which it prunes to the counts that IMP reaches.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from lthprune.errors import PruningError, StorageError
from lthprune.memory import give_back_freed_memory
from lthprune.pruning import (
    WITHOUT_INITIAL,
    Masks,
    State,
    check_fit,
    choose_masks,
    convert,
    count,
    current_masks,
    first_names,
    forget_interrupted,
    live_state,
    masks_of,
    refresh,
    registered_buffers,
    restore,
    snapshot,
    write_masks,
)
from lthprune.search.lazy_states import Continued
from lthprune.search.metrics import Metrics, metrics_of_trials
from lthprune.search.rewinding import Rewinder, rewinder_for
from lthprune.search.settings import Search, counts_of_search
from lthprune.search.store import Stored
from lthprune.search.tickets import Ticket
from lthprune.search.trainings import Level
from lthprune.search.verification import TrainingCheck, moved_between
from lthprune.seeds import Seeds


def source_level(driver: str, level: int) -> int:
    """Return the level whose ticket the masks of a level are chosen from: the one before (IMP) or the dense one (OSP).

    Examples:
        >>> source_level("imp", 3), source_level("osp", 3), source_level("imp", 0)
        (2, 0, 0)
    """
    return 0 if driver == "osp" else max(0, level - 1)


class _Source(NamedTuple):
    """What masks are chosen from: the masks and trained weights of a level's ticket."""

    level: int
    masks: Masks
    trained: State


class Descent:
    """A search, level by level, for a caller that runs the trainings: ``prepare``, train, ``finish``, repeat.

    Args:
        driver: ``"imp"`` or ``"osp"``.
        models: one model, or a population.
        search: levels, schedule, pruning, rewinding.
        stored: the state of an interrupted search, to continue it.

    Raises:
        PruningError: the models or the search are refused; nothing is changed.

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
        self._counts = counts_of_search(self.models, search)
        self._pools = [search.pruning.pools(model) for model in self.models]
        for model in self.models:
            convert(model, search.form)
        if self._rewinder is not None:
            self._rewinder.watch(*self.models)
            for model, ticket in zip(self.models, self._dense, strict=False):
                self._rewinder.adopt(model, ticket.weights)
        captured = self._rewinder if self._rewinder is not None and self._rewinder.weights else None
        self._initial = [
            captured.captured(model)
            if captured is not None and captured.at == 0
            else snapshot(model)  # one serves both
            for model in self.models
        ]
        self._names = [frozenset(state) for state in self._initial]
        self._registered = [registered_buffers(model) for model in self.models]
        self._modes = [(module, module.training) for model in self.models for module in model.modules()]
        self._trainable = [(each, each.requires_grad) for model in self.models for each in model.parameters()]
        self._graded = False
        self._moved: list[frozenset[str]] = []
        self._sources: list[_Source] = []
        self._masks: list[Masks] = []
        self._checks: list[TrainingCheck] = []
        self._starts: list[State] = []

    @property
    def finished(self) -> bool:
        """Whether all levels are trained."""
        return self.level > self._search.levels

    @property
    def current(self) -> Level:
        """The level that ``prepare`` has prepared, for the training function.

        Raises:
            PruningError: no level is prepared.
        """
        if not self._masks:
            raise PruningError("no level is prepared: call prepare() before each training.")
        counts = count(self._masks[0]).values()
        start = self._rewinder.start if self._rewinder is not None else 0
        left, total = (sum(numbers) for numbers in zip(*counts, strict=True))
        return Level(self.level, self._search.levels, left / total, start)

    def prepare(self) -> None:
        """Set the masks and weights that the training of this level starts from.

        An interrupted training can be prepared again; it then starts from the same masks and weights.
        """
        forget_interrupted()
        for module, training in self._modes:
            module.training = training
        for parameter, trainable in self._trainable:
            parameter.requires_grad_(trainable)
        if self._checks and not self._dense:
            self._restart()
        rewinds = self._rewinder is not None and self._rewinder.weights
        if self._dense:
            self._choose()
            if rewinds:
                self._sources = []
                self._tidy()
            else:  # training continues from the source's weights, in a resumed search too
                for model, source, registered in zip(self.models, self._sources, self._registered, strict=True):
                    restore(model, source.trained, registered=registered | source.trained.keys())
        else:
            self._masks = [current_masks(self._search.pruning.tensors(model)) for model in self.models]
        if self._dense or self._search.form == "plain":  # a plain model has its hooks before it is compiled
            for model, masks in zip(self.models, self._masks, strict=True):
                write_masks(model, masks, self._search.form)
        if self._dense:
            for model in self.models:
                if self._rewinder is not None:
                    self._rewinder.rewind(model)
                model.zero_grad(set_to_none=True)
        if not rewinds and self._dense:
            self._starts = [source.trained for source in self._sources]
        elif not rewinds:
            self._starts = [_same_state(*each) for each in zip(map(snapshot, self.models), self._initial, strict=True)]
        self._checks = [
            TrainingCheck(model, self._search.pruning.tensors(model), masks)
            for model, masks in zip(self.models, self._masks, strict=True)
        ]

    def finish(self, metrics: object) -> tuple[Ticket, ...]:
        """Verify the training of this level and return its tickets, one for each model.

        Args:
            metrics: a list with one dict of metrics, or None, for each model; or None.

        Raises:
            PruningError: the metrics cannot be stored, or the training changed something that it must not change.
        """
        checked = metrics_of_trials(metrics, len(self.models))
        if self._dense:
            self._compare()
        self._sources = []
        self._tidy()
        tickets = tuple(self._ticket(trial, checked[trial]) for trial in range(len(self.models)))
        if source_level(self._driver, self.level + 1) == self.level:
            self._sources = [
                _Source(self.level, masks, ticket.trained) for masks, ticket in zip(self._masks, tickets, strict=True)
            ]
        self._dense, self._last = self._dense or tickets, tickets
        self._masks, self._checks, self._starts = [], [], []
        self._compare()
        self._tidy()
        self.level += 1
        return tickets

    def end(self) -> None:
        """Convert the models to the final form of the search, which then holds nothing else any more."""
        self._dense = self._last = ()
        self._initial, self._sources, self._rewinder = [], [], None
        self._tidy()
        for model in self.models:
            convert(model, self._search.final_form)

    def _restart(self) -> None:
        """Restore the state before the dense training, which was interrupted."""
        for model, state, registered in zip(self.models, self._initial, self._registered, strict=True):
            restore(model, state, registered=registered)
            model.zero_grad(set_to_none=True)
        if self._rewinder is not None:
            self._rewinder.watch(*self.models)

    def _tidy(self) -> None:
        """Give back the memory of a state of the models, which was let go of."""
        give_back_freed_memory(sum(tensor.nbytes for model in self.models for tensor in live_state(model).values()))

    def _compare(self) -> None:
        """Find out, once, what the dense training moved; most scores then need the initial weights no more."""
        if not self._moved:
            dense = [ticket.trained for ticket in self._dense]
            self._moved = [moved_between(*states) for states in zip(self._initial, dense, strict=True)]
            if self._search.pruning.score in WITHOUT_INITIAL:
                self._initial = []

    def _choose(self) -> None:
        """Choose the masks of this level, once: an interrupted training that is prepared again gets the same."""
        if self._masks:
            return
        if not self._sources:
            tickets = self._dense if source_level(self._driver, self.level) == 0 else self._last
            self._sources = [_Source(ticket.level, ticket.masks, ticket.trained) for ticket in tickets]
        self._masks = [self._chosen(*each) for each in zip(range(len(self.models)), self._sources, strict=True)]

    def _chosen(self, trial: int, source: _Source) -> Masks:
        return choose_masks(
            self._search.pruning,
            self._pools[trial],
            self._counts[self.level],
            masks=source.masks,
            final=source.trained,
            initial=self._initial[trial] if self._initial else None,
            generator=Seeds(self._search.seed).generator("mask", trial=trial, level=source.level),
            level=self.level,
        )

    def _start(self, trial: int) -> State:
        """Return the weights that this training started from; without rewinding, before the masks pruned them."""
        return self._starts[trial] if self._starts else self._rewinder.captured(self.models[trial])  # type: ignore[union-attr]

    def _ticket(self, trial: int, metrics: Metrics) -> Ticket:
        """Verify a model's training and return its ticket."""
        model, start = self.models[trial], self._start(trial)
        moved = self._moved[trial] if self._moved else frozenset()
        self._graded |= self._checks[trial].finish(start, moved, graded=self._graded)
        refresh(model)
        trained = snapshot(model)
        return Ticket(
            level=self.level,
            masks=self._masks[trial],
            weights=Continued(start) if self._starts and self._dense else start,
            trained=trained,
            metrics=metrics,
            provenance=self._search.provenance(self._driver) | {"trial": trial},
            late_buffers=tuple(name for name in trained | start if name not in self._names[trial]),
            tied={name: own for name, own in first_names(model).items() if name != own and own in self._masks[trial]},
        )


def _same_state(state: State, known: State) -> State:
    """Return ``known`` if a state equals it, so that one copy serves both."""
    return known if state.keys() == known.keys() and not moved_between(known, state) else state


def _take_up(models: Sequence[nn.Module], stored: Stored, rewinder: Rewinder | None) -> None:
    """Restore the state in which the stored search began; refuse models that do not fit before any is changed."""
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
