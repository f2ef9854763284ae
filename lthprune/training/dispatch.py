"""The choice of the engine that trains a population."""

from collections.abc import Sequence

import torch
from torch import nn

from lthprune.data import Dataset
from lthprune.errors import RecipeError
from lthprune.training.augmenting import Views
from lthprune.training.engine import Engine
from lthprune.training.lowering import is_perceptron, lower
from lthprune.training.plan import TrainingPlan
from lthprune.training.precision import check_precision
from lthprune.training.stacked import Stacked
from lthprune.training.unhooked import Unhooked


def choose_engine(
    models: Sequence[nn.Module],
    data: Dataset,
    plan: TrainingPlan,
    noises: Sequence[torch.Generator] | None = None,
    views: Views | None = None,
) -> Engine | None:
    """Return the engine that the plan names; ``auto`` chooses by network and device. None is the plain loop.

    Args:
        models: dense or pruned, of one architecture.
        data: the data that all of them are trained on.
        plan: the engine, and what it depends on.
        noises: generators of random draws in training, one for each model.
        views: the views of training images, if the plan augments them.

    Raises:
        RecipeError: the plan asks for an engine that cannot train these networks.
    """
    device = data.x_train.device
    for model in models:
        check_engine(model, plan, device)
    captured = device.type == "cuda"
    if plan.engine == "reference":
        return None
    perceptrons = all(is_perceptron(model) for model in models)
    if plan.engine == "unhooked" or plan.precision != "fp32" or not perceptrons:
        return Unhooked(models, data, plan, noises, views, captured=captured)
    if plan.engine == "stacked" or device.type != "cpu" or views is not None:
        return Stacked(models, lower(models), data, plan, views, captured=captured)
    from lthprune.training.compiled import Compiled  # here, since importing numba takes a moment

    return Compiled(models, lower(models), data, plan)


def check_engine(model: nn.Module, plan: TrainingPlan, device: torch.device) -> None:
    """Raise a RecipeError if the plan asks for an engine or a precision that cannot train a model on a device.

    Args:
        model: dense or pruned.
        plan: its engine and precision are checked.
        device: the device that the model is to be trained on.
    """
    check_precision(plan.precision, device)
    engine = plan.engine
    if engine not in ("stacked", "compiled"):
        return
    if not is_perceptron(model):
        raise RecipeError(
            f'engine = "{engine}" trains multilayer perceptrons only, and this {type(model).__name__} is not one. Use '
            'engine = "auto", which chooses an engine for every network, or "unhooked", which trains any network '
            "without pruning hooks."
        )
    if plan.precision != "fp32":
        raise RecipeError(
            f'engine = "{engine}" trains in fp32, not in {plan.precision}. Use engine = "auto" or "unhooked", which '
            f'train in {plan.precision}, too, or precision = "fp32".'
        )
    if engine == "compiled" and plan.augment:
        raise RecipeError(
            'engine = "compiled" stores the training images in its own form and does not augment them. Use engine = '
            '"auto" or "stacked", which do, or leave out augment.'
        )
    if engine == "compiled" and device.type != "cpu":
        raise RecipeError(
            f'engine = "compiled" trains on a CPU, not on {device.type}. Use engine = "auto" or "stacked".'
        )


def stored_plan(plan: TrainingPlan, model: nn.Module) -> TrainingPlan:
    """Return the plan with which a stored run is resumed.

    Earlier versions also accepted ``stacked`` for other networks than perceptrons and for bf16, and trained them
    as ``unhooked`` does. Such a run is resumed with ``unhooked`` and ends with the same bits.

    Examples:
        >>> plan = TrainingPlan(optimizer="adam", lr=1e-3, batch_size=60, steps=100, engine="stacked")
        >>> stored_plan(plan, nn.Conv2d(3, 8, 3)).engine
        'unhooked'
        >>> stored_plan(plan, nn.Sequential(nn.Linear(4, 2))).engine
        'stacked'
    """
    meant_unhooked = plan.engine == "stacked" and (plan.precision != "fp32" or not is_perceptron(model))
    return plan.model_copy(update={"engine": "unhooked"}) if meant_unhooked else plan
