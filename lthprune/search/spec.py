"""The ``[prune]`` table of a recipe."""

from typing import Annotated, Literal, cast, get_args

from pydantic import Field, field_validator, model_validator

from lthprune.errors import suggestion
from lthprune.pruning import DEFAULT_KINDS, BiasPruning, Kind, Pruning, Scope, Selection, check_rate, score_named
from lthprune.search.rewinding import Rewind, Rewinder
from lthprune.search.settings import Search, schedule_from
from lthprune.section import Section

SCHEDULES = ("rate", "target", "densities")  # a recipe gives one of them, or a rate and a target without levels


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
