"""The rewind manager: captures a model's state and restores it."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from lthprune.arguments import described, whole_number
from lthprune.errors import PruningError
from lthprune.pruning import State, live_state, registered_buffers, restore, snapshot

Rewind = Literal["init", "lr", "none"]


class Rewinder:
    """Captures a model at a step of its first training and restores that state before every later training.

    Restores weights, biases and buffers (batch-norm statistics) bit for bit, in place: parameters keep their identity,
    so optimisers that hold them stay valid. The captured state shares no memory with the model.

    Args:
        at: the step to rewind to; 0 is the initialisation. For a later step (Frankle et al. 2020) the training loop
            calls ``step`` after every optimiser step.
        weights: whether to rewind the model. If not (learning-rate rewinding, Renda et al. 2020), only the optimiser,
            scheduler and generators are rewound, and training continues from the trained weights.
        optimizer: an optimiser that is kept over the levels; its state and learning rates are rewound too.
        scheduler: a learning-rate scheduler that is kept over the levels; rewinds its optimiser too.
        generators: random generators to rewind, such as ``torch.default_generator``.

    The drivers also take ``"init"``, ``"lr"`` and ``"none"`` (fine-tuning), which mean ``Rewinder()``,
    ``Rewinder(weights=False)`` and no rewinding. If ``train`` creates the optimiser, ``"lr"`` and ``"none"`` are
    identical: both keep the trained weights. In recipes, ``"lr"`` restarts the learning-rate schedule and ``"none"``
    keeps its last value.

    Examples:
        >>> model = nn.Linear(2, 1)
        >>> rewinder = Rewinder(at=1)
        >>> rewinder.watch(model)
        >>> _ = nn.init.ones_(model.weight)
        >>> rewinder.step()
        >>> _ = nn.init.zeros_(model.weight)
        >>> rewinder.rewind(model)
        >>> model.weight.tolist()
        [[1.0, 1.0]]
    """

    def __init__(
        self,
        at: int = 0,
        *,
        weights: bool = True,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        generators: torch.Generator | Iterable[torch.Generator] = (),
    ) -> None:
        self.at = whole_number("at", at)
        self.weights = weights
        _check_type("optimizer", optimizer, torch.optim.Optimizer)
        _check_type("scheduler", scheduler, torch.optim.lr_scheduler.LRScheduler)
        generators = (generators,) if isinstance(generators, torch.Generator) else tuple(generators)
        for generator in generators:
            _check_type("generators", generator, torch.Generator)
        self._optimizer = optimizer or (scheduler.optimizer if scheduler is not None else None)
        self._scheduler = scheduler
        self._generators = generators
        self._models: list[nn.Module] = []
        self._numbers: list[int] = []  # of the models, which keep theirs when others are forgotten
        self._steps: list[int] = []
        self._states: list[State | None] = []
        self._registered: list[frozenset[str]] = []
        self._extras: dict[str, Any] | None = None

    @property
    def keeps_extras(self) -> bool:
        """Whether an optimiser, scheduler or generator is rewound with the model."""
        return bool(self._optimizer or self._scheduler or self._generators)

    def __repr__(self) -> str:
        return f"Rewinder(at={self.at})" if self.weights else f"Rewinder(at={self.at}, weights=False)"

    def __str__(self) -> str:
        return f"step {self.at}" if self.weights else f"step {self.at}, not the weights"

    def watch(self, *models: nn.Module) -> None:
        """Start to watch models, in their current state; the drivers call this before the first training."""
        self._models, self._numbers = list(models), list(range(len(models)))
        self._steps = [0] * len(models)
        self._states = [None] * len(models)
        self._registered = [registered_buffers(model) for model in models]
        self._extras = None
        if len(models) > 1 and self.at > 0 and self.keeps_extras:
            raise PruningError(
                "an optimizer, scheduler or generator of a population cannot be rewound to a later step, because the "
                "models reach that step at different times. Create it inside train(), or search with each model "
                "separately."
            )
        if self._optimizer is not None:
            names = self._names()
            if any(id(parameter) not in names for parameter in _parameters(self._optimizer)):
                raise PruningError(
                    "the rewinder's optimizer holds parameters of another model. Pass the optimizer of this model."
                )
        if self.at == 0:
            for model in models:
                self._capture(model)

    def step(self, model: nn.Module | None = None, steps: int = 1) -> None:
        """Count optimiser steps of one model, by default of all; captures the state when step ``at`` is reached.

        Later steps, and those of later levels, have no effect. A loop that does not call this after every step passes
        the number of ``steps`` since the last call, and must call it at step ``at``.

        Raises:
            PruningError: step ``at`` was skipped.
        """
        for index, watched in enumerate(self._models):
            if model is None or watched is model:
                before, self._steps[index] = self._steps[index], self._steps[index] + steps
                if self._states[index] is None and self._steps[index] >= self.at:
                    if self._steps[index] > self.at:
                        raise PruningError(
                            f"the rewind point at step {self.at} was skipped: the count went from {before} to "
                            f"{self._steps[index]}. Call rewinder.step() at step {self.at}."
                        )
                    self._capture(watched)

    def captured(self, model: nn.Module) -> State:
        """Return the captured weights and buffers of a model, by plain name; not a copy, so do not change them.

        A rewinder that does not rewind weights captures none.

        Raises:
            PruningError: the step was never reached.
        """
        state = self._states[self._index(model)]
        if state is None:
            raise PruningError(
                f"the rewind point at step {self.at} was never reached: the training loop made "
                f"{self._steps[self._index(model)]} steps. Call rewinder.step() after every optimiser step, "
                "and train longer than to the rewind point."
            )
        return state

    def adopt(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Use a stored state as the captured one, when a search is resumed."""
        self._states[self._index(model)] = dict(state) if self.weights else {}

    def check_resumable(self) -> None:
        """Raise if something is rewound that a store does not keep."""
        if self.at > 0 and self.keeps_extras:
            raise PruningError(
                "a search that rewinds an optimiser, scheduler or generator to a later step cannot be resumed: "
                "their state at that step is not stored. Start it again."
            )

    def forget(self, model: nn.Module) -> None:
        """Let go of a model and its captured state."""
        index = self._index(model)
        for each in (self._models, self._numbers, self._states, self._steps, self._registered):
            del each[index]

    @property
    def start(self) -> int:
        """The step that training starts from: 0 in the first training, ``at`` after it."""
        return self.at if self._states and all(state is not None for state in self._states) else 0

    def rewind(self, model: nn.Module) -> None:
        """Restore the captured state of a model, and of the optimiser, scheduler and generators."""
        state = self.captured(model)
        if self.weights:
            registered = self._registered[self._index(model)] | state.keys()
            restore(model, state, what="the captured state", registered=registered)
        if self._extras is not None:
            self._restore_extras(self._extras)

    def _index(self, model: nn.Module) -> int:
        for index, watched in enumerate(self._models):
            if watched is model:
                return index
        raise PruningError("this rewinder does not watch that model. Call rewinder.watch(model) before training.")

    def _capture(self, model: nn.Module) -> None:
        self._states[self._index(model)] = snapshot(model) if self.weights else {}
        if self.keeps_extras:
            self._extras = self._copy_extras()

    def _copy_extras(self) -> dict[str, Any]:
        extras: dict[str, Any] = {"generators": [generator.get_state().clone() for generator in self._generators]}
        if self._optimizer is not None:
            # By name, not by position: pruning moves parameters to the end of model.parameters().
            names = self._names()
            extras["optimizer"] = {
                names[id(parameter)]: copy.deepcopy(dict(state)) for parameter, state in self._optimizer.state.items()
            }
            extras["groups"] = [
                copy.deepcopy({key: value for key, value in group.items() if key != "params"})
                for group in self._optimizer.param_groups
            ]
        if self._scheduler is not None:
            extras["scheduler"] = copy.deepcopy(self._scheduler.state_dict())
        return extras

    def _restore_extras(self, extras: dict[str, Any]) -> None:
        if self._optimizer is not None:
            names = self._names()
            self._optimizer.state.clear()
            for parameter in _parameters(self._optimizer):
                name = names.get(id(parameter))  # None for a parameter of a model that was forgotten
                if name in extras["optimizer"]:
                    self._optimizer.state[parameter] = copy.deepcopy(extras["optimizer"][name])
            for group, saved in zip(self._optimizer.param_groups, extras["groups"], strict=True):
                group.update(copy.deepcopy(saved))
        if self._scheduler is not None:
            self._scheduler.load_state_dict(copy.deepcopy(extras["scheduler"]))
        for generator, state in zip(self._generators, extras["generators"], strict=True):
            generator.set_state(state)

    def _names(self) -> dict[int, str]:
        return {
            id(tensor): f"{number}/{name}"
            for number, model in zip(self._numbers, self._models, strict=True)
            for name, tensor in live_state(model).items()
        }


def _check_type(argument: str, value: object, wanted: type) -> None:
    if value is not None and not isinstance(value, wanted):
        raise PruningError(
            f"the {argument} of a Rewinder must be a torch {wanted.__name__}; this is {described(value)}."
        )


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def rewinder_for(rewind: Rewind | Rewinder) -> Rewinder | None:
    """Return the rewinder for a driver's ``rewind`` argument; None for no rewinding."""
    if isinstance(rewind, Rewinder):
        return rewind
    if rewind not in ("init", "lr", "none"):
        raise PruningError(
            f"unknown rewind {rewind!r}. Known: 'init', 'lr', 'none', or a Rewinder, as in Rewinder(at=1000)."
        )
    return None if rewind == "none" else Rewinder(weights=rewind == "init")
