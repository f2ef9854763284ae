"""Recipes: experiments declared in TOML.

Parsing checks a recipe as a whole and does nothing else: it builds no model, opens no data and imports no code.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError, model_validator
from torch import nn

from lthprune.data import DataSpec, absolute_part, split_name
from lthprune.errors import RecipeError, shown, suggestion
from lthprune.experiments.faults import describe_faults
from lthprune.experiments.overrides import override
from lthprune.experiments.spec import PretrainSpec, ResourceSpec, RunSpec
from lthprune.lengths import has_epochs, in_steps
from lthprune.models import ModelSpec, build_model
from lthprune.reading import expanded, parse_toml, read_toml
from lthprune.search import PruneSpec
from lthprune.section import Section
from lthprune.training import TrainingPlan, check_batches

_MOST_MEASUREMENTS = 10_000_000  # of each kind, in all of a run; they are held in memory


class Recipe(Section):
    """An experiment: model, data, training, pruning, trials."""

    model: ModelSpec
    data: DataSpec
    train: TrainingPlan
    prune: PruneSpec
    run: RunSpec = RunSpec()
    pretrain: PretrainSpec | None = None
    resources: ResourceSpec = ResourceSpec()

    @model_validator(mode="after")
    def _rewinds_within_training(self) -> "Recipe":
        rewind: Any = self.prune.rewind
        if type(rewind) is type(self.train.steps) and rewind >= self.train.steps:  # both in steps, or both in epochs
            raise ValueError(
                f"prune.rewind = {self.prune.rewind} is not before the end, train.steps = {self.train.steps}"
            )
        return self

    @model_validator(mode="after")
    def _several_tasks_to_split_into(self) -> "Recipe":
        if self.run.stop_when is not None and len(self.data.parts) < 2:
            raise ValueError(
                f"run.stop_when = {self.run.stop_when!r} needs several tasks; data.name = {self.data.name!r} sets one"
            )
        return self

    @model_validator(mode="after")
    def _held_in_memory(self) -> "Recipe":
        return self._measured_within_memory()

    def _measured_within_memory(self) -> "Recipe":
        if self.train.in_epochs:
            return self
        trials, levels = self.run.trials, (self.prune.levels or 0) + 1
        evaluations = -(-self.train.steps // self.train.evaluate_every)
        if trials * levels * evaluations > _MOST_MEASUREMENTS:
            raise RecipeError(
                f"{trials:,} trials, {levels:,} levels and {evaluations:,} evaluations of each make more than "
                f"{_MOST_MEASUREMENTS:,} measurements. Raise train.evaluate_every, or lower run.trials or prune.levels"
            )
        return self

    def build_model(
        self, input_shape: tuple[int, ...], outputs: int, trial: int = 0, *, trust_code: bool = False
    ) -> nn.Module:
        """Return the network of a trial with its initial weights, on the CPU.

        Args:
            input_shape: of one input of the recipe's data.
            outputs: how many outputs its tasks need.
            trial: which trial.
            trust_code: whether a function of your own that the recipe names may be imported.
        """
        generator, samples = self.run.generator("init", trial), min(2, self.train.batch_size)
        return build_model(self.model, input_shape, outputs, generator, samples=samples, trust_code=trust_code)

    def with_levels(self, levels: int | None) -> "Recipe":
        """Return the recipe with its number of levels in place of a target that determined it.

        Examples:
            >>> recipe = load_recipe("lenet-digits", ["prune.rate=0.2", "prune.target=600"])
            >>> prune = recipe.with_levels(20).prune
            >>> prune.levels, prune.rate, prune.target
            (20, 0.2, None)
        """
        if self.prune.levels is not None or levels is None:
            return self
        prune = self.prune.model_copy(update={"levels": levels, "target": None})
        return self.model_copy(update={"prune": prune})._measured_within_memory()

    def with_counts(self, counts: tuple[int | float, ...] | None) -> "Recipe":
        """Return the recipe with the weights of every level in place of what determined them.

        Examples:
            >>> settings = ["model.hidden=13", "prune.extends=8", "prune.rate=0.32", "prune.target=112"]
            >>> prune = load_recipe("moons-circles", settings).with_counts((160, 112)).prune
            >>> prune.levels, prune.densities, prune.extends
            (2, (160, 112), None)
        """
        if self.prune.extends is None or counts is None:
            return self
        decided = {"levels": len(counts), "densities": counts, "rate": None, "target": None, "extends": None}
        return self.model_copy(update={"prune": self.prune.model_copy(update=decided)})._measured_within_memory()

    @property
    def in_epochs(self) -> bool:
        """Whether some lengths are in epochs, because the number of training samples is not known yet."""
        return self.train.in_epochs or has_epochs(self.prune.rewind)

    def in_steps(self, samples: int) -> "Recipe":
        """Return the recipe with all lengths in steps; an epoch has as many as whole batches of ``samples``.

        Raises:
            DataError: there are fewer samples than a batch needs.
            RecipeError: the lengths contradict one another.

        Examples:
            >>> recipe = load_recipe("lenet-digits", ["train.steps=2ep", "train.evaluate_every=10"])
            >>> recipe.in_steps(1200).train.steps  # batches of 60
            40
        """
        if not self.in_epochs:
            return self
        check_batches(samples, self.train.batch_size)
        per_epoch = samples // self.train.batch_size
        tables = {
            name: table.model_copy(update={key: in_steps(value, per_epoch) for key, value in table})
            for name, table in (("train", self.train), ("prune", self.prune))
        }
        resolved = self.model_copy(update=tables).model_dump(mode="json", exclude_none=True)
        return parse_recipe(resolved, f"the recipe, with {per_epoch:,} steps to an epoch,")

    def worked_out_as(self, begun: "Recipe") -> "Recipe":
        """Return the recipe with what its data and network decide, levels and steps of epochs, as in a run of it."""
        tables = {
            name: table.model_copy(update={key: getattr(other, key) for key, value in table if has_epochs(value)})
            for name, table, other in (("train", self.train, begun.train), ("prune", self.prune, begun.prune))
        }
        recipe, prune = self.model_copy(update=tables), begun.prune
        return recipe.with_levels(prune.levels) if self.prune.extends is None else recipe.with_counts(prune.densities)

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide the results, as nested plain values: all but the resources."""
        return self.model_dump(mode="json", exclude={"resources"})

    @property
    def names_code(self) -> bool:
        """Whether the recipe names functions of your own, which are imported only with consent."""
        pretrained_on_own = self.pretrain is not None and self.pretrain.data.own
        return self.model.own or self.data.own or self.prune.own or pretrained_on_own

    def to_toml(self) -> str:
        """Return the recipe as TOML, every setting written out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


_TABLES: dict[str, type[Section]] = {
    "model": ModelSpec,
    "data": DataSpec,
    "train": TrainingPlan,
    "prune": PruneSpec,
    "run": RunSpec,
    "pretrain": PretrainSpec,
    "resources": ResourceSpec,
}


def bundled() -> dict[str, str]:
    """Return the bundled recipes: their names and TOML texts.

    Examples:
        >>> "lenet-mnist" in bundled()
        True
    """
    files = sorted(resources.files("lthprune.recipes").iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file.read_text("utf-8") for file in files if file.name.endswith(".toml")}


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a bundled recipe by its name or your own by its path, and replace some of its settings.

    Args:
        name: ``lenet-mnist``, or the path of a ``.toml`` file.
        overrides: ``table.key=value``, the value in TOML (a bare word is taken as a string), as in
            ``train.lr=3e-4`` or ``prune.rate.dense=0.3``.

    Raises:
        RecipeError: the recipe is unknown, is not TOML, or has faults; the message names all of them.

    Examples:
        >>> load_recipe("lenet-mnist", ["train.lr=3e-4"]).train.lr
        0.0003
    """
    tables, where = read_recipe(name)
    override(tables, overrides)
    return parse_recipe(tables, where)


