"""Trainings that fail: what a training function reports of one, and what a store keeps of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FailureKind = Literal["diverged", "collapsed", "dead"]
ALL_DIVERGED = "the training of every trial diverged"
LOWER_RATE = "A lower learning rate usually helps, or one that rises slowly at first."


@dataclass(frozen=True)
class Diverged:
    """A training that was stopped because a loss or a weight was NaN or infinite.

    A training function returns it in place of the metrics of a model. The search then continues without that model.

    Attributes:
        step: the optimiser step at which this was found.
        lr: the learning rate of that step.
        reason: what was not finite, as in ``"the training loss is NaN"``.

    Examples:
        >>> import lthprune
        >>> from torch import nn
        >>> def train(models, level):
        ...     failed = Diverged(step=200, lr=3.0, reason="the training loss is NaN")
        ...     return [failed if level.number == 1 and trial == 0 else None for trial in level.trials]
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     first, second = lthprune.imp([nn.Linear(4, 3), nn.Linear(4, 3)], train, levels=2)
        >>> len(first), len(second)
        (1, 3)
    """

    step: int
    lr: float
    reason: str


class Failure(BaseModel):
    """The failed training of one trial at one level.

    Attributes:
        kind: ``"diverged"`` (stopped, so that the trial has no ticket at this level and none after it), ``"collapsed"``
            (the remaining weights do not connect inputs and outputs, or a layer has none), or ``"dead"`` (the outputs
            are the same for every input).
        trial: the number of the trial.
        level: the number of the level.
        reason: what was found, in words.
        step: the optimiser step at which a training diverged; None for the other kinds.
        lr: the learning rate of that step; likewise.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    kind: FailureKind
    trial: int = Field(ge=0)
    level: int = Field(ge=0)
    reason: str
    step: int | None = None
    lr: float | None = None

    @classmethod
    def of(cls, diverged: Diverged, trial: int, level: int) -> "Failure":
        """Return the failure of a trial whose training diverged at a level."""
        return cls(
            kind="diverged", trial=trial, level=level, reason=diverged.reason, step=diverged.step, lr=diverged.lr
        )

    def __str__(self) -> str:
        verb = "is dead" if self.kind == "dead" else self.kind
        where = f"trial {self.trial} {verb} at level {self.level}"
        at = "" if self.step is None else f", step {self.step:,}, learning rate {self.lr:g}"
        return f"{where}{at}: {self.reason}"

    @property
    def sentence(self) -> str:
        """What failed where and why, as a sentence."""
        return f"T{str(self)[1:]}."


OnFailure = Callable[[Failure], object]
