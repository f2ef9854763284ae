"""A population of any modules, one after another in every step, without the hooks that pruning costs.

Every model has a twin whose weights are plain parameters, channels last. Masked gradients keep pruned weights at zero.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lthprune.data import Dataset
from lthprune.pruning import live_state, masks_of, without_pruning
from lthprune.training.cuda_graph import recorded
from lthprune.training.engine import Measured
from lthprune.training.loop import evaluate
from lthprune.training.losses import cross_entropy
from lthprune.training.lowering import lift
from lthprune.training.plan import TrainingPlan


class Unhooked:
    """The engine of convolutional networks, and of whatever else trains without drawing at random.

    Args:
        models: any modules.
        data: on the models' device.
        plan: optimiser and precision.
        captured: whether to record each trial's step and replay it, which is for GPUs.
    """

    name = "unhooked"

    def __init__(
        self, models: Sequence[nn.Module], data: Dataset, plan: TrainingPlan, *, captured: bool = False
    ) -> None:
        self._trials = [_Trial(model, data, plan, captured=captured) for model in models]

    def step(self, batch: Tensor, lr: float) -> None:
        """Make one optimiser step on these samples, (trials, batch)."""
        for trial, samples in zip(self._trials, batch, strict=True):
            trial.step(samples, lr)

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""
        return [trial.measure() for trial in self._trials]

    def lift(self, trial: int) -> None:
        """Bring a trial's model up to date."""
        self._trials[trial].lift()

    def keep(self, trials: Sequence[int]) -> None:
        """Go on with these trials alone."""
        self._trials = [self._trials[trial] for trial in trials]


class _Trial:
    """A model, its twin without hooks, and what trains the twin."""

    def __init__(self, model: nn.Module, data: Dataset, plan: TrainingPlan, *, captured: bool) -> None:
        self._model, self._data, self._plan = model, data, plan
        self._device = data.x_train.device
        self._twin = without_pruning(model).to(memory_format=torch.channels_last).train()
        parameters = dict(self._twin.named_parameters())
        self._masked = [
            (parameters[name], torch.empty_like(parameters[name], requires_grad=False).copy_(mask))  # as it lies
            for name, mask in masks_of(model).items()
            if parameters[name].requires_grad and not mask.all()
        ]
        self._optimizer = plan.make_optimizer(parameters.values(), captured=captured)
        self._loss = torch.zeros((), device=self._device)
        self._steps = 0
        self._samples = torch.zeros(plan.batch_size, dtype=torch.long, device=self._device)
        self._replay = None
        if captured:
            self._replay = recorded(self._step, [*live_state(self._twin).values(), self._loss])
            for state in self._optimizer.state.values():  # the rehearsal's; what begins at zero is as good as new
                for tensor in state.values():
                    tensor.zero_()

    def step(self, samples: Tensor, lr: float) -> None:
        self._samples.copy_(samples)
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        (self._replay or self._step)()
        self._steps += 1

    def _step(self) -> None:
        x, y = self._data.x_train[self._samples], self._data.y_train[self._samples]
        with self._plan.autocast(self._device):
            loss = cross_entropy(self._twin(x), y, self._data.tasks)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter, mask in self._masked:
            assert parameter.grad is not None
            parameter.grad *= mask
        self._optimizer.step()
        self._loss += loss.detach()

    def measure(self) -> Measured:
        with self._plan.autocast(self._device):
            val = evaluate(self._twin, self._data.x_val, self._data.y_val, self._data.tasks)
            test = evaluate(self._twin, self._data.x_test, self._data.y_test, self._data.tasks)
        measured = Measured(float(self._loss) / self._steps, val, test)
        self._loss.zero_()
        self._steps = 0
        return measured

    def lift(self) -> None:
        lift(self._model, live_state(self._twin))
