"""A population of multilayer perceptrons, trained side by side without autograd.

Activations are (trials x features, samples). All parameters lie in one row, so that the optimiser and the masks
take one call each; a layer looks at its part of it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lthprune.data import Dataset
from lthprune.training.engine import Measured
from lthprune.training.graphs import recorded
from lthprune.training.lowering import Lowered, lift
from lthprune.training.optimizer import RowOptimizer
from lthprune.training.plan import TrainingPlan
from lthprune.training.sparse import SparseLayer
from lthprune.training.stacked import StackedLayer

_CACHED = 3 << 17  # outputs of a layer that are evaluated at once: they stay in the processor's cache


class Perceptrons:
    """The engine of multilayer perceptrons.

    Args:
        models: of one architecture, as ``is_perceptron`` will have it.
        lowered: their layers.
        data: on the models' device.
        plan: the optimiser.
        sparse: says of every layer whether to take a sparse matrix for it.
        captured: whether to record a step and replay it, which is for GPUs.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        lowered: Sequence[Lowered],
        data: Dataset,
        plan: TrainingPlan,
        sparse: Sequence[bool],
        *,
        captured: bool = False,
    ) -> None:
        self._models = list(models)
        self._layers: list[StackedLayer | SparseLayer] = [
            SparseLayer(each.layer) if takes_sparse else StackedLayer(each.layer)
            for each, takes_sparse in zip(lowered, sparse, strict=True)
        ]
        self.name = "sparse" if all(sparse) else "mixed" if any(sparse) else "stacked"
        self._x, self._y = data.x_train.flatten(1), data.y_train
        widest = max(layer.layer.weight_mask.shape[1] for layer in self._layers)
        at_once = 64 * _CACHED if self._x.is_cuda else _CACHED
        self._samples_at_once = max(64, at_once // (len(models) * widest))
        self._validation = self._chunks(data.x_val, data.y_val)
        self._test = self._chunks(data.x_test, data.y_test)
        packed = [layer.pack(each.weight, each.bias) for layer, each in zip(self._layers, lowered, strict=True)]
        self._bind(torch.cat(packed))
        self._optimizer = RowOptimizer(plan, self._values, self._gradients, captured=captured)
        self._losses = self._values.new_zeros(len(models), 1, plan.batch_size)  # summed over steps, of every sample
        self._minus_ones = torch.full_like(self._losses, -1)
        self._steps = 0
        self._captured = captured
        self._batch = torch.zeros(len(models), plan.batch_size, dtype=torch.long, device=self._x.device)
        self._replay: Callable[[], None] | None = None

    def step(self, batch: Tensor, lr: float) -> None:
        """Make one optimiser step on these samples, (trials, batch)."""
        self._optimizer.set_lr(lr)
        self._batch.copy_(batch)
        if self._captured and self._replay is None:
            self._replay = recorded(self._step, [self._values, self._losses, *self._optimizer.state])
        (self._replay or self._step)()
        self._steps += 1

    def _step(self) -> None:
        batch = self._batch
        x = self._x.index_select(0, batch.flatten()).view(*batch.shape, -1).transpose(1, 2)
        x = self._as_read(x)  # (trials, in, batch)
        inputs, sums, outputs = [], [], x
        for layer in self._layers:
            inputs.append(outputs)
            sums.append(layer.forward(outputs))
            activation = layer.layer.activation
            outputs = sums[-1] if activation is None else activation.forward(sums[-1])
        labels = self._y.index_select(0, batch.flatten()).view(self._losses.shape)
        logs = outputs.view(len(batch), -1, batch.shape[1]).log_softmax(dim=1)  # (trials, classes, batch)
        self._losses -= logs.gather(1, labels)
        gradient = logs.exp_().scatter_add_(1, labels, self._minus_ones).div_(batch.shape[1]).view(outputs.shape)
        for place in reversed(range(len(self._layers))):
            layer = self._layers[place]
            if layer.layer.activation is not None:
                gradient = layer.layer.activation.backward(gradient, sums[place], inputs[place + 1])
            below = layer.backward(inputs[place], gradient, to_inputs=place > 0)
            gradient = gradient if below is None else below
        for gradients, mask in self._masked:
            gradients *= mask
        self._optimizer.step()

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""
        val_loss, val_acc = self._evaluate(self._validation)
        _, test_acc = self._evaluate(self._test)
        columns = (self._losses.mean(dim=(1, 2)) / self._steps, val_loss, val_acc, test_acc)
        self._losses.zero_()
        self._steps = 0
        return [Measured(*row) for row in torch.stack([column.double() for column in columns], dim=1).tolist()]

    def lift(self, trial: int) -> None:
        """Bring a trial's model up to date."""
        lift(self._models[trial], {name: each for layer in self._layers for name, each in layer.lifted(trial).items()})

    def keep(self, trials: Sequence[int]) -> None:
        """Go on with these trials alone, in ascending order."""
        owners = torch.cat([layer.owners() for layer in self._layers])
        kept = torch.isin(owners, torch.tensor(list(trials), device=owners.device))
        self._models = [self._models[trial] for trial in trials]
        self._layers = [type(layer)(layer.layer.keep(trials)) for layer in self._layers]
        self._losses, self._minus_ones = self._losses[list(trials)], self._minus_ones[list(trials)]
        self._batch, self._replay = self._batch[list(trials)], None
        self._bind(self._values[kept])
        self._optimizer.keep(kept, self._values, self._gradients)

    def _bind(self, values: Tensor) -> None:
        """Let these be the values of all layers."""
        self._values, self._gradients = values, torch.zeros_like(values)
        masks = [layer.pack(layer.layer.weight_mask, layer.layer.bias_mask) for layer in self._layers]
        sizes = [len(mask) for mask in masks]
        own, gradients = torch.split(values, sizes), torch.split(self._gradients, sizes)
        for layer, *part in zip(self._layers, own, gradients, strict=True):
            layer.bind(*part)
        pairs = zip(gradients, masks, strict=True)
        self._masked = [(gradient, mask.to(values.dtype)) for gradient, mask in pairs if not mask.all()]

    def _chunks(self, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return inputs (features, n) and labels (n,) in parts that are small enough to be evaluated at once."""
        parts = zip(*(torch.split(each, self._samples_at_once) for each in (x.flatten(1), y)), strict=True)
        return [(self._as_read(inputs.t()), labels) for inputs, labels in parts]

    def _as_read(self, x: Tensor) -> Tensor:
        """Return inputs as the first layer reads them: a sparse one in rows of samples, a dense one as they lie."""
        return x.contiguous() if isinstance(self._layers[0], SparseLayer) else x

    def _evaluate(self, chunks: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return every trial's mean cross-entropy (nats) and accuracy."""
        loss, correct = (self._values.new_zeros(len(self._models)) for _ in range(2))
        for x, y in chunks:
            outputs = x
            for place, layer in enumerate(self._layers):
                outputs = layer.forward(outputs, shared=place == 0)
                if layer.layer.activation is not None:
                    outputs = layer.layer.activation.forward(outputs)
            outputs = outputs.view(len(loss), -1, len(y))  # (trials, classes, n)
            loss -= outputs.log_softmax(dim=1).gather(1, y.expand(len(loss), 1, -1)).sum(dim=(1, 2))
            correct += (outputs.max(dim=1).indices == y).sum(dim=1)  # much faster than argmax along this axis
        samples = sum(len(y) for _, y in chunks)
        return loss / samples, correct / samples
