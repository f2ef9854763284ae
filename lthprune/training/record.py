"""Records of trainings: the results of all evaluations, and the early-stopping step."""

from dataclasses import dataclass

import numpy as np

from lthprune.pruning import State
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


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        history: an array over the plan's evaluation steps for each of ``HISTORIES``, NaN for evaluations that were
            not made; if there are several tasks, also one of shape (evaluations, tasks) for each of ``TASK_HISTORIES``.
        early_stop: the step of minimum validation loss.
        early_stop_state: a copy of the model at that step, or None if none was kept.
        engine: the engine that trained the model.
    """

    history: dict[str, np.ndarray]
    early_stop: int
    early_stop_state: State | None = None
    engine: str = "reference"

    def at_early_stop(self, name: str, task: int | None = None) -> float:
        """Return a history's value at the early-stopping step; for ``TASK_HISTORIES``, give the task's index."""
        values = self.history[name][early_stopping_index(self.history["val_loss"])]
        return float(values if task is None else values[task])


class Record:
    """The record of one model while it trains on a number of tasks."""

    def __init__(self, plan: TrainingPlan, tasks: int) -> None:
        self._plan = plan
        self._places = {step: place for place, step in enumerate(plan.evaluation_steps)}
        self._history = {name: np.full(len(self._places), np.nan) for name in HISTORIES}
        if tasks > 1:
            self._history |= {name: np.full((len(self._places), tasks), np.nan) for name in TASK_HISTORIES}
        self._val_losses: list[float] = []
        self._last = 0

    def enter(self, evaluation: Evaluation) -> None:
        """Record an evaluation."""
        self._last = self._places[evaluation.step]
        for name in self._history:
            self._history[name][self._last] = getattr(evaluation, name)
        self._val_losses.append(evaluation.val_loss)

    @property
    def last_is_best(self) -> bool:
        """Whether the last evaluation has the minimum validation loss so far."""
        return early_stopping_index(self._history["val_loss"]) == self._last

    @property
    def should_stop(self) -> bool:
        """Whether the plan says to stop after the last evaluation."""
        plan = self._plan
        return should_stop(
            self._val_losses, patience=plan.patience, min_delta=plan.min_delta, loss_cutoff=plan.loss_cutoff
        )

    def close(self, early_stop_state: State | None, engine: str = "reference") -> Training:
        """Return the finished training."""
        early_stop = self._plan.evaluation_steps[early_stopping_index(self._history["val_loss"])]
        return Training(self._history, early_stop, early_stop_state, engine)
