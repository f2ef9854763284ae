"""Biases by the state of their neurons: their distribution, the lifetime of zombies, and comatose neurons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lthprune.analysis.level_states import BiasStates, TicketStates
from lthprune.analysis.neurons import NeuronState

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, eq=False)
class BiasStatistics:
    """The distribution of the biases, by level and by the state of their neurons.

    Attributes:
        count: (levels, 6), the number of biases, pruned ones included.
        left: (levels, 6), the number of unpruned biases.
        negative: (levels, 6), the number of negative ones among the unpruned.
        mean: (levels, 6), the mean of the unpruned ones; NaN if there are none.
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
        """(levels,), the fraction of all unpruned biases that are negative; NaN if there are none."""
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
            chosen = [(each.neurons == state, each) for each in level.biases.values()]
            values = np.concatenate([np.empty(0), *(each.values[own & each.unpruned] for own, each in chosen)])
            count[place, state] = sum(int(own.sum()) for own, _ in chosen)
            left[place, state], negative[place, state] = len(values), (values < 0).sum()
            if len(values):
                mean[place, state], deviation[place, state] = values.mean(), values.std()
                quantiles[place, state] = np.quantile(values, QUANTILES)
    return BiasStatistics(count, left, negative, mean, deviation, quantiles)


@dataclass(frozen=True, eq=False)
class ZombieLives:
    """How many levels zombies lived, and the biases that they began with.

    Attributes:
        bias: (zombies,), the trained bias at the neuron's first level as a zombie.
        levels: (zombies,), the number of levels at which the neuron was a zombie.
        ended: (zombies,), whether the neuron was no longer a zombie at the last level.
    """

    bias: np.ndarray
    levels: np.ndarray
    ended: np.ndarray

    @property
    def correlation(self) -> float:
        """The rank correlation of bias and lifetime, in [-1, 1]; NaN if no two zombies can be compared.

        It is the fraction of pairs in which the zombie with the larger bias lived longer, minus the fraction in which
        it lived shorter. Pairs with equal biases are left out, and pairs whose order is unknown: a neuron that is
        still a zombie at the last level lives at least as long as observed. (Harrell's concordance C, Harrell et al.
        1982, as 2 C - 1.)
        """
        agreement = pairs = 0
        for bias, lived in zip(self.bias[self.ended], self.levels[self.ended], strict=True):
            longer = (self.levels > lived) | ((self.levels == lived) & ~self.ended)
            signs = np.sign(self.bias[longer] - bias)
            agreement, pairs = agreement + int(signs.sum()), pairs + int(np.count_nonzero(signs))
        return agreement / pairs if pairs else float("nan")


def zombie_lives(levels: Sequence[TicketStates]) -> ZombieLives:
    """Return the lifetimes of all neurons that were zombies at some level."""
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
    """The number of comatose neurons by what was pruned first, their bias or their last weight.

    Attributes:
        early: the bias, not later than the neuron became comatose.
        before: the bias, after the neuron became comatose and before its last weight.
        together: both at the same level.
        after: the last weight; the bias later or not at all.
        neither: both remain at the last level.
    """

    early: int
    before: int
    together: int
    after: int
    neither: int


def comatose_biases(levels: Sequence[TicketStates]) -> ComatoseBiases | None:
    """Count comatose neurons by what was pruned first, bias or last weight; return None if no bias is pruned."""
    counts = np.zeros(5, dtype=np.int64)
    pruned = False
    for own in _over_levels(levels):
        never = len(levels)
        comatose = own.neurons == NeuronState.COMATOSE
        ever = comatose.any(axis=0)
        became, bias, weight = (_first(each)[ever] for each in (comatose, ~own.unpruned, ~own.attached))
        early = bias <= became
        counts += [
            early.sum(),
            (~early & (bias < weight)).sum(),
            (~early & (bias == weight) & (bias < never)).sum(),
            (~early & (bias > weight)).sum(),
            (~early & (bias == weight) & (bias == never)).sum(),
        ]
        pruned |= bool((~own.unpruned).any())
    return ComatoseBiases(*counts.tolist()) if pruned else None


def _over_levels(levels: Sequence[TicketStates]) -> Iterator[BiasStates]:
    """Yield the biases of each layer, with the levels as the first axis of all arrays."""
    for name in levels[0].biases if levels else ():
        own = [level.biases[name] for level in levels]
        yield BiasStates(*(np.stack([getattr(each, field) for each in own]) for field in BiasStates.__annotations__))


def _first(marked: np.ndarray) -> np.ndarray:
    """Return the first level at which each column is marked (levels, n); the number of levels if it never is."""
    return np.where(marked.any(axis=0), marked.argmax(axis=0), len(marked))
