"""Which engine trains a population."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lthprune.data import Dataset
from lthprune.errors import RecipeError
from lthprune.training.engine import Engine
from lthprune.training.lowering import DenseLayer, is_perceptron, lower
from lthprune.training.noise import draws_at_random
from lthprune.training.perceptrons import Perceptrons
from lthprune.training.plan import TrainingPlan
from lthprune.training.unhooked import Unhooked

# Measured by tests/benchmarks/training.py. A rule of sizes and not of the clock: a resumed run chooses alike.
_SPARSE_BELOW = 0.25  # density
_SPARSE_FROM = 20_000  # weights, pruned ones and those of all trials included


def choose_engine(models: Sequence[nn.Module], data: Dataset, plan: TrainingPlan) -> Engine | None:
    """Return the engine that the plan asks for, by default by the sizes of its layers; None is the plain loop.

    Networks that draw at random, as dropout does, train in the plain loop: there the draws of a trial do not depend on
    the other trials.

    Raises:
        RecipeError: the plan asks for an engine that cannot train these networks.
    """
    device, samples = data.x_train.device, data.x_train[:2]
    for model in models:
        check_engine(model, plan, device, samples)
    captured = device.type == "cuda"
    if plan.engine == "reference":
        return None
    perceptrons = all(is_perceptron(model) for model in models)
    if not perceptrons and any(draws_at_random(model, samples) for model in models):
        return None
    if plan.precision != "fp32" or not perceptrons:
        return Unhooked(models, data, plan, captured=captured)
    lowered = lower(models)
    sparse = [plan.engine == "sparse" or (plan.engine == "auto" and _is_better_sparse(each.layer)) for each in lowered]
    return Perceptrons(models, lowered, data, plan, sparse, captured=captured)


def check_engine(model: nn.Module, plan: TrainingPlan, device: torch.device, samples: Tensor | None = None) -> None:
    """Raise a RecipeError if the plan asks for an engine that cannot train a model.

    With a few ``samples`` on the device, (batch, ...), also find out whether the model draws at random, which
    ``engine = "stacked"`` does not do.
    """
    stacked = plan.engine == "stacked" and not is_perceptron(model)
    if stacked and samples is not None and draws_at_random(model, samples):
        raise RecipeError(
            'engine = "stacked" does not train networks that draw at random, and this one does (dropout, or stochastic '
            'depth). Take engine = "auto" or "reference".'
        )
    if plan.engine != "sparse":
        return
    ways = 'Take engine = "auto", which chooses by size.'
    if plan.precision != "fp32":
        raise RecipeError(f'engine = "sparse" trains in fp32, not in {plan.precision}. {ways}')
    if not is_perceptron(model):
        raise RecipeError(f'engine = "sparse" is for multilayer perceptrons; this network is none. {ways}')
    if not _has_sparse(device):
        raise RecipeError(f'engine = "sparse" needs a CPU, and a PyTorch that was built with MKL. {ways}')


def _is_better_sparse(layer: DenseLayer) -> bool:
    large = layer.weight_mask.numel() >= _SPARSE_FROM
    return large and layer.density < _SPARSE_BELOW and _has_sparse(layer.weight_mask.device)


def _has_sparse(device: torch.device) -> bool:
    return device.type == "cpu" and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
