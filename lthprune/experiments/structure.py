"""The structure of a run's networks: what became of one trial's neurons and parameters, level by level."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from lthprune.analysis import (
    BiasStatistics,
    ComatoseBiases,
    Lifetimes,
    NetworkStates,
    NeuronState,
    Splitting,
    TicketStates,
    ZombieLives,
    bias_statistics,
    comatose_biases,
    find_splitting,
    neuron_lifetimes,
    neuron_states,
    parameter_lifetimes,
    ticket_states,
    zombie_lives,
)
from lthprune.data import shape_of_data, tasks_of
from lthprune.errors import StorageError
from lthprune.experiments.run import Run


@dataclass(frozen=True, eq=False)
class LevelSplitting:
    """How far a trial's network has split into its tasks at a level, and what it is worth to each.

    Attributes:
        left: how many prunable weights there are.
        splitting: of the network's structure.
        test_acc: the tasks' accuracies on test data, in [0, 1], at the early-stopping step, by name.
    """

    left: int
    splitting: Splitting
    test_acc: dict[str, float]


@dataclass(frozen=True, eq=False)
class Structure:
    """What became of one trial's neurons and parameters over the levels of a run.

    Attributes:
        run: the run's name.
        trial: which of its trials.
        functional: whether states are the functional ones, or else the structural ones.
        levels: the states at every level.
        splittings: how far the network has split at every level; none where there is one task alone.
    """

    run: str
    trial: int
    functional: bool
    levels: tuple[TicketStates, ...]
    splittings: tuple[LevelSplitting, ...] = ()

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
        """The biases of every level."""
        return bias_statistics(self.levels)

    @cached_property
    def zombies(self) -> ZombieLives:
        """The neurons that were zombies at some level."""
        return zombie_lives(self.levels)

    @cached_property
    def comatose_biases(self) -> ComatoseBiases | None:
        """What comatose neurons lost first; None where no bias is pruned."""
        return comatose_biases(self.levels)

    def describe(self) -> dict[str, Any]:
        """Return all that was counted, as nested plain values; what is not known is None."""
        words = "functional" if self.functional else "structural"
        described: dict[str, Any] = _plain(
            {
                "run": self.run,
                "trial": self.trial,
                "states": words,
                "levels": [self._describe_level(place) for place in range(len(self.levels))],
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
            "neurons": _by_state(self.neurons.states, self.neurons.counts[place]),
            "parameters": _by_state(self.parameters.states, self.parameters.counts[place]),
            "pruning_horizon": level.smallest_kept,
            "pruning_horizons": level.horizon,
            "biases": biases | {"fraction_negative": self.biases.fraction_negative[place]},
        }


@dataclass(frozen=True, eq=False)
class LevelStructure:
    """What became of one trial's neurons and parameters at one level of a run.

    Attributes:
        structure: that of this level alone.
        network: both states of every neuron, by layer, inputs included.
    """

    structure: Structure
    network: NetworkStates

    def describe(self) -> dict[str, Any]:
        """Return all that was counted and every neuron's state, as nested plain values; what is not known is None."""
        described = self.structure.describe()
        (level,) = described["levels"]
        whose = {name: described[name] for name in ("run", "trial", "states", "splittings")}
        return {**whose, **level, "network": json.loads(self.network.to_json())}


def analyse(run: Run, trial: int = 0, *, functional: bool = False) -> Structure:
    """Find out what became of one trial's neurons and parameters over the finished levels of a run.

    Raises:
        StorageError: the folder is no run, no level is finished, or there is no such trial.
    """
    finished = len(run.tickets.manifest()["finished"])
    if not finished:
        raise StorageError(f"no level of {run.folder} is finished yet; go on with: lthprune resume {run.folder}")
    states = _states(run, range(finished), trial, functional)
    return Structure(run.name, trial, functional, states, split_levels(run, range(finished), trial))


def analyse_level(run: Run, level: int, trial: int = 0, *, functional: bool = False) -> LevelStructure:
    """Find out what became of one trial's neurons and parameters at one level of a run.

    Raises:
        StorageError: the folder is no run, the level is not finished, or there is no such trial.
    """
    network = network_at(run, level, trial)
    source = 0 if run.recipe().prune.method == "osp" else max(0, level - 1)  # of which the level was pruned
    (*_, own) = _states(run, sorted({source, level}), trial, functional)
    return LevelStructure(Structure(run.name, trial, functional, (own,), split_levels(run, [level], trial)), network)


def network_at(run: Run, level: int, trial: int = 0) -> NetworkStates:
    """Return the states of one trial's trained network at one level of a run, and who hears whom in it.

    Raises:
        StorageError: the folder is no run, the level is not finished, or there is no such trial.
    """
    ticket = run.tickets.ticket(level, trial)
    return neuron_states(ticket.apply(run.model(trial), "trained"), _example_of(run))


def split_levels(run: Run, levels: Iterable[int], trial: int = 0) -> tuple[LevelSplitting, ...]:
    """Return how far one trial's network has split at some levels of a run; nothing where there is one task alone.

    Raises:
        StorageError: the folder is no run, a level is not finished, or there is no such trial.
    """
    recipe = run.recipe()
    if len(recipe.data.parts) < 2:
        return ()
    tasks = tasks_of(recipe.data, trust_code=run.trust_code)
    model, example = run.model(trial), _example_of(run)
    found = []
    for level in levels:
        ticket = run.tickets.ticket(level, trial)
        states = neuron_states(model, example, masks=ticket.masks)
        accuracies = {name: each["test_acc"] for name, each in ticket.metrics["tasks"].items()}
        splitting = find_splitting(states, tasks, coverage=recipe.run.coverage)
        found.append(LevelSplitting(ticket.left, splitting, accuracies))
    return tuple(found)


def _example_of(run: Run) -> torch.Tensor:
    """Return an input (1, ...) of zeros of the shape that a run's data have."""
    return torch.zeros(1, *shape_of_data(run.recipe().data, trust_code=run.trust_code)[0])


def _states(run: Run, levels: Sequence[int], trial: int, functional: bool) -> tuple[TicketStates, ...]:
    tickets = (run.tickets.ticket(level, trial) for level in levels)
    return tuple(ticket_states(run.model(trial), tickets, _example_of(run), functional=functional))


def _describe_splitting(level: LevelSplitting) -> dict[str, Any]:
    """Return a level's splitting but for the component of every neuron."""
    split = {name: value for name, value in vars(level.splitting).items() if name != "components"}
    decidedness = [vars(layer) for layer in level.splitting.decidedness]
    return split | {"decidedness": decidedness, "left": level.left, "test_acc": level.test_acc}


def _by_state(states: Sequence[NeuronState], values: Iterable[Any]) -> dict[str, Any]:
    return {state.name.lower(): value for state, value in zip(states, values, strict=True)}


def _flows(lifetimes: Lifetimes) -> list[dict[str, Any]]:
    """Return the flows from each level to the next, as numbers by the state before and the state after."""
    return [_by_state(lifetimes.states, [_by_state(lifetimes.states, row) for row in flow]) for flow in lifetimes.flows]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: arrays as lists, and None for what is no finite number."""
    if isinstance(value, Mapping):
        return {name: _plain(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value
