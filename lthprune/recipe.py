"""Recipes: an experiment declared in TOML, checked as a whole before anything runs."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import Field, ValidationError, field_validator, model_validator

from lthprune.data import DataSpec
from lthprune.descent import Search
from lthprune.errors import RecipeError, suggestion
from lthprune.models import ModelSpec
from lthprune.pruning import BiasPruning, Pruning, Scope
from lthprune.rewinding import Rewind, Rewinder
from lthprune.schedules import check_rate
from lthprune.scores import score_named
from lthprune.search import schedule_from
from lthprune.section import Section
from lthprune.selection import Kind, Selection
from lthprune.training import TrainingPlan

_SCHEDULES = ("rate", "target", "densities")  # a recipe gives one of them; overriding one puts the others aside


class PruneSpec(Section):
    """The ``[prune]`` table of a recipe."""

    method: Literal["imp", "osp"] = "imp"
    """iterative or one-shot pruning"""
    scope: Scope = "global"
    """``global`` (all weights compete) or ``layerwise``"""
    levels: int = Field(ge=0)
    """pruning rounds after the dense training"""
    rate: float | dict[str, float] | None = None
    """the fraction of the remaining weights that every level prunes, for all or by layer kind or name pattern"""
    target: int | float | None = None
    """what the last level leaves: a density (``0.035``) or a number of weights (``600``)"""
    densities: tuple[int | float, ...] | None = None
    """what each level leaves: densities or numbers of weights"""
    score: str = "magnitude"
    """``magnitude``, ``large_final``, ``magnitude_increase``, ``movement`` or ``random``"""
    bias: BiasPruning = False
    """``false``; ``"separate"`` or ``true`` (in scopes of their own); ``"together"`` (on one footing)"""
    rewind: Rewind | Annotated[int, Field(ge=0)] = "init"
    """``init``, a step (the optimiser starts anew), ``lr`` (weights stay, the learning rate restarts) or ``none``"""
    min_survivors: int = Field(default=0, ge=0)
    """how many weights stay in every tensor at least"""
    kinds: tuple[Kind, ...] = ("conv", "dense", "output")
    """kinds of layers to prune"""
    output: str = "auto"
    """the name of the output layer; ``auto`` is the last one"""
    include: tuple[str, ...] = ("*",)
    """patterns of the layers to prune"""
    exclude: tuple[str, ...] = ()
    """patterns of layers not to prune"""

    @field_validator("rate")
    @classmethod
    def _fractions(cls, rate: float | dict[str, float] | None) -> float | dict[str, float] | None:
        if rate is not None:
            check_rate(rate)
        return rate

    @field_validator("rewind", mode="before")
    @classmethod
    def _word_or_step(cls, rewind: object) -> object:
        if rewind not in get_args(Rewind) and (isinstance(rewind, bool) or not isinstance(rewind, int) or rewind < 0):
            raise ValueError(
                f"{rewind!r} is not 'init', 'lr' or 'none', or a whole number, the step to rewind to"
                f"{suggestion(str(rewind), get_args(Rewind)).rstrip('.')}"
            )
        return rewind

    @field_validator("score")
    @classmethod
    def _known(cls, score: str) -> str:
        score_named(score)
        return score

    @model_validator(mode="after")
    def _one_schedule(self) -> "PruneSpec":
        given = [name for name in _SCHEDULES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(_SCHEDULES)}; there is {' and '.join(given) or 'none'}")
        return self

    def search(self, seed: int) -> Search:
        """Return the search that this table declares."""
        return Search(
            levels=self.levels,
            schedule=schedule_from(self.rate, self.target, self.densities),
            pruning=Pruning(
                scope=self.scope,
                score=self.score,
                bias=self.bias,
                selection=Selection(self.kinds, self.include, self.exclude, output=self.output),
                min_survivors=self.min_survivors,
            ),
            rewind=Rewinder(at=self.rewind) if isinstance(self.rewind, int) else self.rewind,
            seed=seed,
        )


class RunSpec(Section):
    """The ``[run]`` table of a recipe."""

    trials: int = Field(default=5, ge=1)
    """how many times the experiment is made, each with a seed of its own; the paper averages 5"""
    seed: int = Field(default=0, ge=0)
    """the root seed, from which every trial's initialisation, data order and masks follow"""
    keep_early_stop: bool = False
    """whether every ticket also keeps the weights at its early-stopping step"""


