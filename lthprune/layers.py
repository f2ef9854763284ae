"""What a recipe's layers are and what its schedule leaves of them, before anything is run."""

from dataclasses import dataclass

from lthprune.data import shape_of_data
from lthprune.models import build_model
from lthprune.recipe import Recipe
from lthprune.schedules import Geometric, Pool, rate_of
from lthprune.seeds import Seeds
from lthprune.selection import PrunableTensor, select


@dataclass(frozen=True)
class LayerRow:
    """A dense or convolutional layer; ``rate`` is None where it is not pruned or the schedule has no rates."""

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
    model = build_model(recipe.model, *shape_of_data(recipe.data), Seeds(recipe.run.seed).generator("init"))
    search = recipe.prune.search(recipe.run.seed)
    pools = search.pruning.pools(model)
    plan = search.pruning.plan(model, search.schedule, search.levels)
    rates = {
        name: rate_of(pool, search.schedule.rate)
        for pool in pools
        for name in pool.names
        if isinstance(search.schedule, Geometric)
    }
    layers: dict[str, list[PrunableTensor]] = {}
    for tensor in select(model, bias=True):
        layers.setdefault(tensor.layer, []).append(tensor)
    rows = tuple(
        LayerRow(
            layer=name,
            kind=tensors[0].kind,
            shape=tuple(tensors[0].parameter.shape),
            weights=tensors[0].parameter.numel(),
            biases=sum(tensor.parameter.numel() for tensor in tensors[1:]),
            rate=rates.get(tensors[0].name),
        )
        for name, tensors in layers.items()
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
