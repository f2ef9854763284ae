"""The search for tickets: iterative magnitude pruning (IMP) and one-shot pruning (OSP), level by level.

IMP and OSP differ only in the ticket that the next masks are chosen from: IMP takes the previous level's, OSP always
the dense one, which it prunes to the counts that IMP reaches.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from lthprune.errors import PruningError, StorageError
from lthprune.memory import give_back_freed_memory
from lthprune.pruning import (
    WITHOUT_INITIAL,
    Masks,
    State,
    check_finite,
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
from lthprune.search.failures import Diverged, Failure
from lthprune.search.lazy_states import Continued
from lthprune.search.metrics import Metrics, metrics_of_trials
from lthprune.search.ranks import Ranks, ranks_of
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


Entry = TypeVar("Entry")


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
        ranks: the processes that search together; by default those of DistributedDataParallel wrappers in the models.

    Raises:
        PruningError: the models or the search are refused; nothing is changed.

    Attributes:
        level: the level that is trained next.
        trials: the number of each model's trial.
        failures: the models whose training diverged, which the search continues without.

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

    def __init__(
        self,
        driver: str,
        models: Sequence[nn.Module],
        search: Search,
        stored: Stored | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        if torch.is_inference_mode_enabled():
            raise PruningError("a search trains, which torch.inference_mode does not allow. Call it outside.")
        self.models = list(models)
        self.level = 0
        self.trials = tuple(range(len(self.models))) if stored is None else stored.trials
        self.failures: list[Failure] = []
        self._driver, self._search = driver, search
        self._ranks = ranks_of(self.models) if ranks is None else ranks
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
        """Whether all levels are trained, or the trainings of all models have diverged."""
        return self.level > self._search.levels or not self.models

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
        return Level(self.level, self._search.levels, left / total, start, self.trials)

    def prepare(self) -> None:
        """Set the masks and weights that the training of this level starts from.

        An interrupted training can be prepared again; it then starts from the same masks and weights.

        Raises:
            PruningError: the scores cannot be ranked (NaN), or the masks of processes that search together differ.
        """
        forget_interrupted()
        for module, training in self._modes:
            module.training = training
        for parameter, trainable in self._trainable:
            parameter.requires_grad_(trainable)
        if self._checks and not self._dense:
            self._restart()
        rewinds = self._rewinder is not None and self._rewinder.weights
        with self._ranks.together():
            if self._dense:
                self._choose()
            else:
                self._masks = [current_masks(self._search.pruning.tensors(model)) for model in self.models]
        self._ranks.check_masks(self.level, self._masks)
        if self._dense and rewinds:
            self._sources = []
            self._tidy()
        elif self._dense:  # training continues from the source's weights, in a resumed search too
            for model, source, registered in zip(self.models, self._sources, self._registered, strict=True):
                restore(model, source.trained, registered=registered | source.trained.keys())
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
        """Verify the training of this level and return its tickets, one for each model whose training did not diverge.

        Args:
            metrics: a list with one dict of metrics, None or ``Diverged`` for each model; or None.

        Raises:
            PruningError: the metrics cannot be stored, or the training changed something that it must not change.
        """
        with self._ranks.together():
            checked = metrics_of_trials(metrics, len(self.models))
        agreed = self._ranks.agree(checked)
        with self._ranks.together():
            measured = self._without_diverged(agreed)
            if self._dense:
                self._compare()
            self._sources = []
            self._tidy()
            tickets = tuple(self._ticket(*each) for each in enumerate(measured))
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

    def _without_diverged(self, metrics: Sequence[Metrics | Diverged]) -> list[Metrics]:
        """Continue without the models whose training diverged, and return the metrics of the others."""
        measured: dict[int, Metrics] = {}
        for place, (model, each) in enumerate(zip(self.models, metrics, strict=True)):
            if not isinstance(each, Diverged):
                measured[place] = each
                continue
            self.failures.append(Failure.of(each, self.trials[place], self.level))
            self._checks[place].end()
            if self._rewinder is not None:
                self._rewinder.forget(model)
            convert(model, self._search.final_form)
        if len(measured) < len(metrics):
            self._keep(list(measured))
        return list(measured.values())

    def _keep(self, places: Sequence[int]) -> None:
        """Continue with the models at these places only."""
        self.models, self.trials = _at(places, self.models), tuple(_at(places, self.trials))
        self._pools, self._initial = _at(places, self._pools), _at(places, self._initial)
        self._names, self._registered = _at(places, self._names), _at(places, self._registered)
        self._moved, self._sources = _at(places, self._moved), _at(places, self._sources)
        self._masks, self._checks = _at(places, self._masks), _at(places, self._checks)
        self._starts = _at(places, self._starts)
        self._dense, self._last = tuple(_at(places, self._dense)), tuple(_at(places, self._last))

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

    def _chosen(self, place: int, source: _Source) -> Masks:
        trained = f"trial {self.trials[place]}, trained at level {source.level}"
        check_finite(source.trained, source.masks, what=trained)
        return choose_masks(
            self._search.pruning,
            self._pools[place],
            self._counts[self.level],
            masks=source.masks,
            final=source.trained,
            initial=self._initial[place] if self._initial else None,
            generator=Seeds(self._search.seed).generator("mask", trial=self.trials[place], level=source.level),
            level=self.level,
        )

    def _start(self, place: int) -> State:
        """Return the weights that this training started from; without rewinding, before the masks pruned them."""
        return self._starts[place] if self._starts else self._rewinder.captured(self.models[place])  # type: ignore[union-attr]

    def _ticket(self, place: int, metrics: Metrics) -> Ticket:
        """Verify a model's training and return its ticket."""
        model, start = self.models[place], self._start(place)
        moved = self._moved[place] if self._moved else frozenset()
        self._graded |= self._checks[place].finish(start, moved, graded=self._graded)
        refresh(model)
        trained = snapshot(model)
        return Ticket(
            level=self.level,
            masks=self._masks[place],
            weights=Continued(start) if self._starts and self._dense else start,
            trained=trained,
            metrics=metrics,
            provenance=self._search.provenance(self._driver) | {"trial": self.trials[place]},
            late_buffers=tuple(name for name in trained | start if name not in self._names[place]),
            tied={name: own for name, own in first_names(model).items() if name != own and own in self._masks[place]},
        )


def _at(places: Sequence[int], values: Sequence[Entry]) -> list[Entry]:
    """Return the entries at these places; none of a list that is empty at present."""
    return [values[place] for place in places] if values else []


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
