"""Scores: what a pruning criterion gives each weight. The weights with the lowest scores are pruned.

A score function takes a ``Candidate`` and returns a tensor of the same shape; any such function can serve as a
criterion. The criteria here are those of Zhou et al. (2019), *Deconstructing Lottery Tickets*: nine mask criteria, and
one for untrained networks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lthprune.errors import PruningError, suggestion


@dataclass(frozen=True)
class Candidate:
    """The tensor that a score function scores.

    Attributes:
        name: its plain name.
        final: its weights after training.
        initial: its weights at initialisation, of the same shape; None if they are unknown.
        generator: for random scores; None stands for torch's default generator.
    """

    name: str
    final: Tensor
    initial: Tensor | None = None
    generator: torch.Generator | None = None

    def require_initial(self) -> Tensor:
        """Return the initial weights.

        Raises:
            PruningError: they are unknown or have another shape.
        """
        if self.initial is None or self.initial.shape != self.final.shape:
            found = "are unknown" if self.initial is None else f"have the shape {tuple(self.initial.shape)}"
            raise PruningError(
                f"this score compares the weights of {self.name!r} with their initial values, which {found}. "
                "imp() and osp() provide them; to prune() pass them as initial=."
            )
        return self.initial


Score = Callable[[Candidate], Tensor]


def magnitude(candidate: Candidate) -> Tensor:
    """Score by ``|w_f|``, the criterion of Frankle & Carbin (2019); ``large_final`` in Zhou et al. (2019).

    Examples:
        >>> magnitude(Candidate("w", torch.tensor([-2.0, 1.0])))
        tensor([2., 1.])
    """
    return abs(candidate.final)


def magnitude_increase(candidate: Candidate) -> Tensor:
    """Score by ``|w_f| - |w_i|``: weights that grew are kept (``magnitude_increase`` in Zhou et al. 2019).

    Examples:
        >>> magnitude_increase(Candidate("w", torch.tensor([-2.0, 1.0]), initial=torch.tensor([3.0, 0.5])))
        tensor([-1.0000,  0.5000])
    """
    return abs(candidate.final) - abs(candidate.require_initial())


def movement(candidate: Candidate) -> Tensor:
    """Score by ``|w_f - w_i|``: weights that moved are kept (``movement`` in Zhou et al. 2019).

    This is not the movement pruning of Sanh et al. (2020), which is a first-order criterion.

    Examples:
        >>> movement(Candidate("w", torch.tensor([-2.0, 1.0]), initial=torch.tensor([3.0, 0.5])))
        tensor([5.0000, 0.5000])
    """
    return abs(candidate.final - candidate.require_initial())


def small_final(candidate: Candidate) -> Tensor:
    """Score by ``-|w_f|``, the opposite of ``magnitude``: the smallest weights are kept.

    Examples:
        >>> small_final(Candidate("w", torch.tensor([-2.0, 1.0])))
        tensor([-2., -1.])
    """
    return -abs(candidate.final)


def large_init(candidate: Candidate) -> Tensor:
    """Score by ``|w_i|``: weights that were large at initialisation are kept, whatever training did.

    Examples:
        >>> large_init(Candidate("w", torch.tensor([-2.0, 1.0]), initial=torch.tensor([3.0, -0.5])))
        tensor([3.0000, 0.5000])
    """
    return abs(candidate.require_initial())


def small_init(candidate: Candidate) -> Tensor:
    """Score by ``-|w_i|``, the opposite of ``large_init``.

    Examples:
        >>> small_init(Candidate("w", torch.tensor([-2.0, 1.0]), initial=torch.tensor([3.0, -0.5])))
        tensor([-3.0000, -0.5000])
    """
    return -abs(candidate.require_initial())


def large_init_large_final(candidate: Candidate) -> Tensor:
    """Score by the lower of two ranks, of ``|w_i|`` and ``|w_f|``: weights that are large in both are kept.

    The paper's ``min(a |w_f|, |w_i|)`` needs a factor ``a`` for the two scales. Like the authors' code, this cuts both
    at the same percentile. Ranks are in (0, 1], among the weights of the tensor that are not zero after training; so
    pruned weights do not count, and have the lowest scores.

    Examples:
        >>> candidate = Candidate("w", torch.tensor([-3.0, 1.0, 2.0]), initial=torch.tensor([0.2, 0.1, -0.3]))
        >>> large_init_large_final(candidate)
        tensor([0.6667, 0.3333, 0.6667], dtype=torch.float64)
    """
    initial = abs(candidate.require_initial())
    return torch.minimum(_rank(candidate, initial), _rank(candidate, abs(candidate.final)))


def small_init_small_final(candidate: Candidate) -> Tensor:
    """Score by the lower of two ranks, of ``-|w_i|`` and ``-|w_f|``: weights that are small in both are kept.

    Ranks are as for ``large_init_large_final``.

    Examples:
        >>> candidate = Candidate("w", torch.tensor([-3.0, 1.0, 2.0]), initial=torch.tensor([0.2, 0.1, -0.3]))
        >>> small_init_small_final(candidate)
        tensor([0.3333, 1.0000, 0.3333], dtype=torch.float64)
    """
    initial = -abs(candidate.require_initial())
    return torch.minimum(_rank(candidate, initial), _rank(candidate, -abs(candidate.final)))


def large_final_same_sign(candidate: Candidate) -> Tensor:
    """Score by ``max(0, w_i w_f / |w_i|)``: weights that are large after training and kept their sign.

    Networks with these masks classify far better than by chance before they are trained (Zhou et al. 2019, section 5).

    Examples:
        >>> large_final_same_sign(Candidate("w", torch.tensor([-2.0, 1.0]), initial=torch.tensor([3.0, 0.5])))
        tensor([0., 1.])
    """
    final, initial = candidate.final, candidate.require_initial()
    return abs(final) * (((final > 0) == (initial > 0)) & (initial != 0))


def _rank(candidate: Candidate, values: Tensor) -> Tensor:
    """Return the ranks of values among a candidate's weights that are not zero, in (0, 1]; 0 for those that are."""
    places = candidate.final.reshape(-1).nonzero()[:, 0]
    order = places[values.reshape(-1)[places].argsort(stable=True)]
    ranks = torch.zeros(values.numel(), dtype=torch.float64, device=values.device)
    ranks[order] = torch.arange(1, len(order) + 1, dtype=torch.float64, device=values.device) / max(1, len(order))
    return ranks.reshape(values.shape)


