"""Masks that criteria choose before any training, with as many weights as a ticket."""

from functools import partial
from typing import Any

import torch
from torch import nn

from lthprune.data import Dataset
from lthprune.pruning import Masks, Pruning, Score, grasp, masks_of, prune_in_rounds, snip, synflow
from lthprune.seeds import seeded_by
from lthprune.training import cross_entropy

_FOR_EACH_OUTPUT = 10  # samples: 100 for ten classes, as in the papers of SNIP and GraSP
_ROUNDS = 100  # of SynFlow


def masks_before_training(
    kind: str, model: nn.Module, density: float, pruning: Pruning, data: Dataset, generator: torch.Generator
) -> Masks:
    """Prune a model by SNIP, GraSP or SynFlow to a density, and return its masks.

    Args:
        kind: ``"snip"``, ``"grasp"`` or ``"synflow"``.
        model: with the weights to score; it is pruned.
        density: of all prunable weights, which compete with one another.
        pruning: which tensors are prunable.
        data: on the model's device. SNIP and GraSP score by ten training samples for each output, drawn at random.
        generator: draws them, and dropout.
    """
    drawn = torch.randperm(len(data.x_train), generator=generator)[: _FOR_EACH_OUTPUT * data.outputs]
    drawn = drawn.to(data.x_train.device)
    batches = [(data.x_train[drawn], data.y_train[drawn])]
    loss = partial(cross_entropy, tasks=data.tasks)

    def score_of(model: nn.Module) -> Score:
        if kind == "synflow":
            return synflow(model, data.x_train[:1])
        return (snip if kind == "snip" else grasp)(model, batches, loss)

    rounds = _ROUNDS if kind == "synflow" else 1
    words: dict[str, Any] = {"selection": pruning.selection, "bias": bool(pruning.bias), "form": "plain"}
    with seeded_by(generator, data.x_train.device):  # dropout
        prune_in_rounds(model, density, score_of, rounds=rounds, **words)
    return masks_of(model)
