"""What a recipe's layers are and what its schedule leaves of them, before anything is run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn
from torch.nn.modules.conv import _ConvNd

from lthprune.data import shape_of_data
from lthprune.experiments.recipe import Recipe
from lthprune.pruning import Geometric, Pool, Selection, Trajectory, count_parameters, extend, rate_of


@dataclass(frozen=True)
class LayerRow:
    """A layer that has parameters.

    ``kind`` is ``conv``, ``dense``, ``output``, or what is never pruned: ``norm`` (batch norm, layer norm), or
    ``other``, as for the position embedding of a transformer, which has a row of its own.

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


class Extension(NamedTuple):
    """A perceptron that begins so many levels earlier and then follows the trajectory of another."""

    times: int
    hidden: int
    weights: int
    levels: int


def tabulate_layers(recipe: Recipe) -> LayerTable:
    """Return a recipe's layers with their parameter counts and rates, and the counts left per level.

    Examples:
        >>> from lthprune.experiments import load_recipe
        >>> table = tabulate_layers(load_recipe("lenet-mnist"))
        >>> [(row.layer, row.weights + row.biases) for row in table.layers]
        [('dense1', 235500), ('dense2', 30100), ('output', 1010)]
        >>> table.left["dense1"][:3]
        (235200, 188160, 150528)
    """
    model = recipe.build_model(*shape_of_data(recipe.data))
    search = recipe.prune.search(recipe.run.first_seed)
    pools = search.pruning.pools(model)
    plan = search.pruning.counts(model, search.schedule, search.levels)
    rates = {
        name: rate_of(pool, search.schedule.rate)
        for pool in pools
        for name in pool.names
        if isinstance(search.schedule, Geometric) and search.pruning.scope == "layerwise"
    }
    kinds = {name: kind for pool in pools for name, kind in zip(pool.names, pool.kinds, strict=True)}
    output = _output_of(model, search.pruning.selection)
    rows = tuple(
        row
        for name, module in model.named_modules()
        for row in _rows(name, module, kinds, rates, is_output=name == output)
    )
    return LayerTable(rows, {_label(pool): tuple(row[at] for row in plan) for at, pool in enumerate(pools)})


def trajectory_of(recipe: Recipe, table: LayerTable) -> Trajectory | None:
    """Return a recipe's trajectory; None where weights do not all compete, or no single rate is behind the levels.

    Examples:
        >>> from lthprune.experiments import load_recipe
        >>> recipe = load_recipe("lenet-mnist", ["prune.scope=global", "prune.rate=0.2", "prune.target=600"])
        >>> trajectory_of(recipe, tabulate_layers(recipe))
        Trajectory(weights=266200, levels=28, rate=0.2, target=515)
    """
    rate, levels = recipe.prune.rate, recipe.prune.levels
    if recipe.prune.scope == "layerwise" or len(table.left) > 1 or isinstance(rate, dict) or recipe.prune.densities:
        return None
    (left,) = table.left.values()
    if rate is not None:
        return Trajectory.through(weights=left[0], levels=levels, rate=rate)
    return Trajectory.through(weights=left[0], levels=levels, target=left[-1])


def extensions_of(table: LayerTable, trajectory: Trajectory) -> list[Extension]:
    """Return what a recipe's perceptron becomes when it is extended once, twice, ... five times along its trajectory.

    Empty where the network is no perceptron with hidden layers of one size, or is not pruned as a whole.

    Examples:
        >>> from lthprune.experiments import load_recipe
        >>> settings = ["prune.scope=global", "prune.rate=0.2", "prune.target=600", "model.hidden=38"]
        >>> recipe = load_recipe("lenet-mnist", settings)
        >>> table = tabulate_layers(recipe)
        >>> extensions_of(table, trajectory_of(recipe, table))[0]
        Extension(times=1, hidden=47, weights=39527, levels=19)
    """
    if any(row.kind not in ("dense", "output") for row in table.layers):
        return []
    sizes = (table.layers[0].shape[-1], *(row.shape[0] for row in table.layers))
    bias = any("bias" in label for label in table.left)
    if len(set(sizes[1:-1])) != 1 or trajectory.rate == 0:
        return []
    if trajectory.weights != count_parameters(sizes, bias=bias):
        return []
    larger = [(times, extend(sizes, rate=trajectory.rate, times=times, bias=bias)) for times in range(1, 6)]
    return [
        Extension(times, each[1], count_parameters(each, bias=bias), trajectory.extended(times).levels)
        for times, each in larger
    ]


def _rows(
    name: str, module: nn.Module, kinds: Mapping[str, str], rates: Mapping[str, float | None], *, is_output: bool
) -> Iterator[LayerRow]:
    """Yield a row for every parameter of a module but its biases, which are counted with their weights."""
    parameters = dict(module.named_parameters(recurse=False))
    biases = {each.replace("bias", "weight"): each for each in parameters if "bias" in each}
    for own, parameter in parameters.items():
        if own in biases.values() and own.replace("bias", "weight") in parameters:
            continue
        bias = parameters[biases[own]].numel() if own in biases else 0
        full = f"{name}.{own}".lstrip(".")
        kind = kinds.get(full, "output" if is_output else _kind_of(module) if own == "weight" else "other")
        label = full.removesuffix(".weight")
        yield LayerRow(label, kind, tuple(parameter.shape), parameter.numel(), bias, rates.get(full))


def _kind_of(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return "dense"
    if isinstance(module, _ConvNd):
        return "conv"
    return "norm" if "norm" in type(module).__name__.lower() else "other"


def _output_of(model: nn.Module, selection: Selection) -> str | None:
    """Return the name of the output layer, whether it is pruned or not."""
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | _ConvNd)]
    return layers[-1] if selection.output == "auto" else selection.output


def _label(pool: Pool) -> str:
    """Name a scope of competition: a layer's weights by the layer, the rest by what it holds."""
    kinds = {name.rpartition(".")[2] for name in pool.names}
    layers = {name.rpartition(".")[0] for name in pool.names}
    if len(pool.names) == 1:
        return pool.names[0].removesuffix(".weight")
    if len(layers) == 1:
        return layers.pop()
    return "weights, biases" if len(kinds) == 2 else "weights" if kinds == {"weight"} else "biases"
