"""The engine of other networks: the models of a population take turns in every step, without pruning hooks.

Each model has a copy whose weights are ordinary parameters in channels-last layout. Masked gradients keep pruned
weights at zero.

Networks that draw at random (dropout) keep their layout, because it decides which number drops which value; and their
steps are not recorded as CUDA graphs, which would have to know the state of the generator.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from lthprune.data import Dataset
from lthprune.pruning import State, live_state, masks_of, without_pruning
from lthprune.seeds import OwnDraws
from lthprune.training.augmenting import Views, augment
from lthprune.training.checkpoint import under, within
from lthprune.training.cuda_graph import recorded
from lthprune.training.divergence import has_finite_weights
from lthprune.training.engine import Measured
from lthprune.training.loop import evaluate
from lthprune.training.losses import cross_entropy
from lthprune.training.lowering import lift
from lthprune.training.module_state import module_state, restore_module
from lthprune.training.noise import draws_at_random
from lthprune.training.penalty import add_penalty, penalised_weights
from lthprune.training.plan import TrainingPlan


class Unhooked:
    """The engine of convolutional networks, and of any other.

    Args:
        models: any modules.
        data: the data, on the models' device.
        plan: the optimiser, batch size, precision and augmentation.
        noises: generators of random draws in training, one for each model; by default torch's default generator.
        views: the views of training images, if the plan augments them.
        captured: whether to record each trial's step and replay it, on a GPU.
    """

    name = "unhooked"

    def __init__(
        self,
        models: Sequence[nn.Module],
        data: Dataset,
        plan: TrainingPlan,
        noises: Sequence[torch.Generator] | None = None,
        views: Views | None = None,
        *,
        captured: bool = False,
    ) -> None:
        self._views = views
        self._trials = [
            _Trial(model, data, plan, None if noises is None else noises[place], captured=captured)
            for place, model in enumerate(models)
        ]

    def train(self, batches: Tensor, rates: Sequence[float]) -> None:
        """Make optimiser steps on these samples, (steps, trials, batch), each at its learning rate."""
        for batch, rate in zip(batches, rates, strict=True):
            views = torch.zeros_like(batch) if self._views is None else next(self._views)
            for trial, samples, view in zip(self._trials, batch, views, strict=True):
                trial.step(samples, view, rate)

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""
        return [trial.measure() for trial in self._trials]

    def lift(self, trial: int) -> None:
        """Write the trained values of a trial into its model."""
        self._trials[trial].lift()

    def keep(self, trials: Sequence[int]) -> None:
        """Continue with these trials only, in ascending order."""
        self._trials = [self._trials[trial] for trial in trials]
        if self._views is not None:
            self._views.keep(trials)

    def state(self) -> State:
        """Return every trial's parameters, buffers, optimiser and random generators, by name; not copies."""
        return {
            name: tensor
            for place, trial in enumerate(self._trials)
            for name, tensor in under(str(place), trial.state()).items()
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned for the same trials."""
        for place, trial in enumerate(self._trials):
            trial.restore(within(str(place), state))


class _Trial:
    """A model, its copy without hooks, and the optimiser of the copy."""

    def __init__(
        self, model: nn.Module, data: Dataset, plan: TrainingPlan, noise: torch.Generator | None, *, captured: bool
    ) -> None:
        self._model, self._data, self._plan = model, data, plan
        self._device = data.x_train.device
        draws = draws_at_random(model, data.x_train[:2])
        captured = captured and not draws
        self._draws = OwnDraws(noise, self._device) if draws and noise is not None else None
        layout = torch.contiguous_format if draws else torch.channels_last
        self._twin = without_pruning(model).to(memory_format=layout).train()
        parameters = dict(self._twin.named_parameters())
        self._weights = penalised_weights(self._twin)
        self._masked = [
            (
                parameters[name],
                torch.empty_like(parameters[name], requires_grad=False).copy_(mask),
            )  # in the same memory layout
            for name, mask in masks_of(model).items()
            if parameters[name].requires_grad and not mask.all()
        ]
        self._optimizer = plan.make_optimizer(parameters.values(), captured=captured)
        self._loss = torch.zeros((), device=self._device)
        self._steps = 0
        self._samples = torch.zeros(plan.batch_size, dtype=torch.long, device=self._device)
        self._view = torch.zeros_like(self._samples)
        self._replay = None
        if captured:
            self._replay = recorded(self._step, [*live_state(self._twin).values(), self._loss])
            for state in self._optimizer.state.values():  # reset the rehearsal's state, which starts at zero
                for tensor in state.values():
                    tensor.zero_()

    def step(self, samples: Tensor, view: Tensor, lr: float) -> None:
        self._samples.copy_(samples)
        self._view.copy_(view)
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        with self._turn():
            (self._replay or self._step)()
        self._steps += 1

    def _step(self) -> None:
        x, y = self._data.x_train[self._samples], self._data.y_train[self._samples]
        if self._plan.augment:
            x = augment(x, self._view, self._plan.augment)
        with self._plan.autocast(self._device):
            outputs = self._twin(x)
            loss = cross_entropy(outputs, y, self._data.tasks, smoothing=self._plan.label_smoothing)
        self._optimizer.zero_grad()
        add_penalty(loss, self._weights, self._plan.l1).backward()  # type: ignore[no-untyped-call]
        for parameter, mask in self._masked:
            assert parameter.grad is not None
            parameter.grad *= mask
        self._optimizer.step()
        self._loss += loss.detach()

    def measure(self) -> Measured:
        with self._turn(), self._plan.autocast(self._device):
            val = evaluate(self._twin, self._data.x_val, self._data.y_val, self._data.tasks)
            test = evaluate(self._twin, self._data.x_test, self._data.y_test, self._data.tasks)
        measured = Measured(float(self._loss) / self._steps, val, test, has_finite_weights(self._twin))
        self._loss.zero_()
        self._steps = 0
        return measured

    def lift(self) -> None:
        lift(self._model, live_state(self._twin))

    def state(self) -> State:
        drawn = enumerate(self._draws.states if self._draws is not None else ())
        return module_state(self._twin, self._optimizer) | {f"draws/{place}": state for place, state in drawn}

    def restore(self, state: State) -> None:
        restore_module(self._twin, self._optimizer, state)
        if self._draws is not None:
            places = range(len(self._draws.states))
            self._draws.states = [state[f"draws/{place}"] for place in places]
            with self._draws.turn():  # torch checks them
                pass

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._draws is None else self._draws.turn()
