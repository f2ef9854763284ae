"""Training plans: optimiser, number of steps, evaluations and stopping."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from lthprune.errors import RecipeError
from lthprune.lengths import Moment, Steps, has_epochs
from lthprune.section import Section, Single
from lthprune.training.learning_rate import at_milestones, cosine, one_cycle, warmed_up


class TrainingPlan(Section):
    """The ``[train]`` table of a recipe. A step is one step of the optimiser: the paper's "iteration"."""

    optimizer: Literal["adam", "adamw", "sgd"]
    """``adam``, ``adamw`` or ``sgd``"""
    lr: Single = Field(gt=0)
    """the learning rate"""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """the momentum of ``sgd``"""
    nesterov: bool = False
    """whether this momentum is Nesterov's, as in ``torch.optim.SGD``"""
    weight_decay: Single = Field(default=0.0, ge=0)
    """L2 regularisation (decoupled from the gradient with ``adamw``)"""
    l1: Single = Field(default=0.0, ge=0)
    """L1 regularisation: the factor of the sum of the absolute values of the remaining weights, which is added to the
    loss that is minimised; see [L1 regularisation](#l1-regularisation)"""
    batch_size: int = Field(ge=1)
    """training samples per step; every epoch is shuffled, and an incomplete last batch is dropped"""
    augment: tuple[Literal["crop", "flip"], ...] = ()
    """changes of training images, drawn anew for every sample of every step: ``crop`` (after padding by 4 pixels of
    zeros) and ``flip`` (left to right, with a chance of one half); see [Augmentation](#augmentation)"""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """the part of every training label that is shared out evenly among the classes of its task (two for a single
    output); evaluations use the labels as they are"""
    steps: Steps
    """optimiser steps per level, or epochs, as in ``"160ep"``; see [Lengths](#lengths)"""
    evaluate_every: Steps = 100
    """steps between two evaluations; the last step is always evaluated"""
    lr_schedule: Literal["constant", "milestones", "cosine", "onecycle"] = "milestones"
    """how the learning rate changes: at ``milestones`` (without any it is ``constant``), along a ``cosine`` to 0, or by
    ``onecycle`` (from lr/25 up to ``lr`` in 45 % of the steps, back, and then to almost 0); see
    [Schedules](concepts/rewinding.md#schedules)"""
    warmup: Moment = 0
    """steps in which the learning rate rises linearly from 0 before the schedule; not with ``onecycle``"""
    lr_milestones: tuple[Moment, ...] = ()
    """steps after which the learning rate is multiplied by ``lr_gamma``"""
    lr_gamma: Single = Field(default=0.1, gt=0)
    """the factor of the learning rate at a milestone"""
    patience: int | None = Field(default=None, ge=1)
    """stop after this many evaluations in a row without a new minimum of the validation loss"""
    min_delta: float = Field(default=0.0, ge=0)
    """by how much the validation loss must be below its minimum to count as a new one"""
    loss_cutoff: float | None = Field(default=None, gt=0)
    """stop once the validation loss is below this value"""
    engine: Literal["auto", "reference", "compiled", "stacked", "unhooked"] = "auto"
    """what trains the trials: ``reference`` (the plain loop), ``compiled`` (multilayer perceptrons, in compiled
    kernels, on a CPU), ``stacked`` (the same networks, all trials in batched products), ``unhooked`` (any network,
    without pruning hooks), or ``auto``, which chooses by the network and the device"""
    precision: Literal["fp32", "bf16", "bf16-anywhere"] = "fp32"
    """``bf16`` multiplies in 16 bits (PyTorch's autocast), which speeds up convolutions on processors and GPUs with
    bf16 arithmetic and is refused on others; ``bf16-anywhere`` only warns there: emulation is slow"""

    @field_validator("engine", mode="before")
    @classmethod
    def _renamed(cls, engine: Any) -> Any:
        """Read the recipes of runs that named the engine before this one."""
        return "compiled" if engine == "sparse" else engine

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingPlan":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum belongs to sgd, and {self.optimizer} takes none. Leave it out.")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is a kind of momentum, and momentum is 0. Set momentum, as in momentum = 0.9")
        return self

    @model_validator(mode="after")
    def _one_schedule(self) -> "TrainingPlan":
        if self.lr_milestones and self.lr_schedule != "milestones":
            raise ValueError(
                f'lr_milestones belong to lr_schedule = "milestones", and this is "{self.lr_schedule}". Leave one out.'
            )
        if self.warmup and self.lr_schedule == "onecycle":
            raise ValueError('lr_schedule = "onecycle" rises by itself; leave out warmup')
        if not has_epochs((self.warmup, self.steps)) and self.warmup >= self.steps:
            raise ValueError(f"warmup = {self.warmup} is not before the end, steps = {self.steps}")
        return self

    @property
    def in_epochs(self) -> bool:
        """Whether some lengths are in epochs, because the number of training samples is not known yet."""
        return any(has_epochs(value) for _, value in self)

    @property
    def evaluation_steps(self) -> tuple[int, ...]:
        """The steps after which the network is evaluated.

        Raises:
            RecipeError: lengths are in epochs.
        """
        if self.in_epochs:
            raise RecipeError(
                "some lengths are in epochs, whose steps follow from the data: call preview_recipe(recipe) and use the "
                "recipe of its result."
            )
        steps = list(range(self.evaluate_every, self.steps + 1, self.evaluate_every))
        return (*steps, self.steps) if not steps or steps[-1] != self.steps else tuple(steps)

    def make_optimizer(self, parameters: Iterable[Tensor], *, captured: bool = False) -> torch.optim.Optimizer:
        """Return a new optimiser of parameters; a captured one reads its learning rate from a tensor."""
        parameters = list(parameters)
        lr = torch.tensor(self.lr, device=parameters[0].device) if captured else self.lr
        options: dict[str, Any] = {"lr": lr, "weight_decay": self.weight_decay, "fused": True}
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, momentum=self.momentum, nesterov=self.nesterov, **options)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, capturable=captured, **options)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context manager for forward passes in the plan's precision."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision != "fp32")

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step; the first step is 1. See ``learning_rate.py`` for the formulas.

        Examples:
            >>> plan = TrainingPlan(optimizer="sgd", lr=1.0, batch_size=1, steps=30, lr_milestones=(10, 20))
            >>> [round(plan.lr_at(step), 3) for step in (1, 10, 11, 21)]
            [1.0, 1.0, 0.1, 0.01]
        """
        if self.lr_schedule == "onecycle":
            return self.lr * one_cycle(step, self.steps)
        rate = self.lr * warmed_up(step, self.warmup)
        if self.lr_schedule == "cosine":
            return rate * cosine(step, self.warmup, self.steps)
        return rate * at_milestones(step, self.lr_milestones, self.lr_gamma)
