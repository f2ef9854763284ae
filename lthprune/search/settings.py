"""The settings of a search: levels, schedule, pruning, rewinding; and whether they fit the models."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from lthprune.arguments import check_word, whole_number
from lthprune.errors import PruningError
from lthprune.pruning import FORMS, Explicit, Form, Geometric, Pruning, Rate, Schedule, Target, live_state, name_of
from lthprune.search.rewinding import Rewind, Rewinder, rewinder_for


@dataclass(frozen=True)
class Search:
    """The settings of a search: how many levels, the schedule, how to prune and how to rewind.

    ``seed`` is the root seed of random scores. ``form`` is the form of the model in every training, ``final_form`` the
    form at the end of the search; see [`convert`][lthprune.convert]. The tickets are the same in both.
    """

    levels: int
    schedule: Schedule = field(default_factory=lambda: Geometric(0.2))
    pruning: Pruning = field(default_factory=Pruning)
    rewind: Rewind | Rewinder = "init"
    seed: int = 0
    form: Form = "plain"
    final_form: Form = "torch"

    def __post_init__(self) -> None:
        rewinder_for(self.rewind)
        check_word("form", self.form, FORMS)
        check_word("final_form", self.final_form, FORMS)
        for name in ("levels", "seed"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))

    def provenance(self, driver: str) -> dict[str, Any]:
        """Return the settings as plain values for a file: every setting that decides the tickets."""
        return {
            "driver": driver,
            "levels": self.levels,
            "schedule": repr(self.schedule),
            "scope": self.pruning.scope,
            "score": name_of(self.pruning.score),
            "bias": self.pruning.bias,
            "min_survivors": self.pruning.min_survivors,
            "selection": self.pruning.selection.describe(),
            "rewind": str(self.rewind),
            "seed": self.seed,
        }


def counts_of_search(models: Sequence[nn.Module], search: Search) -> list[tuple[int, ...]]:
    """Return the number of weights that each pool keeps at each level; changes nothing.

    Raises:
        PruningError: the models do not form a population, or the pruning or schedule does not fit them.
    """
    if not models:
        raise PruningError("there is no model to prune: the list is empty.")
    for model in models:
        search.pruning.tensors(model)
    states = [live_state(model) for model in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise PruningError(
            "the models of a population need the same architecture; these differ in names or shapes of tensors."
        )
    tensors = {id(tensor) for state in states for tensor in state.values()}
    if len(tensors) < sum(len({id(tensor) for tensor in state.values()}) for state in states):
        raise PruningError("the models of a population may not share parameters; these do.")
    pools = [search.pruning.pools(model) for model in models]
    if any(each != pools[0] for each in pools):
        raise PruningError(
            "the models of a population need the same prunable tensors with the same numbers of remaining weights; "
            "these differ. Prune all of them alike before the search, or search with each model separately."
        )
    return search.pruning.counts(models[0], search.schedule, search.levels)


def schedule_from(
    rate: Rate | None, target: float | int | None, schedule: Schedule | Sequence[float | int] | None
) -> Schedule:
    """Return the schedule that ``rate``, ``target`` or ``schedule`` declares; by default 20 % per level."""
    given = [option for option in (rate, target, schedule) if option is not None]
    if len(given) > 1:
        raise PruningError("give one of rate, target and schedule, not several: each of them fixes the counts.")
    if target is not None:
        return Target(target)
    if isinstance(schedule, Geometric | Target | Explicit):
        return schedule
    if isinstance(schedule, Sequence) and not isinstance(schedule, str):
        return Explicit(tuple(schedule))
    if schedule is not None:
        raise PruningError(
            f"schedule = {schedule!r}: this must be Geometric, Target or Explicit, or a list with what each level "
            "keeps, as in [0.5, 0.2]."
        )
    return Geometric(0.2 if rate is None else rate)
