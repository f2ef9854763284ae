"""Pretraining: a training on other data before the search, whose weights are the initial ones of the run."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lthprune.errors import RecipeError
from lthprune.experiments.preview import LoadData
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.spec import PretrainSpec
from lthprune.lengths import in_steps
from lthprune.pruning import live_state
from lthprune.training import TrainingPlan, check_batches, train_population


def pretrain(
    recipe: Recipe,
    spec: PretrainSpec,
    models: Sequence[nn.Module],
    trials: Sequence[int],
    device: torch.device,
    *,
    load: LoadData,
    data_dir: str | Path | None,
) -> None:
    """Train the networks of a recipe on the data of its ``[pretrain]`` table, and give their weights to models.

    Tensors of another shape, those of an output layer for another number of outputs, stay as they are.

    Args:
        recipe: with its ``[train]`` table in steps.
        spec: its ``[pretrain]`` table.
        models: a network of the recipe for each trial, with initial weights; changed in place.
        trials: the number of each model's trial.
        device: the device of the models.
        load: ``load_data``, or what replaces it.
        data_dir: the data root.

    Raises:
        LthpruneError: the data are missing, too few for a batch, or do not fit the network or the engine.
    """
    data = load(spec.data, data_dir=data_dir, seed=recipe.run.first_seed, trust_code=True).to(device)
    check_batches(len(data.x_train), recipe.train.batch_size)
    twins: list[nn.Module] = [
        recipe.build_model(data.input_shape, data.outputs, trial, trust_code=True).to(device) for trial in trials
    ]
    orders, noises, augmenters = (
        [recipe.run.generator(stream, trial) for trial in trials] for stream in ("order", "noise", "augment")
    )
    plan = plan_of(spec, recipe.train, len(data.x_train))
    train_population(twins, data, plan, orders, noises=noises, augmenters=augmenters)
    for model, twin in zip(models, twins, strict=True):
        trained = live_state(twin)
        with torch.no_grad():
            for name, tensor in live_state(model).items():
                if trained[name].shape == tensor.shape:
                    tensor.copy_(trained[name])


def plan_of(spec: PretrainSpec, plan: TrainingPlan, samples: int) -> TrainingPlan:
    """Return how networks are pretrained on so many samples: as later, at one learning rate and to the last step."""
    steps = in_steps(spec.steps, samples // plan.batch_size)
    if steps < 1:
        raise RecipeError(f"[pretrain] steps: {spec.steps} of {samples:,} samples are less than a step.")
    constant = {"lr": spec.lr or plan.lr, "lr_schedule": "constant", "lr_milestones": (), "warmup": 0}
    whole = {"steps": steps, "evaluate_every": steps, "patience": None, "loss_cutoff": None}
    return plan.model_copy(update=constant | whole)
