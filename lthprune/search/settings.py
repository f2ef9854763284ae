"""What to search for: levels, schedule, pruning, rewinding; and whether it fits the models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from lthprune.arguments import check_module, check_word, described, whole_number
from lthprune.errors import PruningError
from lthprune.pruning import FORMS, Explicit, Form, Geometric, Pruning, Rate, Schedule, Target, live_state, name_of
from lthprune.search.rewinding import Rewind, Rewinder, rewinder_for

Train = Callable[[Any], Any]


@dataclass(frozen=True)
class Search:
    """What to search for: how many levels, on which schedule, how to prune and how to rewind.

    ``seed`` is the root seed of scores that draw. ``form`` is the form of the model in every training, ``final_form``
    the one in which the search leaves it; see [`convert`][lthprune.convert]. Tickets are the same in both.
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
        """Return where this search's tickets come from, in words fit for a file."""
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


def models_of(model: object, train: object) -> list[nn.Module]:
    """Return the models to search, one or a list of them, or refuse what is no model or no training function."""
    models: list[Any] = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
    if callable(model) and not isinstance(model, nn.Module) and isinstance(train, nn.Module | Sequence):
        raise PruningError(
            f"the model is {described(model)} and train {described(train)}: the two look swapped. The model comes "
            "first, as in imp(model, train, levels=12)."
        )
    for each in models:
        check_module(each)
    if not callable(train):
        raise PruningError(f"train is a function that trains the model; this is {described(train)}.")
    return models


def plan_search(models: Sequence[nn.Module], search: Search) -> list[tuple[int, ...]]:
    """Return the counts per level and pool, or refuse what cannot be searched; nothing is changed.

    Raises:
        PruningError: the models are no population, or the pruning or schedule does not fit them.
    """
    if not models:
        raise PruningError("there is no model to prune: the list is empty.")
    for model in models:
        search.pruning.tensors(model)
    states = [live_state(model) for model in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise PruningError("the models of a population share one architecture; these differ in names or shapes.")
    tensors = {id(tensor) for state in states for tensor in state.values()}
    if len(tensors) < sum(len({id(tensor) for tensor in state.values()}) for state in states):
        raise PruningError("models of the population share parameters; each needs parameters of its own.")
    pools = [search.pruning.pools(model) for model in models]
    if any(each != pools[0] for each in pools):
        raise PruningError(
            "the models of a population are pruned side by side: they need the same prunable tensors with the same "
            "numbers of remaining weights, and these differ. Prune all alike before the search, or search each by "
            "itself."
        )
    return search.pruning.counts(models[0], search.schedule, search.levels)


def schedule_from(
    rate: Rate | None, target: float | int | None, schedule: Schedule | Sequence[float | int] | None
) -> Schedule:
    """Return the schedule that one of three words stands for; 20 % per level where none is given."""
    given = [word for word in (rate, target, schedule) if word is not None]
    if len(given) > 1:
        raise PruningError("give one of rate, target and schedule, not several: each alone decides the counts.")
    if target is not None:
        return Target(target)
    if isinstance(schedule, Geometric | Target | Explicit):
        return schedule
    if isinstance(schedule, Sequence) and not isinstance(schedule, str):
        return Explicit(tuple(schedule))
    if schedule is not None:
        raise PruningError(
            f"schedule = {schedule!r}: this must be Geometric, Target or Explicit, or a list of what each level leaves."
        )
    return Geometric(0.2 if rate is None else rate)
