"""The levels of a recipe that follow from its network: how many there are, and the weights that each keeps."""

from collections.abc import Sequence

from torch import nn

from lthprune.errors import RecipeError
from lthprune.experiments.recipe import Recipe
from lthprune.pruning import Pool, Pruning, Target, Trajectory, count_parameters, counts_per_level, shared_counts


def with_levels_of(recipe: Recipe, pruning: Pruning, model: nn.Module) -> Recipe:
    """Return a recipe with its levels, and with the weights that they keep if ``prune.extends`` decides them.

    Raises:
        RecipeError: ``prune.extends`` is set, and the network is no perceptron that is pruned as a whole.
        PruningError: the network is not an extension of the one with ``prune.extends`` hidden units.
    """
    prune, pools = recipe.prune, pruning.pools(model)
    if prune.extends is not None:
        sizes = perceptron_sizes(model, pools)
        if sizes is None:
            raise RecipeError(
                f"prune.extends = {prune.extends}: the network must be a perceptron, and all of its weights must "
                "compete with one another. Set model.hidden, prune.scope to 'global' and prune.bias to false or "
                "'together', and exclude no layer."
            )
        assert isinstance(prune.rate, float)  # of which a recipe with ``extends`` is sure, and of a target
        assert isinstance(prune.target, int)
        bias = any("bias" in name for name in pools[0].names)
        counts = shared_counts(sizes, hidden=prune.extends, rate=prune.rate, target=prune.target, bias=bias)
        return recipe.with_counts(counts)
    if prune.levels is not None or prune.target is None or prune.rate is None or isinstance(prune.rate, dict):
        return recipe
    weights, remaining = map(sum, counts_per_level(Target(prune.target), pools, 1))
    return recipe.with_levels(Trajectory.through(weights=weights, rate=prune.rate, target=remaining).levels)


def perceptron_sizes(model: nn.Module, pools: Sequence[Pool]) -> tuple[int, ...] | None:
    """Return the sizes of the inputs, the hidden layers and the outputs of a perceptron that is pruned as a whole.

    Returns:
        None for other networks, and for pruning in which not all weights compete. Modules that are no flat
        ``nn.Sequential`` may connect their layers in other ways, as residual networks do, and count as other networks.
    """
    if not isinstance(model, nn.Sequential) or any(list(layer.children()) for layer in model):
        return None
    layers = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if len(dense) != len(layers) or len(dense) < 2 or len(pools) != 1:
        return None
    sizes = (dense[0].in_features, *(layer.out_features for layer in dense))
    bias = any("bias" in name for name in pools[0].names)
    return sizes if pools[0].total == count_parameters(sizes, bias=bias) else None
