"""Scores: how much each weight deserves to stay. The lowest are pruned.

A score function takes a ``Candidate`` and returns a tensor of the same shape; any such function is a
pruning criterion. Criteria after Zhou et al. (2019), *Deconstructing Lottery Tickets*, section 3.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lthprune.errors import PruningError, suggestion


@dataclass(frozen=True)
class Candidate:
    """A tensor up for pruning: its weights after training and at initialisation, and a generator for chance."""

    name: str
    final: Tensor
    initial: Tensor | None = None
    generator: torch.Generator | None = None

    def require_initial(self) -> Tensor:
        """Return the initial weights, or say who has them."""
        if self.initial is None or self.initial.shape != self.final.shape:
            found = "are not known here" if self.initial is None else f"have the shape {tuple(self.initial.shape)}"
            raise PruningError(
                f"this score compares the weights of {self.name!r} with their initial values, which {found}. "
                "imp() and osp() keep them; prune() takes them as initial=."
            )
        return self.initial


Score = Callable[[Candidate], Tensor]


def magnitude(candidate: Candidate) -> Tensor:
    """Score by ``|w_f|``: Frankle & Carbin's criterion, ``large_final`` in Zhou et al.

    Examples:
        >>> magnitude(Candidate("w", torch.tensor([-2.0, 1.0])))
        tensor([2., 1.])
    """
    return candidate.final.abs()


def magnitude_increase(candidate: Candidate) -> Tensor:
    """Score by ``|w_f| - |w_i|``: weights that grew stay.

    Examples:
        >>> magnitude_increase(Candidate("w", torch.tensor([-2.0, 1.0]), initial=torch.tensor([3.0, 0.5])))
        tensor([-1.0000,  0.5000])
    """
    return candidate.final.abs() - candidate.require_initial().abs()


def movement(candidate: Candidate) -> Tensor:
    """Score by ``|w_f - w_i|``: weights that moved stay (not Sanh et al.'s first-order movement pruning).

    Examples:
        >>> movement(Candidate("w", torch.tensor([-2.0, 1.0]), initial=torch.tensor([3.0, 0.5])))
        tensor([5.0000, 0.5000])
    """
    return (candidate.final - candidate.require_initial()).abs()


def random(candidate: Candidate) -> Tensor:
    """Score by chance: uniform in [0, 1), the control that any criterion has to beat.

    Examples:
        >>> random(Candidate("w", torch.zeros(2, 3))).shape
        torch.Size([2, 3])
    """
    shape = candidate.final.shape
    return torch.rand(shape, generator=candidate.generator).to(candidate.final.device)


SCORES: dict[str, Score] = {
    "magnitude": magnitude,
    "large_final": magnitude,
    "magnitude_increase": magnitude_increase,
    "movement": movement,
    "random": random,
}


def score_named(score: str | Score) -> Score:
    """Return the score function of that name; a function is returned as it is."""
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
    """Return a score function's name: short for those of this file, with its module for others."""
    function = score_named(score)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return name if function in SCORES.values() else f"{function.__module__}.{name}"


def one_footing(weights: Tensor, weight_mask: Tensor, biases: Tensor, bias_mask: Tensor) -> Tensor:
    """Scale the scores of a layer's bias so that their mean size is that of the layer's weights.

    Biases start at zero and stay small: ranked as they are, they would be the first to go. Scaled, a bias
    stays if it is large among biases as a weight stays if it is large among weights; the order among weights
    is untouched. Means are over what the masks still hold. Biases that are all zero count as average.

    Examples:
        >>> yes = torch.ones(2, dtype=torch.bool)
        >>> one_footing(torch.tensor([1.0, 3.0]), yes, torch.tensor([0.1, 0.3]), yes)
        tensor([1., 3.])
        >>> one_footing(torch.tensor([1.0, 3.0]), yes, torch.zeros(2), yes)
        tensor([2., 2.])
    """
    if not bool(weight_mask.any()) or not bool(bias_mask.any()):
        return biases
    weight_mean, bias_mean = float(weights[weight_mask].abs().mean()), float(biases[bias_mask].abs().mean())
    return biases * (weight_mean / bias_mean) if bias_mean else torch.full_like(biases, weight_mean)
