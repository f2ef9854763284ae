"""The interface of engines, which do the arithmetic of a population without the bookkeeping."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from lthprune.pruning import State
from lthprune.training.losses import LossAndAccuracy


class Measured(NamedTuple):
    """The results of evaluating one trial; see ``Evaluation`` for the units. ``finite`` says that all weights are."""

    train_loss: float
    val: LossAndAccuracy
    test: LossAndAccuracy
    finite: bool


class Engine(Protocol):
    """Trains the models of a population side by side; trials are numbered among those still in training.

    ``name``, the engine of a plan, is recorded as ``metrics["engine"]``.
    """

    name: str

    def train(self, batches: Tensor, rates: Sequence[float]) -> None:
        """Make optimiser steps on these samples, (steps, trials, batch), each at its learning rate."""

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""

    def lift(self, trial: int) -> None:
        """Write the trained values of a trial into its model."""

    def keep(self, trials: Sequence[int]) -> None:
        """Continue with these trials only, in ascending order."""

    def state(self) -> State:
        """Return what further steps depend on right after ``measure``, by name; not copies."""

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned for the same trials.

        Raises:
            StorageError: it is the state of other networks, or of another optimiser.
        """
