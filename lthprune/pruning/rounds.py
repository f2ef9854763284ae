"""Pruning in many small rounds, each with new scores."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from lthprune.arguments import whole_number
from lthprune.errors import PruningError
from lthprune.pruning.forms import Form, write_masks
from lthprune.pruning.masks import Count, count
from lthprune.pruning.pruner import Pruning, choose_masks, current_masks
from lthprune.pruning.scores import Score
from lthprune.pruning.selection import Selection


def prune_in_rounds(
    model: nn.Module,
    density: float,
    score_of: Callable[[nn.Module], Score],
    *,
    rounds: int = 100,
    selection: Selection | None = None,
    bias: bool = False,
    form: Form = "torch",
) -> dict[str, Count]:
    """Prune a model in place to a density, in rounds that score the pruned model anew; all weights compete.

    After round ``r`` of ``n`` remain ``density ** (r / n)`` of the weights, the exponential schedule of Tanaka et al.
    (2020, algorithm 1). With ``synflow`` this is their method, with ``snip`` iterative SNIP (de Jorge et al. 2021).

    Args:
        model: any module; it may be pruned already, ``density`` is of its remaining weights.
        density: the fraction of weights to keep, above 0 and at most 1.
        score_of: returns the score function of the model as it is after the last round.
        rounds: how many; 100 in both papers.
        selection: which layers are prunable.
        bias: whether biases compete with the weights, by their scores as they are.
        form: as for ``prune``.

    Returns:
        How many weights of each tensor remain.

    Raises:
        PruningError: an argument is refused before anything is pruned; or a score is not finite.

    Examples:
        >>> import torch
        >>> from lthprune.pruning import synflow
        >>> model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
        >>> left = prune_in_rounds(model, 0.1, lambda model: synflow(model, torch.zeros(1, 20)))
        >>> sum(count.left for count in left.values())
        75
    """
    rounds = whole_number("rounds", rounds)
    if not 0 < density <= 1 or rounds < 1:
        raise PruningError(
            f"density = {density}, rounds = {rounds}: keep a fraction of the weights above 0 and at most 1, in "
            "one round or more."
        )
    pruning = Pruning(selection=selection or Selection(), bias="together" if bias else False)
    (pool,) = pruning.pools(model)
    for number in range(1, rounds + 1):
        tensors = pruning.tensors(model)
        masks = choose_masks(
            replace(pruning, score=score_of(model), bias=False),  # the score compares biases with weights itself
            [pool],
            [round(pool.left * density ** (number / rounds))],
            masks=current_masks(tensors),
            final={tensor.name: tensor.parameter for tensor in tensors},
        )
        write_masks(model, masks, form)
    return count(masks)
