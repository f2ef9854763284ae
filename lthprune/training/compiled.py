"""The engine of multilayer perceptrons on a processor: whole steps in compiled kernels, trials in threads.

Every trial trains by itself: its sums are made in one order, so its bits depend neither on the number of threads nor
on the other trials.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from lthprune import kernels
from lthprune.data import Dataset
from lthprune.kernels import activations, optimisers
from lthprune.training.engine import Measured
from lthprune.training.layout import Split, lay_out
from lthprune.training.losses import LossAndAccuracy
from lthprune.training.lowering import Lowered, lift
from lthprune.training.plan import TrainingPlan

# From tests/benchmarks/layer_forms.py: the lower end of where the forms cross on AVX2 and AVX-512. The rule depends on
# densities, not on the clock: a resumed run chooses the same.
_ROWS_BELOW = 0.3  # density
_PIECES = 8  # in how many parts a trial takes its steps between two evaluations, so that no thread is left idle

_ACTIVATIONS = {
    None: activations.NONE,
    "relu": activations.RELU,
    "tanh": activations.TANH,
    "sigmoid": activations.SIGMOID,
    "elu": activations.ELU,
    "gelu": activations.GELU,
    "leaky_relu": activations.LEAKY_RELU,
}
_RULES = {"sgd": optimisers.SGD, "adam": optimisers.ADAM, "adamw": optimisers.ADAMW}


class Compiled:
    """The engine called ``compiled``.

    Args:
        models: perceptrons of one architecture, for which ``is_perceptron`` is true, in main memory.
        lowered: their layers.
        data: the data, in main memory.
        plan: the optimiser.
    """

    name = "compiled"

    def __init__(
        self, models: Sequence[nn.Module], lowered: Sequence[Lowered], data: Dataset, plan: TrainingPlan
    ) -> None:
        self._data = lay_out(data)
        self._rule = kernels.Rule(_RULES[plan.optimizer], plan.momentum, plan.weight_decay)
        self._trials = [_Trial(model, place, lowered, self._data.train.inputs) for place, model in enumerate(models)]

    def train(self, batches: Tensor, rates: Sequence[float]) -> None:
        """Make optimiser steps on these samples, (steps, trials, batch), each at its learning rate."""
        orders, rate = batches.transpose(0, 1).contiguous().numpy(), np.array(rates)
        pieces = np.array_split(np.arange(len(rate)), min(_PIECES, len(rate)))

        def steps(trial: "_Trial", order: np.ndarray) -> Iterator[Callable[[], None]]:
            for piece in pieces:
                yield partial(self._train, trial, order[piece], rate[piece])

        _side_by_side([steps(trial, order) for trial, order in zip(self._trials, orders, strict=True)])

    def _train(self, trial: "_Trial", batches: np.ndarray, rates: np.ndarray) -> None:
        split = self._data.train
        trial.loss += kernels.train(
            trial.network,
            trial.state,
            self._rule,
            split.inputs,
            split.labels,
            self._data.heads,
            batches,
            rates,
            trial.made,
        )
        trial.made += len(batches)
        trial.since += len(batches)

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""
        results: list[list[_Sums]] = [
            [_Sums(split, len(self._data.heads)) for split in (self._data.val, self._data.test)] for _ in self._trials
        ]
        _side_by_side(
            [
                iter([partial(sums.add, trial, self._data.heads, part)])
                for trial, both in zip(self._trials, results, strict=True)
                for sums in both
                for part in range(len(sums.losses))
            ]
        )
        measured = []
        for trial, (val, test) in zip(self._trials, results, strict=True):
            measured.append(Measured(trial.loss / trial.since, val.means(), test.means()))
            trial.loss, trial.since = 0.0, 0
        return measured

    def lift(self, trial: int) -> None:
        """Write the trained values of a trial into its model."""
        self._trials[trial].lift()

    def keep(self, trials: Sequence[int]) -> None:
        """Continue with these trials only, in ascending order."""
        self._trials = [self._trials[trial] for trial in trials]


class _Trial:
    """A model, its layers in the forms that suit their densities, and its values while it trains."""

    def __init__(
        self, model: nn.Module, place: int, lowered: Sequence[Lowered], inputs: kernels.Inputs
    ) -> None:
        self._model = model
        self._layers: list[_Layer] = []
        table, starts, rows, columns, back_starts, back_rows, back_order = ([] for _ in range(7))  # type: ignore[var-annotated]
        features, at, units = np.arange(inputs.dense.shape[1], dtype=np.int32), 0, 0
        for each in lowered:
            layer = _Layer.of(each, place, wide=inputs.sparse and not table)
            first = at + len(layer.weight)
            table.append(
                [
                    layer.form,
                    *layer.mask.shape[::-1],
                    _ACTIVATIONS[each.layer.activation.name if each.layer.activation else None],
                    at,
                    first if len(layer.bias) else -1,
                    units,
                    sum(map(len, starts)),
                    sum(map(len, rows)),
                    sum(map(len, back_starts)),
                    sum(map(len, back_rows)),
                ]
            )
            at, units = first + len(layer.bias), units + len(layer.mask)
            if layer.form == kernels.ROWS:
                row, column = layer.mask.nonzero()
                order = np.argsort(column, kind="stable")
                starts.append(_starts(row, layer.mask.shape[0]))
                rows.append(row)
                columns.append(column)
                back_starts.append(_starts(column, layer.mask.shape[1]))
                back_rows.append(row[order])
                back_order.append(order)
                features = np.unique(column).astype(np.int32) if not self._layers else features
            self._layers.append(layer)
        pattern = (starts, rows, columns, back_starts, back_rows, back_order)
        self.network = kernels.Network(np.array(table), features, *map(_joined, pattern))
        values = np.concatenate([part for layer in self._layers for part in (layer.weight, layer.bias)])
        masks = np.concatenate([part for layer in self._layers for part in (layer.weight_mask, layer.bias_mask)])
        mask = np.empty(0, values.dtype) if masks.all() else masks.astype(values.dtype)
        self.state = kernels.State(values, np.zeros_like(values), mask, np.zeros_like(values), np.zeros_like(values))
        self.loss, self.made, self.since = 0.0, 0, 0

    def lift(self) -> None:
        state, at = {}, 0
        for layer in self._layers:
            weight = self.state.values[at : at + len(layer.weight)]
            state[f"{layer.name}.weight"] = torch.from_numpy(layer.unpacked(weight))
            at += len(weight)
            if len(layer.bias):
                state[f"{layer.name}.bias"] = torch.from_numpy(self.state.values[at : at + len(layer.bias)].copy())
                at += len(layer.bias)
        lift(self._model, state)


class _Layer(NamedTuple):
    """A layer of one trial: its form, its weights in this form as a vector, its biases, and the masks of both."""

    name: str
    form: int
    mask: np.ndarray  # (out, in)
    weight: np.ndarray
    weight_mask: np.ndarray
    bias: np.ndarray
    bias_mask: np.ndarray

    @classmethod
    def of(cls, lowered: Lowered, trial: int, *, wide: bool) -> "_Layer":
        """Return a trial's layer; ``wide`` says that it is the first, of inputs that are mostly background."""
        mask, weight = lowered.layer.weight_mask[trial].numpy(), lowered.weight[trial].numpy()
        form = kernels.ROWS if mask.mean() < _ROWS_BELOW else kernels.WIDE if wide else kernels.DENSE
        bias, bias_mask = lowered.bias[trial].numpy(), lowered.layer.bias_mask[trial].numpy()
        return cls(lowered.layer.name, form, mask, _packed(weight, mask, form), _packed(mask, mask, form), bias, bias_mask)

    def unpacked(self, weight: np.ndarray) -> np.ndarray:
        """Return weights (out, in), zero where pruned."""
        if self.form == kernels.WIDE:
            out, into = self.mask.shape
            blocks = weight.reshape(-1, into, kernels.LANES).transpose(0, 2, 1)
            return blocks.reshape(-1, into)[:out] * self.mask
        if self.form == kernels.DENSE:
            return weight.reshape(self.mask.shape) * self.mask
        dense = np.zeros(self.mask.shape, weight.dtype)
        dense[self.mask] = weight
        return dense


