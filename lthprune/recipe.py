"""Recipes: an experiment declared in TOML, checked as a whole before anything runs."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import tomli_w
import torch
from pydantic import Field, ValidationError, field_validator, model_validator
from torch import nn

from lthprune.analysis import Coverage
from lthprune.data import DataSpec, shape_of_data
from lthprune.descent import Search
from lthprune.errors import RecipeError, suggestion
from lthprune.faults import describe_faults
from lthprune.kinds import DEFAULT_KINDS, Kind
from lthprune.models import ModelSpec, build_model
from lthprune.overrides import SCHEDULES, override
from lthprune.pruning import BiasPruning, Pruning, Scope
from lthprune.rewinding import Rewind, Rewinder
from lthprune.schedules import Target, check_rate, plan_counts
from lthprune.scores import score_named
from lthprune.search import schedule_from
from lthprune.section import Section
from lthprune.seeds import Seeds, Stream
from lthprune.selection import Selection
from lthprune.training import TrainingPlan
from lthprune.trajectories import Trajectory


class PruneSpec(Section):
    """The ``[prune]`` table of a recipe."""

    method: Literal["imp", "osp"] = "imp"
    """iterative or one-shot pruning"""
    scope: Scope = "global"
    """``global`` (all weights compete) or ``layerwise``"""
    levels: int = Field(default=cast(int, None), ge=0)  # None until the recipe works it out: no Recipe is without
    """pruning rounds after the dense training; left out where ``rate`` and ``target`` decide them: the fewest that
    reach the target"""
    rate: float | dict[str, float] | None = None
    """the fraction of the remaining weights that every level prunes, for all or by layer kind or name pattern"""
    target: int | float | None = None
    """what the last level leaves: a density (``0.035``) or a number of weights (``600``); at most that many where
    ``rate``, one number, is given too"""
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
    kinds: tuple[Kind, ...] = DEFAULT_KINDS
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
        given = [name for name in SCHEDULES if getattr(self, name) is not None]
        if self.levels is None and given == ["rate", "target"] and not isinstance(self.rate, dict):
            return self
        if len(given) != 1:
            levels = "without levels" if self.levels is None else f"with levels = {self.levels}"
            raise ValueError(
                f"give one of {', '.join(SCHEDULES)}, or a rate (one number) and a target without levels; "
                f"{levels} there is {' and '.join(given) or 'none'}"
            )
        if self.levels is None:
            raise ValueError("levels is missing; it follows only from a rate (one number) and a target together")
        return self

    def pruning(self) -> Pruning:
        """Return how this table prunes, whatever the schedule."""
        return Pruning(
            scope=self.scope,
            score=self.score,
            bias=self.bias,
            selection=Selection(self.kinds, self.include, self.exclude, output=self.output),
            min_survivors=self.min_survivors,
        )

    def search(self, seed: int) -> Search:
        """Return the search that this table declares."""
        return Search(
            levels=self.levels,
            schedule=schedule_from(self.rate, self.target, self.densities),
            pruning=self.pruning(),
            rewind=Rewinder(at=self.rewind) if isinstance(self.rewind, int) else self.rewind,
            seed=seed,
        )


class RunSpec(Section):
    """The ``[run]`` table of a recipe."""

    trials: int = Field(default=5, ge=1)
    """how many times the experiment is made, each with a seed of its own; the paper averages 5"""
    seed: int | tuple[int, ...] = 0
    """the root seed, from which every trial's initialisation, data order and masks follow; or a list of root seeds, one
    for each trial (``trials`` is then left out): see [below](#seeds)"""
    stop_when: Literal["separated", "degraded"] | None = None
    """end after the first level at which the networks of all trials are ``separated`` (or ``degraded``) into tasks;
    see [Structure](structure.md#splitting)"""
    coverage: Coverage = "pairs"
    """what a task must keep not to count as degraded: all ``pairs`` of an input and an output, or its ``outputs``"""
    keep_early_stop: bool = False
    """whether every ticket also keeps the weights at its early-stopping step"""

    @field_validator("seed", mode="before")
    @classmethod
    def _whole_numbers(cls, seed: object) -> object:
        listed = seed if isinstance(seed, list | tuple) else [seed]
        if not listed or any(isinstance(each, bool) or not isinstance(each, int) or each < 0 for each in listed):
            raise ValueError(f"{seed!r} is not a whole number, 0 or more, or a list of such, one for each trial")
        if len(set(listed)) < len(listed):
            raise ValueError(f"{seed!r} lists a seed twice; two trials would be the same")
        return tuple(seed) if isinstance(seed, list) else seed

    @model_validator(mode="after")
    def _one_for_each_trial(self) -> "RunSpec":
        if isinstance(self.seed, tuple) and "trials" not in self.model_fields_set:
            object.__setattr__(self, "trials", len(self.seed))
        elif isinstance(self.seed, tuple) and self.trials != len(self.seed):
            raise ValueError(
                f"trials = {self.trials}, but seed lists {len(self.seed)}, one for each trial; leave out trials"
            )
        return self

    @property
    def first_seed(self) -> int:
        """The root seed, of a list the first: the data split and scores that draw come from it."""
        return self.seed[0] if isinstance(self.seed, tuple) else self.seed

    def generator(self, stream: Stream, trial: int = 0) -> torch.Generator:
        """Return a generator at the start of a trial's stream; a listed seed is the root of one trial, its number 0."""
        if isinstance(self.seed, tuple):
            return Seeds(self.seed[trial]).generator(stream)
        return Seeds(self.seed).generator(stream, trial=trial)


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

    @model_validator(mode="after")
    def _several_tasks_to_split_into(self) -> "Recipe":
        if self.run.stop_when is not None and len(self.data.parts) < 2:
            raise ValueError(
                f"run.stop_when = {self.run.stop_when!r} is about several tasks, and data.name = {self.data.name!r} "
                "sets one"
            )
        return self

    @model_validator(mode="after")
    def _levels_follow(self) -> "Recipe":
        """Put the levels that a rate takes to a target in the target's place: the recipe then says what is run."""
        rate, target = self.prune.rate, self.prune.target
        if rate is not None and target is not None and not isinstance(rate, dict):
            pools = self.prune.pruning().pools(self.build_model(*shape_of_data(self.data)))
            weights, left = map(sum, plan_counts(Target(target), pools, 1))
            levels = Trajectory.through(weights=weights, rate=rate, target=left).levels
            object.__setattr__(self, "prune", self.prune.model_copy(update={"levels": levels, "target": None}))
        return self

    def build_model(self, input_shape: tuple[int, ...], classes: int, trial: int = 0) -> nn.Module:
        """Return the network of a trial with its initial weights, on the CPU."""
        generator, samples = self.run.generator("init", trial), min(2, self.train.batch_size)
        return build_model(self.model, input_shape, classes, generator, samples=samples)

    def to_toml(self) -> str:
        """Return the recipe as TOML, every setting written out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


_TABLES: dict[str, type[Section]] = {
    "model": ModelSpec,
    "data": DataSpec,
    "train": TrainingPlan,
    "prune": PruneSpec,
    "run": RunSpec,
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
    tables, where = read_recipe(name)
    override(tables, overrides)
    return parse_recipe(tables, where)


def read_recipe(name: str | Path) -> tuple[dict[str, Any], str]:
    """Return the tables of a recipe, unchecked, and what to call it in error messages."""
    text, where = _read(name)
    try:
        return tomllib.loads(text), where
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}.") from error


def parse_recipe(tables: Mapping[str, Any], where: str) -> Recipe:
    """Check a recipe's tables and return the recipe; ``where`` names it in error messages."""
    try:
        recipe = Recipe.model_validate_json(json.dumps(tables, default=str), strict=True)  # TOML has JSON's types
    except ValidationError as error:
        raise RecipeError(f"{where} has {describe_faults(error, _TABLES)}") from None
    name = absolute_name(recipe.data.name)  # wherever the run is resumed, it finds the file
    if name != recipe.data.name:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"name": name})})
    return recipe


def absolute_name(name: str) -> str:
    """Return the name of a data set, the path of an ``.npz`` file made absolute."""
    return str(Path(name).expanduser().resolve()) if name.endswith(".npz") else name


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
