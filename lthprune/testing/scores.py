"""The properties of a score."""

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from torch import Tensor

from lthprune.arguments import described
from lthprune.pruning import Score, score_named
from lthprune.testing.calling import PropertyError, call, called, seed_generators
from lthprune.testing.cases import DIMS, ScoreCase, check_dims, score_cases, shown
from lthprune.testing.smallest import check_cases, require_hypothesis

_DRAW = "Draw random scores from candidate.generator, and check them with random=True."


def check_score(score: Score | str, *, random: bool = False, dims: Collection[int] = DIMS) -> None:
    """Check that a score function has the properties that pruning relies on.

    It returns one finite number for each weight, on the same device; it writes neither to the candidate nor to the
    global random generators; and in every call it gives the same weights the same scores. The cases are 100 small
    tensors in three types, with ties, zeros and constants.

    Args:
        score: the score function, or the name of one.
        random: whether its scores are random. Then they must come from ``candidate.generator``, and the same seed gives
            the same scores.
        dims: the numbers of dimensions of the tensors that it can score.

    Raises:
        AssertionError: a property does not hold; the message gives the smallest case that shows it.
        PruningError: hypothesis is not installed, or an argument is wrong.

    Examples:
        >>> check_score(lambda candidate: candidate.final.square())
        >>> check_score(lambda candidate: candidate.final / candidate.final.max())
        Traceback (most recent call last):
        AssertionError: '<lambda>' returns scores that are not finite. Weights cannot be ranked by them.
        Smallest failing case: the final weights [0.0] and the initial weights [0.0]
        Seen: the scores [nan] of the weights [0.0]
    """
    __tracebackhide__ = True
    function = score_named(score)
    require_hypothesis()
    check_dims(dims)
    check_cases(called(function), score_cases(dims), partial(_examine, function, random))


def _examine(score: Score, random: bool, case: ScoreCase) -> None:
    seed_generators(0)
    given = case.candidate()
    first = call(partial(score, given), advice=_DRAW)
    check_scores(first, case.final)
    for attribute, before in (("final", case.final), ("initial", case.initial)):
        after = getattr(given, attribute)
        if not before.equal(after):
            raise PropertyError(
                f"writes to candidate.{attribute}, which may be the weights of the model. Compute on a copy.",
                f"{shown(before)} became {shown(after)}",
            )
    call(partial(score, replace(given, final=given.final + 1)))
    seed_generators(1)
    again = call(partial(score, case.candidate(seed=None if random else case.seed + 1)))
    check_scores(again, case.final)
    seeded = " and a generator of the same seed" if random else ""
    check_repeated(first, again, f"with the same weights{seeded}.")


def check_scores(scores: object, weights: Tensor) -> None:
    """Raise a PropertyError unless scores are one finite number for each weight."""
    if not isinstance(scores, Tensor):
        raise PropertyError("must return a tensor.", described(scores))
    if scores.shape != weights.shape:
        raise PropertyError(
            "returns scores of another shape than the weights. It must return one number for each weight.",
            f"scores of the shape {tuple(scores.shape)} for weights of the shape {tuple(weights.shape)}",
        )
    if scores.device != weights.device or scores.is_complex():
        raise PropertyError(
            "must return real numbers on the device of the weights.", f"{scores.dtype} on {scores.device}"
        )
    endless = ~scores.isfinite()
    if bool(endless.any()):
        raise PropertyError(
            "returns scores that are not finite. Weights cannot be ranked by them.",
            f"the scores {shown(scores[endless])} of the weights {shown(weights[endless])}",
        )


def check_repeated(first: Tensor, again: Tensor, how: str) -> None:
    """Raise a PropertyError, whose sentence ``how`` ends, unless two calls gave the same scores, all of them finite."""
    if not first.equal(again):
        other = first != again
        raise PropertyError(
            f"gives other scores when it is called again {how}",
            f"the scores {shown(first[other])}, then {shown(again[other])}",
        )
