"""Your own criterion from a function that a recipe names."""

from collections.abc import Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.errors import RecipeError
from lthprune.parts import SCORE, import_part
from lthprune.pruning import Candidate, Pruning, Score


def own_score(name: str, settings: Mapping[str, Any] | None, *, trust_code: bool) -> Score:
    """Return your own score function with its settings bound, checked on every call.

    Raises:
        RecipeError: the function is not there or does not take a Candidate and these settings, or there is no consent
            to import it.
    """
    function, words = import_part(SCORE, name, settings, trust_code=trust_code), dict(settings or {})
    what = SCORE.named(name)

    @wraps(function)
    def score(candidate: Candidate) -> Tensor:
        try:
            scores = function(candidate, **words)
        except Exception as error:  # other people's code fails in any way there is
            message = " ".join(str(error).split())
            raise RecipeError(
                f"{what}: the function failed on {candidate.name} with {type(error).__name__}: {message}."
            ) from error
        wanted = tuple(candidate.final.shape)
        if not isinstance(scores, Tensor) or tuple(scores.shape) != wanted or scores.is_complex():
            got = f"a tensor of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise RecipeError(
                f"{what}: for {candidate.name} the function returned {got}; it must return one number for each weight, "
                f"a tensor of shape {wanted}."
            )
        return scores

    score.__module__ = getattr(function, "__module__", None) or type(function).__module__
    score.__qualname__ = _called(getattr(function, "__qualname__", type(function).__qualname__), words)
    return score


def try_score(pruning: Pruning, model: nn.Module) -> None:
    """Call the score once for every prunable tensor of a model: a faulty function is refused before any training.

    Raises:
        RecipeError: the function fails, or returns something other than a tensor of the weights' shape.
    """
    assert not isinstance(pruning.score, str)
    for tensor in pruning.tensors(model):
        weights = tensor.parameter.detach()
        generator = torch.Generator().manual_seed(0)
        pruning.score(Candidate(tensor.name, weights.clone(), weights.clone(), generator))


def _called(name: str, settings: Mapping[str, Any]) -> str:
    """Return a function's name with its settings, as the provenance of tickets has it."""
    given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    return f"{name}({given})" if given else name
