"""Training: the plan, early stopping, the readable loop, and the engines that are faster."""

from lthprune.training.augmenting import check_augmentation
from lthprune.training.averages import over_trials
from lthprune.training.batches import check_batches
from lthprune.training.checkpoint import Checkpoint
from lthprune.training.dispatch import check_engine, stored_plan
from lthprune.training.histories import Histories
from lthprune.training.loop import evaluate, train
from lthprune.training.losses import cross_entropy
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from lthprune.training.precision import warn_of_emulation
from lthprune.training.record import HISTORIES, TASK_HISTORIES, Evaluation, Training
from lthprune.training.sparse_linear import SparseLinear, use_dense_layers, use_sparse_layers
from lthprune.training.stopping import early_stopping_index, should_stop

__all__ = [
    "HISTORIES",
    "TASK_HISTORIES",
    "Checkpoint",
    "Evaluation",
    "Histories",
    "SparseLinear",
    "Training",
    "TrainingPlan",
    "check_augmentation",
    "check_batches",
    "check_engine",
    "cross_entropy",
    "early_stopping_index",
    "evaluate",
    "over_trials",
    "should_stop",
    "stored_plan",
    "train",
    "train_population",
    "use_dense_layers",
    "use_sparse_layers",
    "warn_of_emulation",
]
