"""The preview of a recipe: its levels, layers, counts and search for the shapes of its data, before it is run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from torch import nn
from torch.nn.modules.conv import _ConvNd

from lthprune.analysis import SeparationBounds, separation_bounds
from lthprune.data import Dataset, Task, load_data, shape_of_data, tasks_of
from lthprune.errors import RecipeError
from lthprune.experiments.levels import perceptron_sizes, with_levels_of
from lthprune.experiments.recipe import Recipe
from lthprune.pruning import (
    Geometric,
    Pool,
    Selection,
    Trajectory,
    count_parameters,
    extend,
    rate_of,
)
from lthprune.search import Search, try_score
from lthprune.training import check_augmentation

LoadData = Callable[..., Dataset]


@dataclass(frozen=True)
class LayerRow:
    """A layer that has parameters.

    ``kind`` is ``conv``, ``dense``, ``output``, or a kind that is never pruned: ``norm`` (batch norm, layer norm), or
    ``other``, such as the position embedding of a transformer, which has a row of its own.

    ``rate`` is None if the layer has no rate of its own: it is not pruned, competes with other layers, or the schedule
    has no rates.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    biases: int
    rate: float | None


class Extension(NamedTuple):
    """A larger perceptron that is pruned for some levels more and then follows the trajectory of another."""

    times: int
    hidden: int
    weights: int
    levels: int


@dataclass(frozen=True)
class Preview:
    """The levels, layers, counts and search of a recipe, before it is run.

    Attributes:
        recipe: the recipe with its levels worked out and all lengths in steps: what is run, and kept on disk.
        input_shape: of one input, (C, H, W) or (features,).
        outputs: how many outputs the network has.
        layers: the layers of the model.
        counts: by scope of competition, the prunable weights that remain at levels 0, 1, ...
        search: what the recipe searches for.
        sizes: of the inputs, hidden layers and outputs of a perceptron whose weights all compete; None for other
            networks.
        tasks: of the data.
        data: the data set, if it was loaded; else None.
        data_dir: the data root given to ``preview_recipe``.
    """

    recipe: Recipe
    input_shape: tuple[int, ...]
    outputs: int
    layers: tuple[LayerRow, ...]
    counts: dict[str, tuple[int, ...]]
    search: Search = field(repr=False)
    sizes: tuple[int, ...] | None = None
    tasks: tuple[Task, ...] = ()
    data: Dataset | None = field(default=None, repr=False)
    data_dir: str | Path | None = field(default=None, repr=False)

    @cached_property
    def trajectory(self) -> Trajectory | None:
        """The trajectory; None if not all weights compete, or no single rate determines the levels.

        Examples:
            >>> from lthprune.experiments import load_recipe
            >>> recipe = load_recipe("lenet-mnist", ["prune.scope=global", "prune.rate=0.2", "prune.target=600"])
            >>> preview_recipe(recipe).trajectory
            Trajectory(weights=266200, levels=28, rate=0.2, target=515)
        """
        prune = self.recipe.prune
        if prune.scope == "layerwise" or len(self.counts) > 1 or isinstance(prune.rate, dict) or prune.densities:
            return None
        (counts,) = self.counts.values()
        if prune.rate is not None:
            return Trajectory.through(weights=counts[0], levels=self.search.levels, rate=prune.rate)
        return Trajectory.through(weights=counts[0], levels=self.search.levels, target=counts[-1])

    @cached_property
    def extensions(self) -> tuple[Extension, ...]:
        """The networks that the recipe's perceptron becomes when it is extended 1 to 5 times along its trajectory.

        Empty unless the network is a perceptron with hidden layers of one size, pruned as a whole.

        Examples:
            >>> from lthprune.experiments import load_recipe
            >>> settings = ["prune.scope=global", "prune.rate=0.2", "prune.target=600", "model.hidden=38"]
            >>> preview_recipe(load_recipe("lenet-mnist", settings)).extensions[0]
            Extension(times=1, hidden=47, weights=39527, levels=19)
        """
        trajectory, sizes = self.trajectory, self.sizes
        if trajectory is None or sizes is None or len(set(sizes[1:-1])) != 1 or trajectory.rate == 0:
            return ()
        bias = any("bias" in label for label in self.counts)
        larger = [(times, extend(sizes, rate=trajectory.rate, times=times, bias=bias)) for times in range(1, 6)]
        return tuple(
            Extension(times, each[1], count_parameters(each, bias=bias), trajectory.extended(times).levels)
            for times, each in larger
        )

    @property
    def bounds(self) -> SeparationBounds | None:
        """With how many weights the recipe's perceptron can be separated into its tasks.

        None for other networks, for data of a single task, for fewer hidden units than tasks, and if tasks need not
        keep all of their inputs (``run.coverage``).

        Examples:
            >>> from lthprune.experiments import load_recipe
            >>> preview_recipe(load_recipe("moons-circles")).bounds.most
            168512
        """
        tasks, coverage = len(self.tasks), self.recipe.run.coverage
        if self.sizes is None or tasks < 2 or min(self.sizes[1:-1], default=0) < tasks or coverage != "pairs":
            return None
        return separation_bounds(self.sizes, self.tasks)


