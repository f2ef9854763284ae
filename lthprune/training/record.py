"""Records of trainings: the results of all evaluations, the early-stopping step, and copies of the model."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import nn

from lthprune.errors import StorageError
from lthprune.pruning import State, check_fit, registered_buffers
from lthprune.search import Diverged
from lthprune.training.checkpoint import under, within
from lthprune.training.losses import LossAndAccuracy
from lthprune.training.plan import TrainingPlan
from lthprune.training.stopping import early_stopping_index, should_stop

HISTORIES = ("train_loss", "val_loss", "val_acc", "test_acc")
TASK_HISTORIES = ("task_val_acc", "task_test_acc")  # only of data sets with several tasks


@dataclass(frozen=True)
class Evaluation:
    """The results of one evaluation; losses are mean cross-entropies in nats, accuracies fractions in [0, 1].

    If there are several tasks, losses are sums over them and accuracies means, and ``task_val_acc`` and
    ``task_test_acc`` are the accuracies of each.
    """

    step: int
    train_loss: float
    val_loss: float
    val_acc: float
    test_acc: float
    task_val_acc: tuple[float, ...] = ()
    task_test_acc: tuple[float, ...] = ()

    @classmethod
    def of(cls, step: int, train_loss: float, val: LossAndAccuracy, test: LossAndAccuracy) -> "Evaluation":
        """Combine the training loss with the results on validation and test data."""
        return cls(step, train_loss, val.loss, val.acc, test.acc, val.task_acc, test.task_acc)

    @property
    def row(self) -> tuple[float, ...]:
        """All numbers, in the order of the fields."""
        return (*astuple(self)[:5], *self.task_val_acc, *self.task_test_acc)

    @classmethod
    def of_row(cls, row: Sequence[float]) -> "Evaluation":
        """Undo ``row``.

        Examples:
            >>> Evaluation.of_row((100.0, 0.2, 0.3, 0.9, 0.8, 1.0, 0.8, 1.0, 0.6)).task_test_acc
            (1.0, 0.6)
        """
        step, train_loss, val_loss, val_acc, test_acc, *of_tasks = row
        tasks = len(of_tasks) // 2
        return cls(int(step), train_loss, val_loss, val_acc, test_acc, tuple(of_tasks[:tasks]), tuple(of_tasks[tasks:]))


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        history: an array over the plan's evaluation steps for each of ``HISTORIES``, NaN for evaluations that were
            not made; if there are several tasks, also one of shape (evaluations, tasks) for each of ``TASK_HISTORIES``.
        early_stop: the step of minimum validation loss.
        early_stop_state: a copy of the model at that step, sorted by name, as it is after a checkpoint too; or None if
            none was kept.
        engine: the engine that trained the model.
        diverged: why the training was stopped before its end; None if its losses and weights are finite.
    """

    history: dict[str, np.ndarray]
    early_stop: int
    early_stop_state: State | None = None
    engine: str = "reference"
    diverged: Diverged | None = None

    def at_early_stop(self, name: str, task: int | None = None) -> float:
        """Return a history's value at the early-stopping step; for ``TASK_HISTORIES``, give the task's index."""
        values = self.history[name][early_stopping_index(self.history["val_loss"])]
        return float(values if task is None else values[task])


class Record:
    """The record of one model while it trains on a number of tasks.

    Attributes:
        early_stop_state: a copy of the model at the early-stopping step so far, if such a copy is kept.
        rewind_state: a copy of the model at the rewind point, for checkpoints after it.
        diverged: why the training ended at the last evaluation, if it diverged.
    """

    def __init__(self, plan: TrainingPlan, tasks: int) -> None:
        self.early_stop_state: State | None = None
        self.rewind_state: State | None = None
        self.diverged: Diverged | None = None
        self._plan, self._entered = plan, list[Evaluation]()
        self._places = {step: place for place, step in enumerate(plan.evaluation_steps)}
        self._history = {name: np.full(len(self._places), np.nan) for name in HISTORIES}
        if tasks > 1:
            self._history |= {name: np.full((len(self._places), tasks), np.nan) for name in TASK_HISTORIES}
        self._columns = 1 + len(HISTORIES) + (tasks > 1) * tasks * len(TASK_HISTORIES)
        self._last = 0

    @property
    def step(self) -> int:
        """The step of the last evaluation; 0 before the first."""
        return self._entered[-1].step if self._entered else 0

    @property
    def train_loss(self) -> float:
        """The training loss of the last evaluation."""
        return self._entered[-1].train_loss

    def enter(self, evaluation: Evaluation) -> None:
        """Record an evaluation."""
        self._last = self._places[evaluation.step]
        for name in self._history:
            self._history[name][self._last] = getattr(evaluation, name)
        self._entered.append(evaluation)

    @property
    def last_is_best(self) -> bool:
        """Whether the last evaluation has the minimum validation loss so far."""
        return early_stopping_index(self._history["val_loss"]) == self._last

    @property
    def should_stop(self) -> bool:
        """Whether the plan says to stop after the last evaluation."""
        plan, losses = self._plan, [each.val_loss for each in self._entered]
        return should_stop(losses, patience=plan.patience, min_delta=plan.min_delta, loss_cutoff=plan.loss_cutoff)

    def close(self, engine: str = "reference") -> Training:
        """Return the finished training."""
        early_stop = self._plan.evaluation_steps[early_stopping_index(self._history["val_loss"])]
        kept = None if self.early_stop_state is None else dict(sorted(self.early_stop_state.items()))
        return Training(self._history, early_stop, kept, engine, self.diverged)

    def tensors(self) -> State:
        """Return the record as tensors: one row for each evaluation, and the copies of the model."""
        rows = [each.row for each in self._entered]
        copies = under("early-stop", self.early_stop_state or {}) | under("rewind", self.rewind_state or {})
        return {"evaluations": torch.tensor(rows, dtype=torch.float64)} | copies

    def restore(self, tensors: State, model: nn.Module, start: int) -> None:
        """Enter what ``tensors`` returned in a training of the same model that began at step ``start``.

        Raises:
            StorageError: the evaluations are not those of the plan, or a copy is of another model.
        """
        rows = tensors["evaluations"]
        steps = [step for step in self._plan.evaluation_steps if step > start][: len(rows)]
        fits = rows.dtype == torch.float64 and len(rows) > 0 and rows.shape == (len(steps), self._columns)
        if not fits or rows[:, 0].tolist() != steps:
            raise StorageError("its evaluations are not those of the plan")
        for row in rows.tolist():
            self.enter(Evaluation.of_row(row))
        self.early_stop_state, self.rewind_state = (
            _checked_copy(model, within(name, tensors)) for name in ("early-stop", "rewind")
        )


def _checked_copy(model: nn.Module, state: State) -> State | None:
    """Return the state of a copy of a model after a check that it fits; None if it is empty."""
    if state:
        check_fit(model, state, what="a copy in it", may_lack=registered_buffers(model), may_bring=state)
    return state or None
