"""Neuron states: who is alive, who only seems to be, and which parameters still matter."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from lthprune.analysis.graph import WEIGHTED, Graph, LayerKind
from lthprune.analysis.tracing import trace_graph

_REPORTED: tuple[LayerKind, ...] = ("input", *WEIGHTED)


class NeuronState(IntEnum):
    """What became of a neuron; as masks shrink, a structural state only ever moves down this list.

    - ``ALIVE``: an unpruned path leads from an input to it, and one from it to an output.
    - ``AUDIENCE``: it hears no input but a zombie, directly or through other audience, and speaks to an output.
    - ``ZOMBIE``: it hears nobody, speaks to an output, and hands on a constant that is not zero.
    - ``UNPRODUCTIVE``: it speaks to an output but cannot change it: its constant is zero, or all who hear it are
      unproductive. Its outgoing weights to productive neurons can be overwritten at will.
    - ``COMATOSE``: no unpruned path leads from it to any output. It gets no gradient, and all its parameters can be
      overwritten at will.
    - ``PRUNED``: nothing of it is left, neither a weight in or out nor a bias.

    A parameter has the state of the neuron that it comes from (a bias: of its own), is unproductive if that one or the
    one it leads to is unproductive or comatose, and pruned where its mask says so.

    The structural state follows from the masks alone: an unpruned bias, or a batch norm, counts as a constant whatever
    its value. The functional state reads biases and activations as they stand, in evaluation mode; it is the structural
    one or lies further down. With ReLU, a zombie whose bias is not positive is unproductive.
    """

    ALIVE = 0
    AUDIENCE = 1
    ZOMBIE = 2
    UNPRODUCTIVE = 3
    COMATOSE = 4
    PRUNED = 5


@dataclass(frozen=True, eq=False)
class LayerStates:
    """The neurons of a layer.

    Attributes:
        name: the layer's name; of an input that of the argument.
        kind: ``input``, ``dense`` or ``conv``.
        structural: (neurons,), int8 values of ``NeuronState``, from the masks alone.
        functional: (neurons,), the same for biases and activations as they stand.
        frozen: (neurons,), which constant neurons no gradient reaches: no path leads from them to an output on which
            every constant neuron's activation has a derivative other than zero.
        constant: (neurons,), the activation of those that hear no input, a channel's mean over its positions; NaN for
            the others.
    """

    name: str
    kind: LayerKind
    structural: np.ndarray
    functional: np.ndarray
    frozen: np.ndarray
    constant: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class NetworkStates:
    """The states of a network's neurons and parameters; see ``neuron_states``.

    Attributes:
        graph: who hears whom.
        structural: (neurons of the graph,), int8 values of ``NeuronState``.
        functional: (neurons of the graph,), likewise.
        frozen: (neurons of the graph,), see ``LayerStates``.
        constant: (neurons of the graph,), see ``LayerStates``.
    """

    graph: Graph
    structural: np.ndarray
    functional: np.ndarray
    frozen: np.ndarray
    constant: np.ndarray

    def __repr__(self) -> str:
        own = np.concatenate([layer.structural for layer in self.layers if layer.kind != "input"])
        counts = ", ".join(f"{number:,} {state.name.lower()}" for state, number in _count(own).items() if number)
        return f"<NetworkStates of {len(own):,} neurons: {counts}>"

    @cached_property
    def layers(self) -> tuple[LayerStates, ...]:
        """The states layer by layer, inputs first; sums and outputs, which have no parameters, are left out."""
        return tuple(
            LayerStates(
                layer.name,
                layer.kind,
                *(values[layer.own] for values in (self.structural, self.functional, self.frozen, self.constant)),
            )
            for layer in self.graph.layers
            if layer.kind in _REPORTED
        )

    def parameters(self, *, functional: bool = False) -> dict[str, np.ndarray]:
        """Return the state of every parameter: int8 arrays of the parameters' shapes, by plain name.

        They are of five states only: parameters of comatose neurons count as unproductive. A parameter that is used in
        several places has the least of its states there.
        """
        neurons = torch.from_numpy(self.functional if functional else self.structural)
        states: dict[str, np.ndarray] = {}
        for place in self.graph.places:
            to = neurons[place.to]
            state = to
            if place.of is not None:
                state = torch.where(to >= NeuronState.UNPRODUCTIVE, to, neurons[place.of])
            state = state.clamp(max=NeuronState.UNPRODUCTIVE)
            state = state.reshape(*state.shape, *[1] * (place.mask.ndim - state.ndim))
            own = torch.where(place.mask, state, state.new_tensor(NeuronState.PRUNED)).numpy()
            states[place.name] = np.minimum(own, states[place.name]) if place.name in states else own
        return states

    def count_neurons(self, *, functional: bool = False) -> dict[str, dict[NeuronState, int]]:
        """Return how many neurons of every layer are in each state."""
        return {layer.name: _count(layer.functional if functional else layer.structural) for layer in self.layers}

    def count_parameters(self, *, functional: bool = False) -> dict[str, dict[NeuronState, int]]:
        """Return how many elements of every weight and bias are in each state."""
        return {name: _count(states) for name, states in self.parameters(functional=functional).items()}

    def to_json(self) -> str:
        """Return the states as JSON: every neuron's, and how many parameters are in each."""
        layers = [
            {
                "name": layer.name,
                "kind": layer.kind,
                "structural": [NeuronState(state).name.lower() for state in layer.structural],
                "functional": [NeuronState(state).name.lower() for state in layer.functional],
                "frozen": layer.frozen.tolist(),
                "constant": [float(value) if np.isfinite(value) else None for value in layer.constant],
            }
            for layer in self.layers
        ]
        parameters = {
            kind: {
                name: {state.name.lower(): number for state, number in counts.items()}
                for name, counts in self.count_parameters(functional=kind == "functional").items()
            }
            for kind in ("structural", "functional")
        }
        return json.dumps({"layers": layers, "parameters": parameters})


