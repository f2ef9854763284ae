"""Biases: what they are like for neurons of every state, and what they do to the lives of zombies and comatose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lthprune.analysis.levels import BiasStates, TicketStates
from lthprune.analysis.neurons import NeuronState

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, eq=False)
class BiasStatistics:
    """What the biases are like, by level and by the state of the neurons that they belong to.

    Attributes:
        count: (levels, 6), how many biases there are, pruned ones included.
        left: (levels, 6), how many of them are unpruned.
        negative: (levels, 6), how many of the unpruned ones are negative.
        mean: (levels, 6), of the unpruned ones; NaN where there are none.
        deviation: (levels, 6), their standard deviation.
        quantiles: (levels, 6, 5), their quantiles at 5, 25, 50, 75 and 95 %.
    """

    count: np.ndarray
    left: np.ndarray
    negative: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    quantiles: np.ndarray

    @property
    def fraction_negative(self) -> np.ndarray:
        """(levels,), the fraction of all unpruned biases that are negative; NaN where there are none."""
        left = self.left.sum(axis=1)
        fraction = np.full(len(left), np.nan)
        np.divide(self.negative.sum(axis=1), left, where=left > 0, out=fraction)
        return fraction


def bias_statistics(levels: Sequence[TicketStates]) -> BiasStatistics:
    """Describe the trained biases of every level by the state of their neurons."""
    shape = (len(levels), len(NeuronState))
    count, left, negative = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    mean, deviation = (np.full(shape, np.nan) for _ in range(2))
    quantiles = np.full((*shape, len(QUANTILES)), np.nan)
    for place, level in enumerate(levels):
        for state in NeuronState:
            own = [(each.neurons == state, each) for each in level.biases.values()]
            values = np.concatenate([np.empty(0), *(each.values[chosen & each.left] for chosen, each in own)])
            count[place, state] = sum(int(chosen.sum()) for chosen, _ in own)
            left[place, state], negative[place, state] = len(values), (values < 0).sum()
            if len(values):
                mean[place, state], deviation[place, state] = values.mean(), values.std()
                quantiles[place, state] = np.quantile(values, QUANTILES)
    return BiasStatistics(count, left, negative, mean, deviation, quantiles)


@dataclass(frozen=True, eq=False)
class ZombieLives:
    """How long zombies lived, and the biases that they began with.

    Attributes:
        bias: (zombies,), the trained bias at the first level as a zombie.
        levels: (zombies,), in how many levels the neuron was a zombie.
        ended: (zombies,), which were no longer one at the last level.
    """

    bias: np.ndarray
    levels: np.ndarray
    ended: np.ndarray

    @property
    def correlation(self) -> float:
        """The rank correlation of bias and life, in [-1, 1]; NaN where no two zombies can be compared.

        It is the fraction of pairs in which the larger bias lived longer, less the fraction in which it lived
        shorter. A pair counts where the biases differ and it is known who lived longer: zombies that are still there
        at the last level lived at least as long as they were seen. (Harrell's concordance C, Harrell et al. 1982, as
        2 C - 1.)
        """
        agreement = pairs = 0
        for bias, lived in zip(self.bias[self.ended], self.levels[self.ended], strict=True):
            longer = (self.levels > lived) | ((self.levels == lived) & ~self.ended)
            signs = np.sign(self.bias[longer] - bias)
            agreement, pairs = agreement + int(signs.sum()), pairs + int(np.count_nonzero(signs))
        return agreement / pairs if pairs else float("nan")


def zombie_lives(levels: Sequence[TicketStates]) -> ZombieLives:
    """Follow the neurons that were zombies at some level, from the first of these levels on."""
    bias, lived, ended = [np.empty(0)], [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=bool)]
    for own in _over_levels(levels):
        zombies = own.neurons == NeuronState.ZOMBIE
        ever = zombies.any(axis=0)
        first = zombies.argmax(axis=0)
        bias.append(own.values[first, np.arange(len(first))][ever])
        lived.append(zombies.sum(axis=0)[ever])
        ended.append(~zombies[-1, ever])
    return ZombieLives(np.concatenate(bias), np.concatenate(lived), np.concatenate(ended))


class ComatoseBiases(NamedTuple):
    """What comatose neurons lost first, their bias or their last weight: how many neurons in each case.

    The bias was pruned ``early``, no later than when the neuron became comatose; or ``before`` its last weight;
    or ``together`` with it, at the same level; or ``after`` it, or not yet; or both were still there at the last
    level: ``neither``.
    """

    early: int
    before: int
    together: int
    after: int
    neither: int


def comatose_biases(levels: Sequence[TicketStates]) -> ComatoseBiases | None:
    """Count what comatose neurons lost first, their bias or their last weight; None where no bias is pruned."""
    counts = np.zeros(5, dtype=np.int64)
    pruned = False
    for own in _over_levels(levels):
        never = len(levels)
        comatose = own.neurons == NeuronState.COMATOSE
        ever = comatose.any(axis=0)
        asleep, bias, weight = (_first(each)[ever] for each in (comatose, ~own.left, ~own.attached))
        early = bias <= asleep
        counts += [
            early.sum(),
            (~early & (bias < weight)).sum(),
            (~early & (bias == weight) & (bias < never)).sum(),
            (~early & (bias > weight)).sum(),
            (~early & (bias == weight) & (bias == never)).sum(),
        ]
        pruned |= bool((~own.left).any())
    return ComatoseBiases(*counts.tolist()) if pruned else None


def _over_levels(levels: Sequence[TicketStates]) -> Iterator[BiasStates]:
    """Yield the biases of every layer with an axis for the levels before their own."""
    for name in levels[0].biases if levels else ():
        own = [level.biases[name] for level in levels]
        yield BiasStates(*(np.stack([getattr(each, field) for each in own]) for field in BiasStates.__annotations__))


def _first(marked: np.ndarray) -> np.ndarray:
    """Return the first level at which each is marked (levels, n); the number of levels where it is at none."""
    return np.where(marked.any(axis=0), marked.argmax(axis=0), len(marked))
