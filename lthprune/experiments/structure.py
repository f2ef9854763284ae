"""The structure of a run's networks: the states of one trial's neurons and parameters, level by level."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

from lthprune.analysis import (
    BiasStatistics,
    ComatoseBiases,
    Coverage,
    Lifetimes,
    NetworkStates,
    NeuronState,
    Splitting,
    TicketStates,
    ZombieLives,
    bias_statistics,
    comatose_biases,
    count_active,
    find_splitting,
    neuron_lifetimes,
    neuron_states,
    parameter_lifetimes,
    states_of_ticket,
    with_sources,
    zombie_lives,
)
from lthprune.data import Task
from lthprune.pruning import State
from lthprune.search import Failure, Ticket, source_level


@dataclass(frozen=True, eq=False)
class LevelSplitting:
    """How far a trial's network has split into its tasks at one level, and how accurate it is on each.

    Attributes:
        left: the number of remaining prunable weights.
        active: how many of these are on a path from an input to an output.
        splitting: the splitting of the network.
        test_acc: each task's test accuracy at the early-stopping step, in [0, 1], by the task's name.
    """

    left: int
    active: int
    splitting: Splitting
    test_acc: dict[str, float]


@dataclass(frozen=True, eq=False)
class Structure:
    """The states of one trial's neurons and parameters over the levels of a run.

    Attributes:
        run: the run's name.
        trial: the trial's number.
        functional: whether the states are functional; otherwise they are structural.
        levels: the states at each level.
        network: both states of every neuron at the last of these levels, inputs included.
        trained: the trained weights at the last of these levels, by plain name.
        splittings: how far the network has split at each level; empty for data of a single task.
        failures: the levels at which the trial's training diverged, or its network collapsed or is dead.
    """

    run: str
    trial: int
    functional: bool
    levels: tuple[TicketStates, ...]
    network: NetworkStates
    trained: State
    splittings: tuple[LevelSplitting, ...] = ()
    failures: tuple[Failure, ...] = ()

    def __repr__(self) -> str:
        states = "functional" if self.functional else "structural"
        levels = ", ".join(str(level.level) for level in self.levels)
        return f"<Structure of {self.run}, trial {self.trial}: {states} states at the levels {levels}>"

    @cached_property
    def neurons(self) -> Lifetimes:
        """The lifetimes of the neurons."""
        return neuron_lifetimes(self.levels)

    @cached_property
    def parameters(self) -> Lifetimes:
        """The lifetimes of the parameters."""
        return parameter_lifetimes(self.levels)

    @cached_property
    def biases(self) -> BiasStatistics:
        """The biases at each level, by the states of their neurons."""
        return bias_statistics(self.levels)

    @cached_property
    def zombies(self) -> ZombieLives:
        """The neurons that were zombies at some level."""
        return zombie_lives(self.levels)

    @cached_property
    def comatose_biases(self) -> ComatoseBiases | None:
        """When comatose neurons lost their biases; None if no bias is pruned."""
        return comatose_biases(self.levels)

    def describe(self) -> dict[str, Any]:
        """Return all numbers as nested plain values, ready for JSON; None stands for unknown ones."""
        words = "functional" if self.functional else "structural"
        described: dict[str, Any] = _plain(
            {
                "run": self.run,
                "trial": self.trial,
                "states": words,
                "levels": [self._describe_level(place) for place in range(len(self.levels))],
                "failures": [failure.model_dump(exclude_none=True) for failure in self.failures],
                "splittings": [_describe_splitting(each) for each in self.splittings],
                "flows": {"neurons": _flows(self.neurons), "parameters": _flows(self.parameters)},
                "zombies": vars(self.zombies) | {"correlation": self.zombies.correlation},
                "comatose_biases": self.comatose_biases and self.comatose_biases._asdict(),
            }
        )
        return described

    def _describe_level(self, place: int) -> dict[str, Any]:
        level = self.levels[place]
        biases = {name: _by_state(tuple(NeuronState), values[place]) for name, values in vars(self.biases).items()}
        return {
            "level": level.level,
            "density": level.density,
            "left": level.left,
            "active": level.active,
            "neurons": _by_state(self.neurons.states, self.neurons.counts[place]),
            "parameters": _by_state(self.parameters.states, self.parameters.counts[place]),
            "pruning_horizon": level.smallest_kept,
            "pruning_horizons": level.horizon,
            "biases": biases | {"fraction_negative": self.biases.fraction_negative[place]},
        }


@dataclass(frozen=True, eq=False)
class LevelStructure:
    """The states of one trial's neurons and parameters at one level of a run.

    Attributes:
        structure: the structure of this level alone.
    """

    structure: Structure

    @property
    def network(self) -> NetworkStates:
        """Both states of every neuron, by layer, inputs included."""
        return self.structure.network

    def describe(self) -> dict[str, Any]:
        """Return all numbers and every neuron's state as nested plain values, ready for JSON; None for unknown ones."""
        described = self.structure.describe()
        (level,) = described["levels"]
        head = {name: described[name] for name in ("run", "trial", "states", "failures", "splittings")}
        return {**head, **level, "network": json.loads(self.network.to_json())}


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial of a run, as its analysis needs it.

    Attributes:
        run: the run's name.
        number: the trial's.
        method: ``"imp"`` or ``"osp"``.
        read: reads the trial's ticket of a level.
        model: a network that the tickets fit; the analysis applies them to it.
        example: an input (1, ...) of the data's shape.
        tasks: the tasks of the data.
        coverage: what a task must keep, as of ``find_splitting``.
        failures: of the trial, at all levels.
    """

    run: str
    number: int
    method: str
    read: Callable[[int], Ticket]
    model: nn.Module
    example: Tensor
    tasks: Sequence[Task]
    coverage: Coverage
    failures: tuple[Failure, ...] = ()


def analyse(trial: Trial, levels: Iterable[int], *, functional: bool = False) -> Structure:
    """Analyse one trial's networks at some levels of a run, in ascending order. Each ticket is read and traced once."""
    tickets = (trial.read(level) for level in levels)
    return _analysed(trial, with_sources(tickets), functional)


