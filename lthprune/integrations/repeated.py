"""The common part of all callbacks: a search in which a framework runs the training of each level."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from lthprune.errors import PruningError
from lthprune.pruning import (
    BiasPruning,
    Pruning,
    Rate,
    Schedule,
    Scope,
    Score,
    Selection,
    warn_of_gaps,
)
from lthprune.search import Descent, FoundTickets, Ranks, Rewind, Rewinder, Search, Tickets, schedule_from


class RepeatedTraining:
    """A search in which each training of a framework trains one level.

    Attributes:
        driver: ``"imp"`` or ``"osp"``.
        training: the framework's word for a training, for messages.
    """

    driver: ClassVar[str] = "imp"
    training: ClassVar[str] = "training"

    def __init__(
        self,
        *,
        levels: int,
        rate: Rate | None = None,
        target: float | int | None = None,
        schedule: Schedule | Sequence[float | int] | None = None,
        scope: Scope = "global",
        score: Score | str = "magnitude",
        bias: BiasPruning = False,
        selection: Selection | None = None,
        min_survivors: int = 0,
        rewind: Rewind | Rewinder = "init",
        seed: int = 0,
        store: str | Path | None = None,
        on_level: Callable[[Any], object] | None = None,
    ) -> None:
        super().__init__()
        self._search = Search(
            levels=levels,
            schedule=schedule_from(rate, target, schedule),
            pruning=Pruning(scope, score, bias, selection or Selection(), min_survivors),
            rewind=rewind,
            seed=seed,
            form="plain",
            final_form="plain",
        )
        self._found = FoundTickets(self.driver, self._search, store, on_level)
        self._stores = store is not None
        self._warns = selection is None
        self._descent: Descent | None = None
        self._parameters: dict[str, nn.Parameter] = {}
        self._starts: list[tuple[Any, dict[str, Any]]] = []

    @property
    def level(self) -> int:
        """The level that is trained next; 0 is the dense network."""
        return len(self._found)

    @property
    def levels(self) -> int:
        """The number of pruning rounds after the dense training: the last level."""
        return self._search.levels

    @property
    def finished(self) -> bool:
        """Whether all levels are trained."""
        return self.level > self.levels

    @property
    def start(self) -> int:
        """The step that the next training starts from: 0 in the dense training, then that of the ``Rewinder``."""
        rewind = self._search.rewind
        return rewind.at if isinstance(rewind, Rewinder) and self.level > 0 else 0

    @property
    def tickets(self) -> Tickets:
        """The tickets found so far, level by level; those of a store included."""
        return Tickets(ticket for (ticket,) in self._found)

    def _check(self, model: nn.Module) -> None:
        """Refuse a training that is not the next one of this search, before anything is changed."""
        if self.finished:
            raise PruningError(
                f"this search is finished: all {self.levels + 1} levels are trained. Loop with `while not "
                "pruning.finished`; to train a ticket further, leave the callback out. A new search takes a new "
                f"{type(self).__name__} and a fresh model."
            )
        if self._descent is None:
            return
        if self._descent.models[0] is not model:
            raise PruningError(
                f"the {self.training} of level {self.level} has another model than the first one. A search "
                "trains and rewinds one model object: pass the same object each time."
            )
        parameters = dict(model.named_parameters())
        replaced = [name for name, own in self._parameters.items() if parameters.get(name) is not own]
        if replaced:
            raise PruningError(
                f"the model has other parameters than in the first {self.training}: {', '.join(replaced[:5])}"
                f"{', ...' if len(replaced) > 5 else ''}. Build layers once, in __init__ or behind `if self.net is "
                "None`: a hook that builds them again for each training undoes rewinding and masks."
            )

    def _prepare(self, model: nn.Module, ranks: Ranks) -> None:
        """Set the masks and weights of the next level; ``ranks`` are the processes that train together."""
        self._check(model)
        if self._descent is None:
            if self._warns:
                warn_of_gaps(model)
            stored = self._found.begin([model], ranks)
            self._descent = Descent(self.driver, [model], self._search, stored, ranks)
            self._parameters = dict(model.named_parameters())
        self._descent.prepare()

    def _restart(self, optimizers: Sequence[Any], schedulers: Sequence[Any], scalers: Sequence[Any] = ()) -> None:
        """Reset optimisers, schedulers and gradient scalers of an earlier training to their first state.

        An optimiser keeps its learning rate if its scheduler is new, because the scheduler has already set it.
        """
        known = {id(part): state for part, state in self._starts}
        for optimizer in optimizers:
            if id(optimizer) in known:
                state = copy.deepcopy(known[id(optimizer)])
                if not any(id(scheduler) in known for scheduler in schedulers):
                    for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True):
                        saved["lr"] = group["lr"]
                optimizer.load_state_dict(state)
        for part in [*schedulers, *scalers]:
            if id(part) in known:
                part.load_state_dict(copy.deepcopy(known[id(part)]))
        parts = [*optimizers, *schedulers, *scalers]
        self._starts = [(part, known.get(id(part)) or copy.deepcopy(part.state_dict())) for part in parts]

    def _count(self, steps: int) -> None:
        """Count optimiser steps for late rewinding."""
        if steps and isinstance(self._search.rewind, Rewinder):
            self._search.rewind.step(steps=steps)

    def _finish(self, metrics: dict[str, Any]) -> None:
        """Verify the training of this level and keep its ticket."""
        assert self._descent is not None
        (ticket,) = self._descent.finish([metrics])
        self._found.append(ticket)
        if self.finished:
            self._descent.end()
            self._found.end()
