"""The engine of multilayer perceptrons in batched products: a population trained side by side, without autograd.

Activations have the shape (trials x features, samples). All parameters are views of one vector, so that the optimiser
and the masks take one call each.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lthprune.data import Dataset
from lthprune.pruning import State
from lthprune.training.augmenting import Views, augment
from lthprune.training.checkpoint import copy_into
from lthprune.training.cuda_graph import recorded
from lthprune.training.engine import Measured
from lthprune.training.losses import Heads, LossAndAccuracy
from lthprune.training.lowering import Lowered, lift
from lthprune.training.optimizer import RowOptimizer
from lthprune.training.plan import TrainingPlan
from lthprune.training.stacked_layer import StackedLayer

_CACHED = 3 << 17  # how many outputs of a layer are evaluated at once: they fit the processor's cache


class Stacked:
    """The engine called ``stacked``.

    Args:
        models: perceptrons of one architecture, for which ``is_perceptron`` is true.
        lowered: their layers.
        data: the data, on the models' device.
        plan: the optimiser, the batch size and the augmentation.
        views: the views of training images, if the plan augments them.
        captured: whether to record a step and replay it, on a GPU.
    """

    name = "stacked"

    def __init__(
        self,
        models: Sequence[nn.Module],
        lowered: Sequence[Lowered],
        data: Dataset,
        plan: TrainingPlan,
        views: Views | None = None,
        *,
        captured: bool = False,
    ) -> None:
        self._models = list(models)
        self._layers = [StackedLayer(each.layer) for each in lowered]
        self._heads = Heads(data.tasks, plan.label_smoothing)
        self._x, self._y = data.x_train.flatten(1), _by_task(data.y_train)
        widest = max(layer.layer.weight_mask.shape[1] for layer in self._layers)
        at_once = 64 * _CACHED if self._x.is_cuda else _CACHED
        self._samples_at_once = max(64, at_once // (len(models) * widest))
        self._validation = self._chunks(data.x_val, data.y_val)
        self._test = self._chunks(data.x_test, data.y_test)
        packed = [layer.pack(each.weight, each.bias) for layer, each in zip(self._layers, lowered, strict=True)]
        self._bind(torch.cat(packed))
        self._l1 = plan.l1
        self._optimizer = RowOptimizer(plan, self._values, self._gradients, captured=captured)
        # (trials, tasks, batch): the loss of every sample, summed over steps
        self._losses = self._values.new_zeros(len(models), len(data.tasks), plan.batch_size)
        self._steps = 0
        self._captured = captured
        self._batch = torch.zeros(len(models), plan.batch_size, dtype=torch.long, device=self._x.device)
        self._replay: Callable[[], None] | None = None
        self._views, self._kinds, self._shape = views, plan.augment, data.input_shape
        self._view = torch.zeros_like(self._batch)

    def train(self, batches: Tensor, rates: Sequence[float]) -> None:
        """Make optimiser steps on these samples, (steps, trials, batch), each at its learning rate."""
        for batch, rate in zip(batches, rates, strict=True):
            self._optimizer.set_lr(rate)
            self._batch.copy_(batch)
            if self._views is not None:
                self._view.copy_(next(self._views))
            if self._captured and self._replay is None:
                self._replay = recorded(self._step, [self._values, self._losses, *self._optimizer.state])
            (self._replay or self._step)()
            self._steps += 1

    def _step(self) -> None:
        batch = self._batch
        x = self._x.index_select(0, batch.flatten())
        if self._kinds:
            x = augment(x.view(-1, *self._shape), self._view.flatten(), self._kinds)
        x = x.view(*batch.shape, -1).transpose(1, 2)  # (trials, in, batch)
        inputs, sums, outputs = [], [], x
        for layer in self._layers:
            inputs.append(outputs)
            sums.append(layer.forward(outputs))
            activation = layer.layer.activation
            outputs = sums[-1] if activation is None else activation.forward(sums[-1])
        labels = self._y.index_select(0, batch.flatten()).view(*batch.shape, -1).transpose(1, 2)
        likelihoods, gradient = self._heads.differentiate(outputs.view(len(batch), -1, batch.shape[1]), labels)
        self._losses -= likelihoods
        gradient = gradient.view(outputs.shape)
        for place in reversed(range(len(self._layers))):
            layer = self._layers[place]
            if layer.layer.activation is not None:
                gradient = layer.layer.activation.backward(gradient, sums[place], inputs[place + 1])
            below = layer.backward(inputs[place], gradient, to_inputs=place > 0)
            gradient = gradient if below is None else below
            if self._l1:
                layer.penalise(self._l1)
        for gradients, mask in self._masked:
            gradients *= mask
        self._optimizer.step()

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""
        val, test = self._evaluate(self._validation), self._evaluate(self._test)
        train_loss = (self._losses.mean(dim=2).sum(dim=1) / self._steps).tolist()
        self._losses.zero_()
        self._steps = 0
        return [Measured(*trial) for trial in zip(train_loss, val, test, self._finite(), strict=True)]

    def _finite(self) -> list[bool]:
        """Return for every trial whether all its values are finite."""
        infinite = self._values.isfinite().logical_not_()
        spoiled = set(self._owners()[infinite].tolist()) if infinite.any() else ()
        return [trial not in spoiled for trial in range(len(self._models))]

    def lift(self, trial: int) -> None:
        """Write the trained values of a trial into its model."""
        lift(self._models[trial], {name: each for layer in self._layers for name, each in layer.lifted(trial).items()})

    def keep(self, trials: Sequence[int]) -> None:
        """Continue with these trials only, in ascending order."""
        owners = self._owners()
        kept = torch.isin(owners, torch.tensor(list(trials), device=owners.device))
        self._models = [self._models[trial] for trial in trials]
        self._layers = [StackedLayer(layer.layer.keep(trials)) for layer in self._layers]
        self._losses = self._losses[list(trials)]
        self._batch, self._replay = self._batch[list(trials)], None
        self._view = torch.zeros_like(self._batch)
        if self._views is not None:
            self._views.keep(trials)
        self._bind(self._values[kept])
        self._optimizer.keep(kept, self._values, self._gradients)

    def state(self) -> State:
        """Return the values and the optimiser's state, by name; not copies."""
        return {"values": self._values} | {
            f"optimizer/{place}": tensor for place, tensor in enumerate(self._optimizer.state)
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned for the same trials."""
        copy_into(self.state(), state)

    def _owners(self) -> Tensor:
        """Return the trial of every value."""
        return torch.cat([layer.owners() for layer in self._layers])

    def _bind(self, values: Tensor) -> None:
        """Use these values, a vector, for all layers."""
        self._values, self._gradients = values, torch.zeros_like(values)
        masks = [layer.pack(layer.layer.weight_mask, layer.layer.bias_mask) for layer in self._layers]
        sizes = [len(mask) for mask in masks]
        own, gradients = torch.split(values, sizes), torch.split(self._gradients, sizes)
        for layer, *part in zip(self._layers, own, gradients, strict=True):
            layer.bind(*part)
        pairs = zip(gradients, masks, strict=True)
        self._masked = [(gradient, mask.to(values.dtype)) for gradient, mask in pairs if not mask.all()]

    def _chunks(self, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return inputs (features, n) and labels (tasks, n) in chunks that fit the processor's cache."""
        parts = zip(*(torch.split(each, self._samples_at_once) for each in (x.flatten(1), _by_task(y))), strict=True)
        return [(inputs.t(), labels.t()) for inputs, labels in parts]

    def _evaluate(self, chunks: Sequence[tuple[Tensor, Tensor]]) -> list[LossAndAccuracy]:
        """Return every trial's loss and accuracies."""
        loss = self._values.new_zeros(len(self._models))
        right = self._losses.new_zeros(self._losses.shape[:2])  # (trials, tasks)
        for x, y in chunks:
            outputs = x
            for place, layer in enumerate(self._layers):
                outputs = layer.forward(outputs, shared=place == 0)
                if layer.layer.activation is not None:
                    outputs = layer.layer.activation.forward(outputs)
            likelihood, answered = self._heads.evaluate(outputs.view(len(loss), -1, y.shape[1]), y)
            loss -= likelihood
            right += answered
        samples = sum(y.shape[1] for _, y in chunks)
        rows = torch.cat([loss[:, None], right], dim=1).div_(samples).tolist()
        return [LossAndAccuracy.of(of_loss, task_acc) for of_loss, *task_acc in rows]


def _by_task(labels: Tensor) -> Tensor:
    """Return labels (n,) or (n, tasks) as (n, tasks)."""
    return labels.view(len(labels), -1)
