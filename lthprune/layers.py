"""What a recipe's layers are and what its schedule leaves of them, before anything is run."""

from dataclasses import dataclass

from lthprune.data import shape_of_data
from lthprune.recipe import Recipe
from lthprune.schedules import Geometric, Pool, rate_of
from lthprune.selection import select


@dataclass(frozen=True)
class LayerRow:
    """A layer that has parameters; batch norm, which is never pruned, is of the kind ``norm``.

    ``rate`` is None where the layer has none of its own: it is not pruned, competes with others, or the schedule has
    no rates.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    biases: int
    rate: float | None


@dataclass(frozen=True)
class LayerTable:
    """The layers of a recipe's model, and how much every scope of competition keeps at levels 0, 1, ..."""

    layers: tuple[LayerRow, ...]
    left: dict[str, tuple[int, ...]]


def tabulate_layers(recipe: Recipe) -> LayerTable:
    """Return a recipe's layers with their parameter counts and rates, and the counts left per level.

    Examples:
        >>> from lthprune.recipe import load_recipe
        >>> table = tabulate_layers(load_recipe("lenet-mnist"))
        >>> [(row.layer, row.weights + row.biases) for row in table.layers]
        [('dense1', 235500), ('dense2', 30100), ('output', 1010)]
        >>> table.left["dense1"][:3]
        (235200, 188160, 150528)
    """
    model = recipe.build_model(*shape_of_data(recipe.data))
    search = recipe.prune.search(recipe.run.first_seed)
    pools = search.pruning.pools(model)
    plan = search.pruning.plan(model, search.schedule, search.levels)
    rates = {
        name: rate_of(pool, search.schedule.rate)
        for pool in pools
        for name in pool.names
        if isinstance(search.schedule, Geometric) and search.pruning.scope == "layerwise"
    }
    kinds = {tensor.layer: tensor.kind for tensor in select(model)}
    layers = {name: dict(module.named_parameters(recurse=False)) for name, module in model.named_modules()}
    rows = tuple(
        LayerRow(
            layer=name,
            kind=kinds.get(name, "norm"),
            shape=tuple(parameters["weight"].shape),
            weights=parameters["weight"].numel(),
            biases=parameters["bias"].numel(),
            rate=rates.get(f"{name}.weight"),
        )
        for name, parameters in layers.items()
        if parameters
    )
    return LayerTable(rows, {_label(pool): tuple(row[at] for row in plan) for at, pool in enumerate(pools)})


def _label(pool: Pool) -> str:
    """Name a scope of competition: a layer's weights by the layer, the rest by what it holds."""
    kinds = {name.rpartition(".")[2] for name in pool.names}
    layers = {name.rpartition(".")[0] for name in pool.names}
    if len(pool.names) == 1:
        return pool.names[0].removesuffix(".weight")
    if len(layers) == 1:
        return layers.pop()
    return "weights, biases" if len(kinds) == 2 else "weights" if kinds == {"weight"} else "biases"
