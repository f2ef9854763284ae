"""The states of one ticket's network, small enough to keep for every level."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
import torch
from torch import Tensor, nn

from lthprune.analysis.graph import Graph
from lthprune.analysis.neurons import NetworkStates, NeuronState, neuron_states
from lthprune.errors import PruningError
from lthprune.pruning import State, without_pruning
from lthprune.search import Ticket, source_level


@dataclass(frozen=True, eq=False)
class BiasStates:
    """The biases of a layer or of a batch norm, and the states of their neurons.

    Attributes:
        values: (neurons,), the trained biases; zero where pruned.
        unpruned: (neurons,), which biases are unpruned.
        neurons: (neurons,), int8 values of ``NeuronState``, whether the neuron's bias is pruned or not.
        attached: (neurons,), neurons with at least one unpruned weight in or out.
    """

    values: np.ndarray
    unpruned: np.ndarray
    neurons: np.ndarray
    attached: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class TicketStates:
    """The states of a ticket's trained network; see ``ticket_states``.

    Attributes:
        level: the pruning round; 0 is the dense network.
        density: fraction of prunable weights left, in [0, 1].
        left: the number of prunable weights left.
        active: how many of these are alive; see ``count_active``.
        neurons: for each dense and convolutional layer (neurons,), int8 values of ``NeuronState``; inputs are left out.
        parameters: for each parameter int8 values of ``NeuronState``, of its shape, by plain name.
        biases: by the plain names of biases.
        fan_out: for each input (features,), the number of unpruned weights that read each feature.
        horizon: for each prunable tensor the smallest magnitude that the pruning before this level kept; empty if the
            ticket before that pruning was not given, as at level 0. See ``pruning_horizon``.
    """

    level: int
    density: float
    left: int
    active: int
    neurons: dict[str, np.ndarray]
    parameters: dict[str, np.ndarray]
    biases: dict[str, BiasStates]
    fan_out: dict[str, np.ndarray]
    horizon: dict[str, float]

    def __repr__(self) -> str:
        return f"<TicketStates of level {self.level}: density {self.density:.2%}>"

    @property
    def smallest_kept(self) -> float:
        """The pruning horizon of the whole network: the smallest one of its weights; NaN if none is known.

        Biases are left out: their magnitudes are not comparable with those of weights.
        """
        horizons = [own for name, own in self.horizon.items() if not name.endswith("bias")]
        return min((own for own in horizons if not isnan(own)), default=nan)


def ticket_states(
    model: nn.Module,
    tickets: Iterable[Ticket],
    inputs: Tensor | Sequence[Tensor] | None = None,
    *,
    functional: bool = False,
    layers: Sequence[str] | None = None,
) -> Iterator[TicketStates]:
    """Yield the states of the trained network of each ticket.

    Tickets are read one at a time, and at most two of them are held in memory.

    Args:
        model: of the architecture that the tickets come from; it is not changed.
        tickets: of one search, by ascending level.
        inputs: an example for each input, as in ``neuron_states``.
        functional: whether to read trained biases and activations; by default states follow from the masks alone.
        layers: as in ``neuron_states``.

    Raises:
        PruningError: the model cannot be traced; see ``neuron_states``.
        StorageError: a ticket does not fit the model.

    Examples:
        >>> from lthprune import imp
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> tickets = imp(model, lambda model: None, levels=3, rate=0.2)
        >>> levels = list(ticket_states(model, tickets))
        >>> [(level.level, level.neurons["0"].shape) for level in levels]
        [(0, (8,)), (1, (8,)), (2, (8,)), (3, (8,))]
    """
    if isinstance(tickets, Ticket):
        raise PruningError("ticket_states takes the tickets of several levels; pass a single one in a list.")
    fresh = without_pruning(model)
    for ticket, source in with_sources(tickets):
        network = neuron_states(ticket.apply(fresh, "trained"), inputs, layers=layers)
        yield states_of_ticket(ticket, network, source, functional=functional)


def with_sources(tickets: Iterable[Ticket]) -> Iterator[tuple[Ticket, Ticket | None]]:
    """Yield each ticket with the one that its masks were chosen from; None where that is not among those before it.

    Args:
        tickets: of one search, by ascending level. No more than three are held at a time.
    """
    held: dict[int, Ticket] = {}  # possible sources of the next level: the dense ticket and the last one
    for ticket in tickets:
        source = source_level(str(ticket.provenance.get("driver")), ticket.level)
        yield ticket, held.get(source) if ticket.level else None
        held = {level: own for level, own in held.items() if level == 0} | {ticket.level: ticket}


def states_of_ticket(
    ticket: Ticket, network: NetworkStates, source: Ticket | None = None, *, functional: bool = False
) -> TicketStates:
    """Return what is kept of a level from the states of its trained network.

    Args:
        ticket: the level's.
        network: the states of a model with the ticket's masks and trained weights.
        source: the ticket that its masks were chosen from, for the pruning horizon.
        functional: as of ``ticket_states``.
    """
    neurons = network.functional if functional else network.structural
    parameters = network.parameters(functional=functional)
    return TicketStates(
        level=ticket.level,
        density=ticket.density,
        left=ticket.left,
        active=count_active(parameters, ticket),
        neurons={
            layer.name: layer.functional if functional else layer.structural
            for layer in network.layers
            if layer.kind != "input"
        },
        parameters=parameters,
        biases=_biases(network.graph, neurons, ticket.trained),
        fan_out=_fan_out(network),
        horizon=pruning_horizon(source, ticket) if source is not None else {},
    )


def count_active(parameters: Mapping[str, np.ndarray], ticket: Ticket) -> int:
    """Return how many of a ticket's prunable weights are active: unpruned, on a path from an input to an output.

    Args:
        parameters: the state of every parameter of the ticket's network: ``NetworkStates.parameters``.
        ticket: which names the prunable tensors.
    """
    return sum(int((parameters[name] == NeuronState.ALIVE).sum()) for name in ticket.masks)


def pruning_horizon(before: Ticket, after: Ticket) -> dict[str, float]:
    """Return, for each prunable tensor, the smallest magnitude that a pruning kept; NaN if it kept nothing.

    It is the smallest trained weight of ``before`` among those that ``after`` keeps. The smallest trained weight of
    ``after`` itself would say little: some weights are always near zero until the next pruning. With magnitude as the
    score, every weight above the horizon was kept if all tensors compete in one scope.

    Args:
        before: the ticket that was pruned: with IMP of the level before, with OSP the dense one.
        after: the ticket that resulted.
    """
    return {
        name: float(before.trained[name][mask].abs().min()) if mask.any() else float("nan")
        for name, mask in after.masks.items()
    }


def _biases(graph: Graph, neurons: np.ndarray, trained: State) -> dict[str, BiasStates]:
    every = torch.ones(graph.size, 1, dtype=torch.bool)
    attached = (graph.successors(every) | graph.predecessors(every))[:, 0]
    biases: dict[str, BiasStates] = {}
    for place in graph.places:
        if place.sources is None and place.name.rpartition(".")[2] == "bias" and place.name not in biases:
            values = trained[place.name].double()[place.rows].numpy()
            biases[place.name] = BiasStates(
                values, place.mask.numpy(), neurons[place.neurons.numpy()], attached[place.neurons].numpy()
            )
    return biases


def _fan_out(network: NetworkStates) -> dict[str, np.ndarray]:
    counts = torch.zeros(network.graph.size, dtype=torch.long)
    for layer in network.graph.layers:
        if layer.edges is not None:
            counts.index_add_(0, layer.sources, layer.edges.sum(dim=0))
    return {layer.name: counts[layer.span].numpy() for layer in network.graph.layers if layer.kind == "input"}
