"""Pruning in many small rounds, each with new scores."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from lthprune.arguments import whole_number
from lthprune.errors import PruningError
from lthprune.pruning.forms import Form, write_masks
from lthprune.pruning.masks import Count, count
from lthprune.pruning.pruner import Pruning, choose_masks, current_masks
from lthprune.pruning.schedules import Pool
from lthprune.pruning.scores import Score
from lthprune.pruning.selection import Selection


def prune_in_rounds(
    model: nn.Module,
    density: float | Mapping[str, float],
    score_of: Callable[[nn.Module], Score],
    *,
    rounds: int = 100,
    selection: Selection | None = None,
    bias: bool = False,
    form: Form = "torch",
) -> dict[str, Count]:
    """Prune a model in place to a density, in rounds that score the pruned model anew.

    All weights compete; with a density for each tensor, only those of the same tensor do. Frankle et al. (2021) ask
    with the same densities in every layer whether a criterion chooses weights, or only how many each layer keeps.
    After round ``r`` of ``n`` remain ``density ** (r / n)`` of the weights, the exponential schedule of Tanaka et al.
    (2020, algorithm 1). With ``synflow`` this is their method, with ``snip`` iterative SNIP (de Jorge et al. 2021).

    Args:
        model: any module; it may be pruned already, ``density`` is of its remaining weights.
        density: the fraction of weights to keep, above 0 and at most 1; or such a fraction for each tensor, by name,
            where 0 prunes all of it.
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
    if rounds < 1:
        raise PruningError(f"rounds = {rounds}: prune in one round or more.")
    pruning = Pruning(selection=selection or Selection(), bias="together" if bias else False)
    pools = pools_with_densities(model, density, pruning)
    for number in range(1, rounds + 1):
        tensors = pruning.tensors(model)
        masks = choose_masks(
            replace(pruning, score=score_of(model), bias=False),  # the score compares biases with weights itself
            [pool for pool, _ in pools],
            [round(pool.left * share ** (number / rounds)) for pool, share in pools],
            masks=current_masks(tensors),
            final={tensor.name: tensor.parameter for tensor in tensors},
        )
        write_masks(model, masks, form)
    return count(masks)


def pools_with_densities(
    model: nn.Module, density: float | Mapping[str, float], pruning: Pruning
) -> list[tuple[Pool, float]]:
    """Return the tensors that compete and the fraction of their weights to keep: all at once, or each by itself.

    Args:
        model: any module.
        density: the fraction of all weights to keep, above 0 and at most 1; or a fraction for each tensor, by name.
        pruning: which tensors are prunable; all of them compete.

    Raises:
        PruningError: a density is out of range, or the names are not those of the prunable tensors.
    """
    if not isinstance(density, Mapping):
        if not 0 < density <= 1:
            raise PruningError(f"density = {density}: keep a fraction of the weights above 0 and at most 1.")
        return [(pool, density) for pool in pruning.pools(model)]
    tensors = pruning.tensors(model)
    if {tensor.name for tensor in tensors} != density.keys():
        raise PruningError(
            f"density names {', '.join(density)}; the model's prunable tensors are "
            f"{', '.join(tensor.name for tensor in tensors)}. Give a fraction for each of them."
        )
    for name, share in density.items():
        if not 0 <= share <= 1:
            raise PruningError(f"density = {share} for {name!r}: keep a fraction of its weights from 0 to 1.")
    left = count(current_masks(tensors))
    return [(Pool((tensor.name,), (tensor.kind,), *left[tensor.name]), density[tensor.name]) for tensor in tensors]