def preview_recipe(
    recipe: Recipe,
    *,
    data_dir: str | Path | None = None,
    trust_code: bool = True,
    load: LoadData | None = None,
) -> Preview:
    """Build a recipe's model once and work out what follows from it; nothing is trained.

    Data are loaded only if nothing else tells their shapes, as with files and functions of your own, or if lengths are
    in epochs.

    Args:
        recipe: what ``load_recipe`` returned.
        data_dir: the data root; by default the environment's ``LTHPRUNE_DATA``, else ``~/.cache/lthprune``.
        trust_code: whether functions of your own that the recipe names may be imported. By default they are: the
            caller has chosen the recipe.
        load: replaces ``load_data``, for several recipes that share data.

    Raises:
        LthpruneError: the model does not fit the data, the pruning does not fit the model, or a function of your own
            cannot be used.

    Examples:
        >>> from lthprune.experiments import load_recipe
        >>> preview = preview_recipe(load_recipe("lenet-mnist"))
        >>> [(row.layer, row.weights + row.biases) for row in preview.layers]
        [('dense1', 235500), ('dense2', 30100), ('output', 1010)]
        >>> preview.counts["dense1"][:3]
        (235200, 188160, 150528)
    """
    data = None
    if recipe.data.known_beforehand and not recipe.in_epochs:
        (input_shape, outputs), tasks = shape_of_data(recipe.data), tasks_of(recipe.data)
    else:
        load = load or load_data
        data = load(recipe.data, data_dir=data_dir, seed=recipe.run.first_seed, trust_code=trust_code)
        input_shape, outputs, tasks = data.input_shape, data.outputs, data.tasks
        recipe = recipe.in_steps(len(data.x_train))
    check_augmentation(recipe.train, input_shape)
    if recipe.pretrain is not None:
        shape, _ = shape_of_data(recipe.pretrain.data, data_dir=data_dir, trust_code=trust_code)
        if shape != input_shape:
            raise RecipeError(
                f"[pretrain] data: {recipe.pretrain.data.name} has inputs of shape {shape}, and [data] "
                f"{recipe.data.name} of {input_shape}. One network takes both: resize images with data.size, or choose "
                "other data."
            )
    model = recipe.build_model(input_shape, outputs, trust_code=trust_code)
    pruning = recipe.prune.pruning(trust_code=trust_code)
    if recipe.prune.own:
        try_score(pruning, model)
    recipe = with_levels_of(recipe, pruning, model)
    search = recipe.prune.search(recipe.run.first_seed, trust_code=trust_code)
    pools = pruning.pools(model)
    counts = pruning.counts(model, search.schedule, search.levels)
    by_pool = {_label(pool): tuple(level[at] for level in counts) for at, pool in enumerate(pools)}
    layers, sizes = _layers(model, search, pools), perceptron_sizes(model, pools)
    return Preview(recipe, input_shape, outputs, layers, by_pool, search, sizes, tasks, data, data_dir)


def _layers(model: nn.Module, search: Search, pools: list[Pool]) -> tuple[LayerRow, ...]:
    rates = {
        name: rate_of(pool, search.schedule.rate)
        for pool in pools
        for name in pool.names
        if isinstance(search.schedule, Geometric) and search.pruning.scope == "layerwise"
    }
    kinds = {name: kind for pool in pools for name, kind in zip(pool.names, pool.kinds, strict=True)}
    output = _output_of(model, search.pruning.selection)
    return tuple(
        row
        for name, module in model.named_modules()
        for row in _rows(name, module, kinds, rates, is_output=name == output)
    )


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
    """Name a scope of competition by its layer, or by its kind of parameters if it spans several layers."""
    kinds = {name.rpartition(".")[2] for name in pool.names}
    layers = {name.rpartition(".")[0] for name in pool.names}
    if len(pool.names) == 1:
        return pool.names[0].removesuffix(".weight")
    if len(layers) == 1:
        return layers.pop()
    return "weights, biases" if len(kinds) == 2 else "weights" if kinds == {"weight"} else "biases"
