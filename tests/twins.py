"""The plain loop as the twin of an engine."""

import copy

import numpy as np
import torch
from torch import nn

from lthprune.data import Dataset
from lthprune.pruning.state import snapshot
from lthprune.training.loop import train
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population


def doubled(data: Dataset) -> Dataset:
    """Data in double precision, where engines that do the same agree to many digits."""
    return Dataset(
        *(x.double() if x.is_floating_point() else x for x in (data.x_train, data.y_train)),
        *(x.double() if x.is_floating_point() else x for x in (data.x_val, data.y_val)),
        *(x.double() if x.is_floating_point() else x for x in (data.x_test, data.y_test)),
        tasks=data.tasks,
        fingerprint=data.fingerprint,
    )


def check_unhooked(model: nn.Module, data: Dataset) -> None:
    """Check that the engine without hooks trains a pruned network as the plain loop does, in double precision."""
    plan = TrainingPlan(optimizer="sgd", lr=0.05, momentum=0.9, batch_size=8, steps=4, evaluate_every=2)
    twin, data = copy.deepcopy(model.double()), doubled(data)
    (done,) = train_population([model], data, plan, [torch.Generator()])
    expected = train(twin, data, plan, torch.Generator())
    assert (done.engine, expected.engine) == ("unhooked", "reference")
    np.testing.assert_allclose(done.history["train_loss"], expected.history["train_loss"], rtol=1e-9)
    for key, tensor in snapshot(twin).items():
        torch.testing.assert_close(snapshot(model)[key], tensor, rtol=1e-6, atol=1e-9)