def random(candidate: Candidate) -> Tensor:
    """Score at random, uniformly in [0, 1): the control that a criterion must beat.

    Examples:
        >>> random(Candidate("w", torch.zeros(2, 3))).shape
        torch.Size([2, 3])
    """
    shape = candidate.final.shape
    return torch.rand(shape, generator=candidate.generator).to(candidate.final.device)


SCORES: dict[str, Score] = {
    "magnitude": magnitude,
    "large_final": magnitude,
    "small_final": small_final,
    "large_init": large_init,
    "small_init": small_init,
    "large_init_large_final": large_init_large_final,
    "small_init_small_final": small_init_small_final,
    "large_final_same_sign": large_final_same_sign,
    "magnitude_increase": magnitude_increase,
    "movement": movement,
    "random": random,
}
ELEMENTWISE: tuple[Score, ...] = (
    magnitude,
    small_final,
    large_init,
    small_init,
    large_final_same_sign,
    magnitude_increase,
    movement,
)
"""The criteria by which a weight's score depends on that weight alone, and on no random number.

They also take arrays of numpy, which are scored in several threads: torch would start threads of its own in each."""
WITHOUT_INITIAL: tuple[Score, ...] = (magnitude, small_final, random)
"""The criteria that do not read the initial weights."""


def score_named(score: str | Score) -> Score:
    """Return the score function with a name; a function is returned unchanged.

    Raises:
        PruningError: there is no such score.
    """
    if callable(score):
        return score
    if not isinstance(score, str):
        raise PruningError(
            f"score = {score!r}: a score is a function that takes a Candidate, or the name of one: {', '.join(SCORES)}."
        )
    if score not in SCORES:
        raise PruningError(f"unknown score {score!r}{suggestion(score, SCORES)} Scores: {', '.join(SCORES)}.")
    return SCORES[score]


def name_of(score: str | Score) -> str:
    """Return the name of a score function, with its module unless it is one of this file."""
    function = score_named(score)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return name if function in SCORES.values() else f"{function.__module__}.{name}"


def scale_bias_scores(weights: Tensor, weight_mask: Tensor, biases: Tensor, bias_mask: Tensor) -> Tensor:
    """Scale the scores of a layer's biases so that their mean magnitude equals that of the layer's weights.

    Biases start at zero and stay small, so without scaling they would be pruned first. With it, a bias is kept if it
    is large among biases, as a weight is kept if it is large among weights; the order among weights does not change.
    Means are over unpruned entries. If all biases are zero, each gets the mean score of the weights.

    Args:
        weights: scores of the layer's weights.
        weight_mask: their mask, boolean, of the same shape.
        biases: scores of the layer's biases.
        bias_mask: their mask, boolean, of the same shape.

    Examples:
        >>> yes = torch.ones(2, dtype=torch.bool)
        >>> scale_bias_scores(torch.tensor([1.0, 3.0]), yes, torch.tensor([0.1, 0.3]), yes)
        tensor([1., 3.])
        >>> scale_bias_scores(torch.tensor([1.0, 3.0]), yes, torch.zeros(2), yes)
        tensor([2., 2.])
    """
    if not bool(weight_mask.any()) or not bool(bias_mask.any()):
        return biases
    weight_mean, bias_mean = float(weights[weight_mask].abs().mean()), float(biases[bias_mask].abs().mean())
    return biases * (weight_mean / bias_mean) if bias_mean else torch.full_like(biases, weight_mean)
