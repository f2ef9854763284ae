"""What became of a ticket's network: small enough to be kept for every level."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
import torch
from torch import Tensor, nn

from lthprune.analysis.graph import Graph
from lthprune.analysis.neurons import NetworkStates, neuron_states
from lthprune.errors import PruningError
from lthprune.pruning import State, without_pruning
from lthprune.search import Ticket, source_level


@dataclass(frozen=True, eq=False)
class BiasStates:
    """The biases of a layer or of a batch norm, and the neurons that they belong to.

    Attributes:
        values: (neurons,), as trained; zero where pruned.
        left: (neurons,), which are unpruned.
        neurons: (neurons,), int8 values of ``NeuronState``: those of the neurons, whether the bias is pruned or not.
        attached: (neurons,), to which neurons or from which any unpruned weight leads.
    """

    values: np.ndarray
    left: np.ndarray
    neurons: np.ndarray
    attached: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class TicketStates:
    """The states of a ticket's trained network; see ``ticket_states``.

    Attributes:
        level: the pruning round; 0 is the dense network.
        density: fraction of prunable weights left, in [0, 1].
        neurons: for every dense and convolutional layer (neurons,), int8 values of ``NeuronState``. Inputs are not
            among them.
        parameters: for every parameter int8 values of ``NeuronState``, of its shape, by plain name.
        biases: by the plain names of biases.
        fan_out: for every input (features,), how many unpruned weights leave each of its features.
        horizon: for every prunable tensor the smallest magnitude that the pruning before this level kept; empty
            where the ticket that it was pruned from is not at hand, as at level 0. See ``pruning_horizon``.
    """

    level: int
    density: float
    neurons: dict[str, np.ndarray]
    parameters: dict[str, np.ndarray]
    biases: dict[str, BiasStates]
    fan_out: dict[str, np.ndarray]
    horizon: dict[str, float]

    def __repr__(self) -> str:
        return f"<TicketStates of level {self.level}: density {self.density:.2%}>"

    @property
    def smallest_kept(self) -> float:
        """The pruning horizon of the whole network: the smallest of its weights'; NaN where none is known.

        Biases are left out: where they are pruned, they compete by another measure than weights do.
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
    """Find out what became of the trained network of one ticket after another.

    Tickets are asked for one at a time, and no more than two of them are held.

    Args:
        model: of the kind that the tickets come from; it is not changed.
        tickets: of one search, by ascending level.
        inputs: an example for each input, as of ``neuron_states``.
        functional: read biases and activations as they were trained; otherwise states follow from the masks alone.
        layers: as of ``neuron_states``.

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
        raise PruningError("ticket_states takes the tickets of several levels; put a single one into a list.")
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
    return TicketStates(
        level=ticket.level,
        density=ticket.density,
        neurons={
            layer.name: layer.functional if functional else layer.structural
            for layer in network.layers
            if layer.kind != "input"
        },
        parameters=network.parameters(functional=functional),
        biases=_biases(network.graph, neurons, ticket.trained),
        fan_out=_fan_out(network),
        horizon=pruning_horizon(source, ticket) if source is not None else {},
    )


def pruning_horizon(before: Ticket, after: Ticket) -> dict[str, float]:
    """Return, for every prunable tensor, the smallest magnitude that a pruning kept; NaN where it kept nothing.

    It is read off the trained weights that were judged, those of ``before``, at the places that ``after`` still has.
    Among the weights of one level the smallest would say little: some weight is always near zero, until it is pruned.
    Where magnitude was the score, nothing above the horizon was pruned but what shares its scope with larger weights.

    Args:
        before: the ticket that was pruned: of IMP the level before, of OSP the dense one.
        after: the ticket that came of it.
    """
    return {
        name: float(before.trained[name][mask].abs().min()) if mask.any() else float("nan")
        for name, mask in after.masks.items()
    }


def _biases(graph: Graph, neurons: np.ndarray, trained: State) -> dict[str, BiasStates]:
    everyone = torch.ones(graph.size, 1, dtype=torch.bool)
    attached = (graph.next(everyone) | graph.previous(everyone))[:, 0]
    biases: dict[str, BiasStates] = {}
    for place in graph.places:
        if place.of is None and place.name.rpartition(".")[2] == "bias" and place.name not in biases:
            values = trained[place.name].double().numpy()
            biases[place.name] = BiasStates(
                values, place.mask.numpy(), neurons[place.to.numpy()], attached[place.to].numpy()
            )
    return biases


def _fan_out(network: NetworkStates) -> dict[str, np.ndarray]:
    leaving = torch.zeros(network.graph.size, dtype=torch.long)
    for layer in network.graph.layers:
        if layer.edges is not None:
            leaving.index_add_(0, layer.heard, layer.edges.sum(dim=0))
    return {layer.name: leaving[layer.own].numpy() for layer in network.graph.layers if layer.kind == "input"}
