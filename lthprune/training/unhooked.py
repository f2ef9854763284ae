"""A population of any modules, one after another in every step, without the hooks that pruning costs.

Every model has a twin whose weights are plain parameters, channels last. Masked gradients keep pruned weights at zero.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune.data import Dataset
from lthprune.methods import without_pruning
from lthprune.state import live_state, masks_of
from lthprune.training.engine import Measured
from lthprune.training.lowering import lift
from lthprune.training.loop import evaluate
from lthprune.training.plan import TrainingPlan


class Unhooked:
    """The engine of convolutional networks, and of whatever else there is."""

    name = "stacked"

    def __init__(self, models: Sequence[nn.Module], data: Dataset, plan: TrainingPlan) -> None:
        self._data = data
        self._plan = plan
        self._trials = [_Trial(model, plan) for model in models]
        self._device = data.x_train.device

    def step(self, batch: Tensor, lr: float) -> None:
        """Make one optimiser step on these samples, (trials, batch)."""
        for trial, samples in zip(self._trials, batch, strict=True):
            for group in trial.optimizer.param_groups:
                group["lr"] = lr
            x, y = self._data.x_train[samples], self._data.y_train[samples]
            with self._plan.autocast(self._device):
                loss = F.cross_entropy(trial.twin(x), y)
            trial.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if trial.masks:
                torch._foreach_mul_([parameter.grad for parameter in trial.masked], trial.masks)
            trial.optimizer.step()
            trial.loss += loss.detach()
            trial.steps += 1

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""
        measured = []
        for trial in self._trials:
            with self._plan.autocast(self._device):
                val_loss, val_acc = evaluate(trial.twin, self._data.x_val, self._data.y_val)
                _, test_acc = evaluate(trial.twin, self._data.x_test, self._data.y_test)
            measured.append(Measured(float(trial.loss) / trial.steps, val_loss, val_acc, test_acc))
            trial.loss.zero_()
            trial.steps = 0
        return measured

    def lift(self, trial: int) -> None:
        """Bring a trial's model up to date."""
        lift(self._trials[trial].model, live_state(self._trials[trial].twin))

    def keep(self, trials: Sequence[int]) -> None:
        """Go on with these trials alone."""
        self._trials = [self._trials[trial] for trial in trials]


class _Trial:
    """A model, its twin without hooks, and what trains the twin."""

    def __init__(self, model: nn.Module, plan: TrainingPlan) -> None:
        self.model = model
        self.twin = without_pruning(model).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        parameters = dict(self.twin.named_parameters())
        masks = {name: mask for name, mask in masks_of(model).items() if not mask.all()}
        self.masked = [parameters[name] for name in masks]
        self.masks = [
            mask.to(parameters[name].dtype).to(memory_format=torch.preserve_format) for name, mask in masks.items()
        ]
        self.optimizer = plan.make_optimizer(parameters.values())
        self.loss = torch.zeros((), device=next(iter(parameters.values())).device)
        self.steps = 0
