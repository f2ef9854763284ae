"""Lifetimes: how long neurons and parameters were in each state, and how they moved from one to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lthprune.analysis.levels import TicketStates
from lthprune.analysis.neurons import NeuronState
from lthprune.errors import PruningError

PARAMETER_STATES = tuple(state for state in NeuronState if state is not NeuronState.COMATOSE)


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """How long each neuron or each parameter of a network was in which state.

    Attributes:
        states: what the axes below stand for: all six states for neurons; for parameters five, of which none is
            comatose.
        spent: by name, (states, *shape): in how many levels each neuron of a layer, or each element of a parameter,
            was in which state. Along the first axis they sum up to the number of levels.
        counts: (levels, states), how many were in which state.
        flows: (levels - 1, states, states), how many went from which state (first) to which (second) between a level
            and the next; on the diagonal are those that stayed.
    """

    states: tuple[NeuronState, ...]
    spent: dict[str, np.ndarray]
    counts: np.ndarray
    flows: np.ndarray


def parameter_lifetimes(levels: Sequence[TicketStates]) -> Lifetimes:
    """Follow every parameter of a network over the levels.

    A parameter's lifetime is the number of levels that it spent as alive, audience, zombie, unproductive and pruned.

    Raises:
        PruningError: there are no levels, or they are not those of one network.

    Examples:
        >>> from torch import nn
        >>> from lthprune import imp
        >>> from lthprune.analysis import ticket_states
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> tickets = imp(model, lambda model: None, levels=3, rate=0.2)
        >>> lifetimes = parameter_lifetimes(list(ticket_states(model, tickets)))
        >>> [state.name.lower() for state in lifetimes.states]
        ['alive', 'audience', 'zombie', 'unproductive', 'pruned']
        >>> lifetimes.spent["0.weight"].shape, lifetimes.flows.shape
        ((5, 8, 4), (3, 5, 5))
        >>> set(lifetimes.spent["0.weight"].sum(axis=0).flat) == {4}
        True
    """
    return _follow([level.parameters for level in levels], PARAMETER_STATES)


def neuron_lifetimes(levels: Sequence[TicketStates]) -> Lifetimes:
    """Follow every neuron of a network over the levels; inputs are not among them.

    Raises:
        PruningError: there are no levels, or they are not those of one network.
    """
    return _follow([level.neurons for level in levels], tuple(NeuronState))


def _follow(levels: Sequence[Mapping[str, np.ndarray]], states: tuple[NeuronState, ...]) -> Lifetimes:
    shapes = [{name: own.shape for name, own in level.items()} for level in levels]
    if not levels or any(each != shapes[0] for each in shapes):
        raise PruningError(
            "lifetimes are those of one network over at least one level; "
            + ("these are the states of several." if levels else "no level is given.")
        )
    spent = {
        name: np.stack([sum((level[name] == state).astype(np.int32) for level in levels) for state in states])
        for name in shapes[0]
    }
    flat = [np.concatenate([own.ravel() for own in level.values()]) for level in levels]
    size = len(NeuronState)
    pairs = [np.bincount(before * np.int8(size) + after, minlength=size**2) for before, after in pairwise(flat)]
    flows = np.array(pairs, dtype=np.int64).reshape(-1, size, size)
    counts = np.stack([np.bincount(level, minlength=size) for level in flat])
    return Lifetimes(states, spent, counts[:, states], flows[:, states][:, :, states])
