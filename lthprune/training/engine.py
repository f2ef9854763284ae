"""What an engine is: the arithmetic of a population, with all the bookkeeping left out."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from lthprune.training.losses import LossAndAccuracy


class Measured(NamedTuple):
    """What an engine measures of one trial; see ``Evaluation`` for the units."""

    train_loss: float
    val: LossAndAccuracy
    test: LossAndAccuracy


class Engine(Protocol):
    """Trains the models of a population side by side; a trial is meant by its place among those that are left."""

    name: str

    def step(self, batch: Tensor, lr: float) -> None:
        """Make one optimiser step on these samples, (trials, batch)."""

    def measure(self) -> list[Measured]:
        """Evaluate every trial; the training loss is the mean over the steps since the last call."""

    def lift(self, trial: int) -> None:
        """Bring a trial's model up to date."""

    def keep(self, trials: Sequence[int]) -> None:
        """Go on with these trials alone, in ascending order."""
