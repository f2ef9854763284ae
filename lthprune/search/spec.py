"""The ``[prune]`` table of a recipe."""

from typing import Any, Literal, get_args

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from lthprune.errors import RecipeError, suggestion
from lthprune.lengths import Epochs, Moment, has_epochs
from lthprune.parts import SCORE, check_part_name
from lthprune.pruning import (
    DEFAULT_KINDS,
    MOST_LEVELS,
    SCORES,
    BiasPruning,
    Kind,
    Pruning,
    Scope,
    Selection,
    check_rate,
)
from lthprune.search.own import own_score
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
    levels: int | None = Field(default=None, ge=0, le=MOST_LEVELS)
    """pruning rounds after the dense training; left out if ``rate`` and ``target`` determine them: the fewest that
    reach the target"""
    rate: float | dict[str, float] | None = None
    """the fraction of the remaining weights that every level prunes, for all or by layer kind or name pattern"""
    target: int | float | None = None
    """what the last level keeps: a density (``0.035``) or a number of weights (``600``); at most that many if ``rate``,
    one number, is given too"""
    densities: tuple[int | float, ...] | None = None
    """what each level keeps: densities or numbers of weights"""
    extends: int | None = Field(default=None, ge=1)
    """prune an extended perceptron to the weights of the networks that lie between it and the one with so many hidden
    units, by the rate, down to the target; see [Sweeps](sweeps.md#networks-on-one-trajectory)"""
    score: str = "magnitude"
    """``magnitude`` (also called ``large_final``), ``small_final``, ``large_init``, ``small_init``,
    ``large_init_large_final``, ``small_init_small_final``, ``large_final_same_sign``, ``magnitude_increase``,
    ``movement``, ``random``, or your own function, as in ``my_module:my_score``"""
    settings: dict[str, JsonValue] | None = None
    """keyword arguments of your own score; see [Extending](extending.md)"""
    bias: BiasPruning = False
    """``false``; ``"separate"`` or ``true`` (biases compete only with biases); ``"together"`` (biases compete with
    weights, their scores scaled to the same mean)"""
    rewind: Rewind | Moment = "init"
    """``init``; a step, or epochs as in ``"2ep"`` (both with a new optimiser); ``lr`` (weights stay, the learning rate
    restarts) or ``none``; see [Rewinding](concepts/rewinding.md)"""
    min_survivors: int = Field(default=0, ge=0)
    """the smallest number of weights that every tensor keeps"""
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

    @field_validator("target", "densities")
    @classmethod
    def _densities_or_counts(cls, kept: float | tuple[float, ...] | None) -> float | tuple[float, ...] | None:
        for each in kept if isinstance(kept, tuple) else () if kept is None else (kept,):
            if each < 0 or (isinstance(each, float) and each > 1):
                raise ValueError(f"{each!r} is neither a density (0.0 to 1.0) nor a number of weights (0 or more)")
        return kept

    @field_validator("rewind", mode="before")
    @classmethod
    def _word_or_step(cls, rewind: object) -> object:
        if Epochs.read(rewind) or isinstance(rewind, Epochs) or rewind in get_args(Rewind):
            return rewind
        if isinstance(rewind, bool) or not isinstance(rewind, int) or rewind < 0:
            raise ValueError(
                f"{rewind!r} is not 'init', 'lr' or 'none', or a whole number, the step to rewind to, or epochs, as in "
                "'2ep'"
                f"{suggestion(str(rewind), get_args(Rewind)).rstrip('.')}"
            )
        return rewind

    @field_validator("score")
    @classmethod
    def _known(cls, score: str) -> str:
        check_part_name(SCORE, score, SCORES, what="score")
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

    @model_validator(mode="after")
    def _extends_along_a_rate(self) -> "PruneSpec":
        determined = self.levels is None and isinstance(self.rate, float) and isinstance(self.target, int)
        if self.extends is not None and not determined:
            raise ValueError(
                "extends needs a rate (one number) and a target (a number of weights), and no levels, as in "
                "rate = 0.32 and target = 112"
            )
        return self

    @model_validator(mode="after")
    def _settings_of_a_function(self) -> "PruneSpec":
        if self.settings is not None and not self.own:
            raise ValueError(f"settings are for a score of your own; {self.score} takes none")
        return self

    @model_serializer(mode="wrap")
    def _keys_that_apply(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key != "settings" or value is not None}

    @property
    def own(self) -> bool:
        """Whether the score is a function of your own, or of an installed package."""
        return self.score not in SCORES

    def pruning(self, *, trust_code: bool = False) -> Pruning:
        """Return how this table prunes, whatever the schedule.

        Raises:
            RecipeError: a score of your own cannot be imported or called, or there is no consent to import it.
        """
        return Pruning(
            scope=self.scope,
            score=own_score(self.score, self.settings, trust_code=trust_code) if self.own else self.score,
            bias=self.bias,
            selection=Selection(self.kinds, self.include, self.exclude, output=self.output),
            min_survivors=self.min_survivors,
        )

    def search(self, seed: int, *, trust_code: bool = False) -> Search:
        """Return the search that this table declares.

        Raises:
            RecipeError: ``levels`` or the step to rewind to is not known yet, or as for ``pruning``.
        """
        if has_epochs(self.rewind):
            raise RecipeError(
                f"rewind = {str(self.rewind)!r} becomes a step once the data are known: call preview_recipe(recipe) "
                "and use the recipe of its result."
            )
        if self.levels is None:
            raise RecipeError(
                "the number of levels follows from the rate, the target and the network: call preview_recipe(recipe) "
                "and use the recipe of its result."
            )
        return Search(
            levels=self.levels,
            schedule=schedule_from(self.rate, self.target, self.densities),
            pruning=self.pruning(trust_code=trust_code),
            rewind=Rewinder(at=self.rewind) if isinstance(self.rewind, int) else self.rewind,
            seed=seed,
        )