class _Sums:
    """Losses and correct samples of one trial and split, by parts of the split."""

    def __init__(self, split: Split, tasks: int) -> None:
        self._split = split
        parts = -(-len(split.labels) // (kernels.PANELS * kernels.LANES))
        self.losses, self._right = np.zeros(parts), np.zeros((parts, tasks), np.int64)

    def add(self, trial: _Trial, heads: np.ndarray, part: int) -> None:
        """Evaluate a part."""
        inputs, labels = self._split
        values, right = trial.state.values, self._right[part]
        self.losses[part] = kernels.evaluate(
            trial.network, values, inputs, labels, heads, part * kernels.PANELS, right
        )

    def means(self) -> LossAndAccuracy:
        """Return the mean loss and accuracies."""
        samples = len(self._split.labels)
        return LossAndAccuracy.of(float(self.losses.sum()) / samples, (self._right.sum(axis=0) / samples).tolist())


def _packed(weight: np.ndarray, mask: np.ndarray, form: int) -> np.ndarray:
    """Return weights (out, in), or their mask, as the vector that a form reads."""
    if form == kernels.ROWS:
        return weight[mask]
    if form == kernels.DENSE:
        return weight.ravel()
    out, into = weight.shape
    blocks = np.zeros((-(-out // kernels.LANES) * kernels.LANES, into), weight.dtype)
    blocks[:out] = weight
    return blocks.reshape(-1, kernels.LANES, into).transpose(0, 2, 1).ravel()


def _starts(places: np.ndarray, rows: int) -> np.ndarray:
    """Return where each row's entries start, and their number at the end."""
    return np.concatenate([[0], np.bincount(places, minlength=rows).cumsum()])


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *parts]).astype(np.int32)


def _side_by_side(queues: Sequence[Iterator[Callable[[], Any]]]) -> None:
    """Do all work of some queues, each in its order, in as many threads as torch is set to use.

    Threads without work end, so that none waits for another. The products of BLAS use one thread each.
    """
    waiting = deque(queues)

    def work_off() -> None:
        while waiting:
            try:
                queue = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            for work in islice(queue, 1):
                work()
                waiting.append(queue)

    threads = min(torch.get_num_threads(), len(queues))
    with _blas().limit(limits=1), ThreadPoolExecutor(threads) as pool:
        try:
            for done in [pool.submit(work_off) for _ in range(threads)]:
                done.result()
        finally:
            waiting.clear()  # after an error or Ctrl-C


@cache
def _blas() -> ThreadpoolController:
    """Return what sets the number of threads of BLAS."""
    return ThreadpoolController().select(user_api="blas")
