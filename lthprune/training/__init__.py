"""Training: the plan, early stopping, and the loop."""

from lthprune.training.loop import check_batches, evaluate, train
from lthprune.training.plan import TrainingPlan
from lthprune.training.record import HISTORIES, Evaluation, Training
from lthprune.training.stopping import early_stopping_index, should_stop

__all__ = [
    "HISTORIES",
    "Evaluation",
    "Training",
    "TrainingPlan",
    "check_batches",
    "early_stopping_index",
    "evaluate",
    "should_stop",
    "train",
]
