"""The record of a training: what was measured at every evaluation, and what follows from it."""

from dataclasses import dataclass

import numpy as np

from lthprune.state import State
from lthprune.training.plan import TrainingPlan
from lthprune.training.stopping import early_stopping_index, should_stop

HISTORIES = ("train_loss", "val_loss", "val_acc", "test_acc")


@dataclass(frozen=True)
class Evaluation:
    """What is known after an evaluation; losses are mean cross-entropies in nats, accuracies fractions in [0, 1]."""

    step: int
    train_loss: float
    val_loss: float
    val_acc: float
    test_acc: float


@dataclass(frozen=True)
class Training:
    """A finished training.

    ``history`` maps each of ``HISTORIES`` to an array over the plan's evaluation steps, NaN where none was made.
    ``early_stop`` is the step of minimum validation loss; ``early_stop_state`` a copy of the model at that step, where
    it was asked for. ``engine`` says what trained it.
    """

    history: dict[str, np.ndarray]
    early_stop: int
    early_stop_state: State | None = None
    engine: str = "reference"

    def at_early_stop(self, name: str) -> float:
        """Return a history's value at the early-stopping step."""
        return float(self.history[name][early_stopping_index(self.history["val_loss"])])


class Record:
    """The record of one model while it trains."""

    def __init__(self, plan: TrainingPlan) -> None:
        self._plan = plan
        self._places = {step: place for place, step in enumerate(plan.evaluation_steps)}
        self._history = {name: np.full(len(self._places), np.nan) for name in HISTORIES}
        self._val_losses: list[float] = []
        self._last = 0

    def enter(self, evaluation: Evaluation) -> None:
        """Take down an evaluation."""
        self._last = self._places[evaluation.step]
        for name in HISTORIES:
            self._history[name][self._last] = getattr(evaluation, name)
        self._val_losses.append(evaluation.val_loss)

    @property
    def last_is_best(self) -> bool:
        """Whether the last evaluation is that of minimum validation loss so far."""
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
