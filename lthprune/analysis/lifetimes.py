"""Lifetimes: how many levels neurons and parameters spend in each state, and how they change states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lthprune.analysis.level_states import TicketStates
from lthprune.analysis.neurons import NeuronState
from lthprune.errors import PruningError

PARAMETER_STATES = tuple(state for state in NeuronState if state is not NeuronState.COMATOSE)


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """How many levels each neuron or each parameter of a network spends in each state.

    Attributes:
        states: the states along the axes below: all six for neurons; for parameters five, without comatose.
        spent: by name, (states, *shape): the number of levels that each neuron of a layer, or each element of a
            parameter, spends in each state. The sum along the first axis is the number of levels.
        counts: (levels, states), the number of neurons or parameters in each state.
        flows: (levels - 1, states, states), how many change from one state (first axis) to another (second) between a
            level and the next; the diagonal counts those that do not change.
    """

    states: tuple[NeuronState, ...]
    spent: dict[str, np.ndarray]
    counts: np.ndarray
    flows: np.ndarray


def parameter_lifetimes(levels: Sequence[TicketStates]) -> Lifetimes:
    """Count the levels that every parameter of a network spends in each state.

    A parameter's lifetime is the number of levels that it spends as alive, audience, zombie, unproductive and pruned.

    Raises:
        PruningError: there are no levels, or they belong to several networks.

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
    """Count the levels that every neuron of a network spends in each state; inputs are left out.

    Raises:
        PruningError: there are no levels, or they belong to several networks.
    """
    return _follow([level.neurons for level in levels], tuple(NeuronState))


def _follow(levels: Sequence[Mapping[str, np.ndarray]], states: tuple[NeuronState, ...]) -> Lifetimes:
    shapes = [{name: own.shape for name, own in level.items()} for level in levels]
    if not levels or any(each != shapes[0] for each in shapes):
        raise PruningError(
            "lifetimes need at least one level, and all levels of one network; "
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
