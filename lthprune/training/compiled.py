"""The engine of multilayer perceptrons on a processor: whole steps in compiled kernels, trials in threads.

Every trial trains by itself: its sums are made in one order, so its bits depend neither on the number of threads nor
on the other trials.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from lthprune import kernels
from lthprune.data import Dataset
from lthprune.errors import PruningError
from lthprune.kernels import LANES, PANELS
from lthprune.pruning import State
from lthprune.training.checkpoint import copy_into, under
from lthprune.training.engine import Measured
from lthprune.training.formed import FormedLayer, build_network, unpack
from lthprune.training.layout import Split, lay_out
from lthprune.training.losses import LossAndAccuracy
from lthprune.training.lowering import Lowered, lift
from lthprune.training.plan import TrainingPlan

_PIECES = 8  # in how many parts a trial takes its steps between two evaluations, so that no thread is left idle
_SHARED_FROM = 8_000  # values of a trial for each thread that shares its work: with fewer, waiting takes longer

_RULES = {"sgd": kernels.SGD, "nesterov": kernels.NESTEROV, "adam": kernels.ADAM, "adamw": kernels.ADAMW}

_ALONE = kernels.Team(0, 1, kernels.new_gate())


class Compiled:
    """The engine called ``compiled``.

    Args:
        models: perceptrons of one architecture, for which ``is_perceptron`` is true, in main memory.
        lowered: their layers.
        data: the data, in main memory.
        plan: the optimiser and the batch size.

    Raises:
        DataError: splits, labels and tasks do not fit one another.
        PruningError: a network has more or fewer outputs than the tasks of the data.
        RuntimeError: by torch, where layers and inputs do not fit one another.
    """

    name = "compiled"

    def __init__(
        self, models: Sequence[nn.Module], lowered: Sequence[Lowered], data: Dataset, plan: TrainingPlan
    ) -> None:
        _check_fit(models[0], data)  # their tensors have the same shapes, or ``lower`` could not have stacked them
        self._data = lay_out(data)
        rule = _RULES["nesterov" if plan.nesterov else plan.optimizer]
        self._rule = kernels.Rule(rule, plan.momentum, plan.weight_decay, plan.label_smoothing)
        several = plan.batch_size > LANES
        self._trials = [
            _Trial(model, place, lowered, self._data.train.inputs, plan.l1, several=several)
            for place, model in enumerate(models)
        ]
        self._rooms: deque[kernels.Panels] = deque()  # not in use

    def train(self, batches: Tensor, rates: Sequence[float]) -> None:
        """Make optimiser steps on these samples, (steps, trials, batch), each at its learning rate."""
        orders, rate = batches.transpose(0, 1).contiguous().numpy(), np.array(rates)
        losses = np.zeros((len(self._trials), len(rate)))
        threads = torch.get_num_threads()
        gates = [kernels.new_gate() for _ in self._trials]
        pieces = np.array_split(np.arange(len(rate)), min(_PIECES, len(rate)))
        work: list[list[Callable[[], None]]] = []
        with ExitStack() as rooms:
            for place, trial in enumerate(self._trials):
                steps = partial(
                    self._steps, trial, orders[place], rate, losses[place], rooms.enter_context(self._room())
                )
                members = max(1, min(threads // len(self._trials), len(trial.state.values) // _SHARED_FROM))
                teams = [kernels.Team(member, members, gates[place]) for member in range(members)]
                if members == 1:
                    work.append([partial(steps, slice(piece[0], piece[-1] + 1), *teams) for piece in pieces])
                else:
                    work += [[partial(steps, slice(None), team)] for team in teams]
            _side_by_side(work, threads, gates)
        for trial, own in zip(self._trials, losses, strict=True):
            trial.loss += float(own.sum())
            trial.made += len(rate)
            trial.since += len(rate)

    def _steps(
        self,
        trial: "_Trial",
        batches: np.ndarray,
        rates: np.ndarray,
        losses: np.ndarray,
        panels: kernels.Panels,
        piece: slice,
        team: kernels.Team,
    ) -> None:
        """Make a piece of a trial's steps as a member of a team."""
        inputs, labels = self._data.train
        kernels.train(
            trial.network,
            trial.state,
            panels,
            self._rule,
            inputs,
            labels,
            self._data.heads,
            batches[piece],
            rates[piece],
            int(trial.made) + (piece.start or 0),
            losses[piece],
            team,
        )

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""
        splits, tasks = (self._data.val, self._data.test), len(self._data.heads)
        results = [[_Sums(split, tasks) for split in splits] for _ in self._trials]
        _side_by_side(
            [
                [partial(self._evaluate, trial, sums, part)]
                for trial, both in zip(self._trials, results, strict=True)
                for sums in both
                for part in range(len(sums.losses))
            ],
            torch.get_num_threads(),
        )
        measured = []
        for trial, (val, test) in zip(self._trials, results, strict=True):
            train_loss = trial.loss / trial.since if trial.since else math.nan
            finite = bool(np.isfinite(trial.state.values).all())
            measured.append(Measured(train_loss, val.means(), test.means(), finite))
            trial.loss, trial.since = 0.0, 0
        return measured

    def _evaluate(self, trial: "_Trial", sums: "_Sums", part: int) -> None:
        inputs, labels = sums.split
        with self._room() as panels:
            sums.losses[part] = kernels.evaluate(
                trial.network,
                trial.state.values,
                panels,
                inputs,
                labels,
                self._data.heads,
                part * PANELS,
                sums.right[part],
                _ALONE,
            )

    def lift(self, trial: int) -> None:
        """Write the trained values of a trial into its model."""
        self._trials[trial].lift()

    def keep(self, trials: Sequence[int]) -> None:
        """Continue with these trials only, in ascending order."""
        self._trials = [self._trials[trial] for trial in trials]

    def state(self) -> State:
        """Return the values, the optimiser's state and the number of steps of every trial, by name; not copies."""
        return {
            name: tensor
            for place, trial in enumerate(self._trials)
            for name, tensor in under(str(place), trial.saved()).items()
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned for the same trials."""
        copy_into(self.state(), state)

    @contextmanager
    def _room(self) -> Iterator[kernels.Panels]:
        """Give room for the numbers of 64 samples, which nobody else uses meanwhile."""
        try:
            panels = self._rooms.pop()
        except IndexError:
            panels = self._trials[0].new_panels(self._data.train.inputs)
        try:
            yield panels
        finally:
            self._rooms.append(panels)


class _Trial:
    """A model, its layers in the forms that suit their densities, and its values while it trains."""

    def __init__(
        self,
        model: nn.Module,
        place: int,
        lowered: Sequence[Lowered],
        inputs: kernels.Inputs,
        l1: float,
        *,
        several: bool,
    ) -> None:
        self._model = model
        self._layers = [FormedLayer.of(each, place, wide=inputs.sparse and each is lowered[0]) for each in lowered]
        self.network = build_network(self._layers, inputs.dense.shape[1])
        values = np.concatenate([part for layer in self._layers for part in (layer.weight, layer.bias)])
        masks = np.concatenate([part for layer in self._layers for part in (layer.weight_mask, layer.bias_mask)])
        weights = np.concatenate([np.repeat([1, 0], [len(each.weight), len(each.bias)]) for each in self._layers])
        none = np.empty(0, values.dtype)
        self.state = kernels.State(
            values=values,
            gradients=np.zeros_like(values),
            more_gradients=np.zeros_like(values) if several else none,
            mask=none if masks.all() else masks.astype(values.dtype),
            l1=(weights * l1).astype(values.dtype) if l1 else none,
            first=np.zeros_like(values),
            second=np.zeros_like(values),
        )
        self.made = np.zeros((), np.int64)  # steps in all
        self.loss, self.since = 0.0, 0  # the sum of losses and the number of steps since the last evaluation

    def new_panels(self, inputs: kernels.Inputs) -> kernels.Panels:
        """Return room for the numbers of 64 samples of any trial."""
        sizes = [layer.mask.shape for layer in self._layers]  # (out, in) each
        dtype, units = self.state.values.dtype, sum(out for out, _ in sizes)
        sums, outputs, deltas = (np.zeros((units, LANES), dtype) for _ in range(3))
        turned = np.zeros(LANES * max(into for _, into in sizes), dtype)
        return kernels.Panels(np.repeat(inputs.background[:, None], LANES, axis=1), sums, outputs, deltas, turned)

    def saved(self) -> State:
        """Return the tensors that further steps depend on after an evaluation; not copies."""
        state = self.state
        arrays = {"values": state.values, "first": state.first, "second": state.second, "made": self.made}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def lift(self) -> None:
        """Write the values into the model."""
        lift(self._model, unpack(self._layers, self.state.values))


class _Sums:
    """Losses and correct samples of one trial and split, by parts of the split."""

    def __init__(self, split: Split, tasks: int) -> None:
        self.split = split
        parts = -(-len(split.labels) // (PANELS * LANES))
        self.losses, self.right = np.zeros(parts), np.zeros((parts, tasks), np.int64)

    def means(self) -> LossAndAccuracy:
        """Return the mean loss and accuracies."""
        samples = len(self.split.labels)
        return LossAndAccuracy.of(float(self.losses.sum()) / samples, (self.right.sum(axis=0) / samples).tolist())


def _check_fit(model: nn.Module, data: Dataset) -> None:
    """Raise an error if the kernels, which check nothing, would read or write beyond what there is."""
    with torch.no_grad():
        outputs = model(data.x_train[:2]).shape[1]  # torch refuses other shapes and types of numbers
    if outputs != data.outputs:
        raise PruningError(
            f"the network has {outputs} outputs, and the tasks of its data {data.outputs}. Give it one output for each "
            'class, or a single one for two classes. engine = "reference" also trains networks with more outputs.'
        )


def _side_by_side(
    queues: Sequence[Sequence[Callable[[], None]]], threads: int, gates: Sequence[np.ndarray] = ()
) -> None:
    """Do the work of all queues, each in its order, in up to so many threads; at an error, the teams' gates give up.

    Threads without work end, so that none waits for another.
    """
    waiting = deque(map(iter, queues))

    def work_off() -> None:
        with ending():
            while waiting:
                try:
                    queue = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                for work in islice(queue, 1):
                    work()
                    waiting.append(queue)

    @contextmanager
    def ending() -> Iterator[None]:
        """End all threads soon after an error in one of them, or Ctrl-C."""
        try:
            yield
        except BaseException:
            waiting.clear()
            for gate in gates:
                kernels.give_up(gate)
            raise

    threads = min(threads, len(queues))
    with ThreadPoolExecutor(threads) as pool, ending():
        for done in [pool.submit(work_off) for _ in range(threads)]:
            done.result()