class Recipe(Section):
    """An experiment: model, data, training, pruning, trials."""

    model: ModelSpec
    data: DataSpec
    train: TrainingPlan
    prune: PruneSpec
    run: RunSpec = RunSpec()

    @model_validator(mode="after")
    def _rewinds_within_training(self) -> "Recipe":
        if isinstance(self.prune.rewind, int) and self.prune.rewind >= self.train.steps:
            raise ValueError(
                f"prune.rewind = {self.prune.rewind} is not before the end, train.steps = {self.train.steps}"
            )
        return self

    def to_toml(self) -> str:
        """Return the recipe as TOML, every setting written out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def bundled() -> dict[str, str]:
    """Return the bundled recipes: their names and TOML texts.

    Examples:
        >>> "lenet-mnist" in bundled()
        True
    """
    files = sorted(resources.files("lthprune.recipes").iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file.read_text("utf-8") for file in files if file.name.endswith(".toml")}


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a bundled recipe by name or one of your own by path, with settings replaced on top.

    Args:
        name: ``lenet-mnist``, or the path of a ``.toml`` file.
        overrides: ``table.key=value``, the value in TOML (a bare word is taken as a string), as in
            ``train.lr=3e-4`` or ``prune.rate.dense=0.3``.

    Raises:
        RecipeError: the recipe is unknown, is no TOML, or has faults; all of them are named.

    Examples:
        >>> load_recipe("lenet-mnist", ["train.lr=3e-4"]).train.lr
        0.0003
    """
    text, where = _read(name)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}.") from error
    for override in overrides:
        _override(tables, override)
    return parse_recipe(tables, where)


def parse_recipe(tables: Mapping[str, Any], where: str) -> Recipe:
    """Check a recipe's tables and return the recipe; ``where`` names it in error messages."""
    try:
        recipe = Recipe.model_validate_json(json.dumps(tables, default=str), strict=True)  # TOML has JSON's types
    except ValidationError as error:
        found: dict[object, list[Mapping[str, Any]]] = {}
        for fault in error.errors():  # a value that fits none of several types counts once
            found.setdefault(fault["loc"][:2] or fault["msg"], []).append(dict(fault))
        counted = "a fault" if len(found) == 1 else f"{len(found)} faults"
        text = "; ".join(_fault(faults) for faults in found.values())
        raise RecipeError(f"{where} has {counted}: {text}{'' if text.endswith('?') else '.'}") from None
    if recipe.data.name.endswith(".npz"):  # wherever the run is resumed, it finds the file
        path = str(Path(recipe.data.name).expanduser().resolve())
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"name": path})})
    return recipe


def _read(name: str | Path) -> tuple[str, str]:
    recipes = bundled()
    if str(name) in recipes:
        return recipes[str(name)], f"the recipe {name}"
    path = Path(name).expanduser()
    if path.suffix == ".toml" and not path.exists():
        raise RecipeError(f"there is no file {path}.")
    if path.suffix == ".toml" or path.is_file():
        try:
            return path.read_text("utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RecipeError(f"cannot read the recipe {path}: {reason}.") from error
    raise RecipeError(
        f"unknown recipe {str(name)!r}{suggestion(str(name), recipes)} Bundled: {', '.join(recipes)}; "
        "or give the path of a .toml file."
    )


def _override(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or len(path) < 2 or not all(path):
        raise RecipeError(f"cannot read the setting {override!r}; write table.key=value, as in train.lr=3e-4.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *outer, last = path
    table = tables
    for part in outer:
        inner = table.get(part)
        if not isinstance(inner, dict):  # a number gives way to a table, as prune.rate does to prune.rate.dense
            inner = table[part] = {}
        table = inner
    if path[0] == "prune" and path[1] in _SCHEDULES:
        for other in set(_SCHEDULES) - {path[1]}:
            tables["prune"].pop(other, None)
    table[last] = value


_TABLES: dict[str, type[Section]] = {
    "model": ModelSpec,
    "data": DataSpec,
    "train": TrainingPlan,
    "prune": PruneSpec,
    "run": RunSpec,
}


_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "a text", "dict": "a table"}


def _fault(faults: Sequence[Mapping[str, Any]]) -> str:
    """Put pydantic's findings about one place into words: where, what, and the nearest known key or word."""
    fault = faults[0]
    table, *rest = [str(part) for part in fault["loc"]] or [""]
    place = f"[{table}]{' ' + rest[0] if rest else ''}" if table else "the whole"
    if fault["type"] == "extra_forbidden":
        known: Sequence[str] = list(_TABLES[table].model_fields) if rest else list(_TABLES)
        what = "key" if rest else "table"
        return f"{place}: unknown {what}{suggestion((rest or [table])[-1], known).rstrip('.')}"
    if fault["type"] == "missing":
        return f"{place}: this {'key' if rest else 'table'} is missing"
    wanted = [_wanted(each) for each in faults]
    if all(wanted):
        return f"{place}: {fault['input']!r} is not {', or '.join(wanted)}{_near(fault)}"
    message = str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
    quoted = fault["type"] == "value_error" or isinstance(fault["input"], dict | Section)  # ours quote what they refuse
    got = "" if quoted else f" (it is {fault['input']!r})"
    return f"{place}: {message[:1].lower()}{message[1:]}{got}"


def _wanted(fault: Mapping[str, Any]) -> str:
    """Return what was expected where it was a word or a type; nothing where it was something else."""
    if fault["type"] == "literal_error":
        return str(fault["ctx"]["expected"])
    return _TYPES.get(fault["type"].removesuffix("_type"), "")


def _near(fault: Mapping[str, Any]) -> str:
    words = fault.get("ctx", {}).get("expected", "").replace(" or ", ", ").split(", ")
    return suggestion(str(fault["input"]), [word.strip("'") for word in words]).rstrip(".")