def analyse_level(trial: Trial, level: int, *, functional: bool = False) -> LevelStructure:
    """Analyse one trial's network at one level. Reads two tickets: the level's, and the one that it was pruned from."""
    needed = sorted({source_level(trial.method, level), level})
    (*_, own) = with_sources(trial.read(each) for each in needed)
    return LevelStructure(_analysed(trial, [own], functional))


def _analysed(trial: Trial, tickets: Iterable[tuple[Ticket, Ticket | None]], functional: bool) -> Structure:
    """Analyse the networks of tickets, each given with the ticket that it was pruned from."""
    levels, splittings = [], []
    for ticket, source in tickets:
        network = _network(trial, ticket)
        levels.append(states_of_ticket(ticket, network, source, functional=functional))
        if len(trial.tasks) > 1:
            splittings.append(_split(trial, ticket, network))
    return Structure(
        trial.run,
        trial.number,
        functional,
        tuple(levels),
        network,
        ticket.trained,
        splittings=tuple(splittings),
        failures=trial.failures,
    )


def split_levels(trial: Trial, levels: Iterable[int]) -> tuple[LevelSplitting, ...]:
    """Return how far one trial's network has split at some levels; empty, with no ticket read, for a single task."""
    if len(trial.tasks) < 2:
        return ()
    tickets = (trial.read(level) for level in levels)
    return tuple(_split(trial, ticket, _network(trial, ticket)) for ticket in tickets)


def _network(trial: Trial, ticket: Ticket) -> NetworkStates:
    return neuron_states(ticket.apply(trial.model, "trained"), trial.example)


def _split(trial: Trial, ticket: Ticket, network: NetworkStates) -> LevelSplitting:
    accuracies = {name: measured["test_acc"] for name, measured in ticket.metrics["tasks"].items()}
    split = find_splitting(network, trial.tasks, coverage=trial.coverage)
    return LevelSplitting(ticket.left, count_active(network.parameters(), ticket), split, accuracies)


def _describe_splitting(level: LevelSplitting) -> dict[str, Any]:
    """Return a level's splitting without the component of every neuron."""
    split = {name: value for name, value in vars(level.splitting).items() if name != "components"}
    decidedness = [vars(layer) for layer in level.splitting.decidedness]
    own = {"left": level.left, "active": level.active, "test_acc": level.test_acc}
    return split | {"task_distances": level.splitting.task_distances, "decidedness": decidedness} | own


def _by_state(states: Sequence[NeuronState], values: Iterable[Any]) -> dict[str, Any]:
    return {state.name.lower(): value for state, value in zip(states, values, strict=True)}


def _flows(lifetimes: Lifetimes) -> list[dict[str, Any]]:
    """Return the flows from each level to the next, as numbers by the state before and the state after."""
    return [_by_state(lifetimes.states, [_by_state(lifetimes.states, row) for row in flow]) for flow in lifetimes.flows]


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it: arrays as lists, None in place of infinite numbers and NaN."""
    if isinstance(value, Mapping):
        return {name: _plain(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value
