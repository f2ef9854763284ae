"""Training functions: what a search hands to them, and what it expects back."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from lthprune.arguments import check_module, described
from lthprune.errors import PruningError

Train = Callable[..., Any]
"""``train(model)`` or ``train(model, level)``; returns metrics, for a list of models one entry for each.

Metrics are a dict or None, or ``Diverged`` for a model whose training was stopped because it diverged.
"""


@dataclass(frozen=True)
class Level:
    """The level that a training function trains.

    Attributes:
        number: 0 for the dense network, then 1, 2, ...
        levels: the number of the last level.
        density: the fraction of the prunable weights that this level trains, in [0, 1].
        start: the step to start from: 0, or after the first training that of a ``Rewinder(at=step)``.
        trials: the numbers of the trials that are trained, one for each model.

    Examples:
        >>> import lthprune
        >>> def train(model, level):
        ...     print(f"level {level.number} of {level.levels}: density {level.density:.0%}")
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 2))
        >>> tickets = lthprune.imp(model, train, levels=2, rate=0.5, scope="layerwise")
        level 0 of 2: density 100%
        level 1 of 2: density 50%
        level 2 of 2: density 25%
    """

    number: int
    levels: int
    density: float
    start: int
    trials: tuple[int, ...] = (0,)


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
    _way_of_level(train)
    return models


def call_training(train: Train, model: Any, level: Level) -> Any:
    """Call a training function, with the level if it takes one, and return its metrics."""
    how = _way_of_level(train)
    if how is None:
        return train(model)
    return train(model, level=level) if how == "by name" else train(model, level)


def _way_of_level(train: Train) -> Literal["by name", "second"] | None:
    """Return how a training function takes the level: an argument named ``level``, or a second one without default.

    Raises:
        PruningError: the function needs more arguments than a model and a level.
    """
    try:
        parameters = list(inspect.signature(train).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have no signature
        return None
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [each for each in parameters if each.kind not in variadic]
    by_name = any(each.name == "level" and each.kind is not each.POSITIONAL_ONLY for each in parameters[1:])
    bound = isinstance(train, partial) and "level" in train.keywords
    needed = [each for each in parameters[1:] if each.default is each.empty and not (by_name and each.name == "level")]
    second = needed[:1] if not by_name and needed and needed[0].kind is not needed[0].KEYWORD_ONLY else []
    if needed[len(second) :]:
        raise PruningError(
            f"train takes {', '.join(each.name for each in parameters)}; a search calls train(model) or train(model, "
            f"level). Give {', '.join(each.name for each in needed[len(second) :])} a default, or name the level "
            "'level' and bind the rest: functools.partial(train, name=value)."
        )
    if by_name and not bound:
        return "by name"
    return "second" if second else None