def neuron_states(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor] | None = None,
    *,
    masks: Mapping[str, Tensor] | None = None,
    layers: Sequence[str] | None = None,
) -> NetworkStates:
    """Find out what became of every neuron and every parameter of a network.

    Neurons are the features of inputs and dense layers and the channels of convolutions. The definitions are those of
    ``NeuronState``; nothing is learnt from data, every input is taken to be possible.

    Args:
        model: dense or pruned in torch's terms; it is not changed. What ``torch.fx`` can trace: dense and convolutional
            layers, batch norms, activations, pooling, dropout, reshaping, sums and concatenations, with any number
            of inputs and outputs.
        inputs: an example for each input, (batch, ...), of which the shape alone counts; may be left out where the
            first layer is dense.
        masks: where weights are left, by plain name, besides the model's own masks.
        layers: names of modules that a signal passes one after another, for a model that cannot be traced.

    Raises:
        PruningError: the model cannot be traced, or does something of which it is not known what it does to neurons.

    Examples:
        >>> import torch.nn.utils.prune as torch_prune
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> mask = torch.tensor([[1, 1], [0, 0], [1, 0]])
        >>> _ = torch_prune.custom_from_mask(model[0], "weight", mask)
        >>> _ = torch_prune.custom_from_mask(model[2], "weight", torch.tensor([[1, 1, 0]]))
        >>> states = neuron_states(model)
        >>> [NeuronState(state).name for state in states.layers[1].structural]
        ['ALIVE', 'ZOMBIE', 'COMATOSE']
    """
    graph = trace_graph(model, inputs, masks=masks, layers=layers)
    everyone = torch.ones(graph.size, 1, dtype=torch.bool)
    hears = graph.forward(graph.marked(graph.numbers("input")))
    outputs = graph.marked(graph.numbers("output"))
    speaks = graph.backward(outputs)
    silent = graph.silent()[:, None]
    biased = graph.biased[:, None]

    loud = graph.forward((biased | ~silent) & ~hears) & ~hears  # a constant that need not be zero
    audience = graph.next(loud)
    structural = _states(hears, speaks, speaks & (hears | loud), audience)

    productive = graph.backward(outputs, lambda layer: hears[layer.heard, 0] | ~layer.zero)
    talking = productive & ~hears & ~silent
    audience = graph.next(talking, lambda layer: ~layer.zero)
    functional = _states(hears, speaks, productive, audience)

    frozen = speaks & ~hears & ~graph.backward(outputs, lambda layer: hears[layer.heard, 0] | layer.steep)
    gone = graph.weighted()[:, None] & ~speaks & ~biased & ~graph.next(everyone) & ~graph.previous(everyone)
    for states in (structural, functional):
        states[gone] = NeuronState.PRUNED
    constant = torch.where(hears[:, 0], torch.nan, graph.constants)
    return NetworkStates(graph, *(each.flatten().numpy() for each in (structural, functional, frozen, constant)))


def _states(hears: Tensor, speaks: Tensor, productive: Tensor, audience: Tensor) -> Tensor:
    """Return every neuron's state, the later conditions overruling the earlier ones."""
    states = torch.full(hears.shape, NeuronState.ALIVE, dtype=torch.int8)
    states[~hears] = NeuronState.ZOMBIE
    states[~hears & audience] = NeuronState.AUDIENCE
    states[~productive] = NeuronState.UNPRODUCTIVE
    states[~speaks] = NeuronState.COMATOSE
    return states


def _count(states: np.ndarray) -> dict[NeuronState, int]:
    numbers = np.bincount(states.ravel(), minlength=len(NeuronState))
    return {state: int(numbers[state]) for state in NeuronState}
