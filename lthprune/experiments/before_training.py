"""Masks that criteria choose before any training, with as many weights as a ticket."""

from functools import partial
from typing import Any

import torch
from torch import nn

from lthprune.data import Dataset
from lthprune.experiments.control_kinds import BeforeTraining
from lthprune.pruning import Masks, Pruning, Score, grasp, masks_of, prune_in_rounds, snip, synflow
from lthprune.search import Ticket
from lthprune.seeds import seeded_by
from lthprune.training import cross_entropy

_FOR_EACH_OUTPUT = 10  # samples: 100 for ten classes, as in the papers of SNIP and GraSP


def masks_before_training(
    how: BeforeTraining, model: nn.Module, ticket: Ticket, pruning: Pruning, data: Dataset, generator: torch.Generator
) -> Masks:
    """Prune a model by SNIP, GraSP or SynFlow to the density of a ticket, and return its masks.

    Args:
        how: the criterion, its rounds, and whether each layer has the density of the ticket's.
        model: with the weights to score; it is pruned.
        ticket: of the run.
        pruning: which tensors are prunable.
        data: on the model's device. SNIP and GraSP score by ten training samples for each output, drawn at random, the
            same in all rounds.
        generator: draws them, and dropout.
    """
    drawn = torch.randperm(len(data.x_train), generator=generator)[: _FOR_EACH_OUTPUT * data.outputs]
    drawn = drawn.to(data.x_train.device)
    batches = [(data.x_train[drawn], data.y_train[drawn])]
    loss = partial(cross_entropy, tasks=data.tasks)

    def score_of(model: nn.Module) -> Score:
        if how.criterion == "synflow":
            return synflow(model, data.x_train[:1])
        return (snip if how.criterion == "snip" else grasp)(model, batches, loss)

    words: dict[str, Any] = {"selection": pruning.selection, "bias": bool(pruning.bias), "form": "plain"}
    with seeded_by(generator, data.x_train.device):  # dropout
        prune_in_rounds(model, density_of(ticket, layerwise=how.layerwise), score_of, rounds=how.rounds, **words)
    return masks_of(model)


def density_of(ticket: Ticket, *, layerwise: bool) -> float | dict[str, float]:
    """Return the density of a ticket, or of each of its tensors."""
    return {name: count.density for name, count in ticket.counts.items()} if layerwise else ticket.density