def read_recipe(name: str | Path) -> tuple[dict[str, Any], str]:
    """Return the unchecked tables of a recipe, and its name for error messages."""
    recipes, path = bundled(), expanded(name)
    if str(name) in recipes:
        return parse_toml(recipes[str(name)]), f"the recipe {name}"
    if path.suffix != ".toml" and not path.is_file():
        raise RecipeError(
            f"unknown recipe {shown(str(name))}{suggestion(str(name), recipes)} Bundled: {', '.join(recipes)}; "
            "or give the path of a .toml file."
        )
    try:
        return read_toml(path), str(path)
    except FileNotFoundError:
        raise RecipeError(f"there is no file {path}.") from None
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from error


def parse_recipe(tables: Mapping[str, Any], where: str) -> Recipe:
    """Check a recipe's tables and return the recipe; ``where`` is its name in error messages.

    Builds no model, opens no data and imports no code.
    """
    try:
        recipe = Recipe.model_validate_json(json.dumps(tables, default=str), strict=True)  # TOML has JSON's types
    except ValidationError as error:
        raise RecipeError(f"{where} has {describe_faults(error, _TABLES)}") from None
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, or tables built in Python
        raise RecipeError(f"{where} cannot be read: {error}.") from None
    updates: dict[str, Section] = {"data": _with_absolute_name(recipe.data)}
    if recipe.pretrain is not None:
        data = _with_absolute_name(recipe.pretrain.data)
        updates["pretrain"] = recipe.pretrain.model_copy(update={"data": data})
    return recipe.model_copy(update=updates)


def _with_absolute_name(data: DataSpec) -> DataSpec:
    """Return the table with absolute paths, so that a run finds its file when it is resumed from another folder."""
    name = absolute_name(data.name)
    return data if name == data.name else data.model_copy(update={"name": name})


def absolute_name(name: str) -> str:
    """Return the name of a data set with its paths made absolute.

    Examples:
        >>> absolute_name("moons+/data/../own.npz")
        'moons+/own.npz'
    """
    return "+".join(map(absolute_part, split_name(name)))
