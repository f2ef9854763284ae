"""Neuron states: which neurons and parameters affect the output, and how."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from lthprune.analysis.graph import WEIGHTED, Graph, Layer, LayerKind
from lthprune.analysis.tracing import trace_graph

_REPORTED: tuple[LayerKind, ...] = ("input", *WEIGHTED)


class NeuronState(IntEnum):
    """The state of a neuron; as masks shrink, its structural state only ever moves down this list.

    Paths are made of unpruned weights, and a constant neuron is one that no path connects to an input.

    - ``ALIVE``: a path leads from an input to it, and one from it to an output.
    - ``AUDIENCE``: it is constant and has a path to an output; it reads zombies or other audience, and no other neuron
      that is not zero.
    - ``ZOMBIE``: it has a path to an output, no input that is not zero, and a constant activation other than zero.
    - ``UNPRODUCTIVE``: it has a path to an output, but its activation does not contribute to any output: it is
      constantly zero, or only unproductive neurons read it.
    - ``COMATOSE``: no path leads from it to an output. It gets no gradient.
    - ``PRUNED``: it has no unpruned weight in or out and no unpruned bias.

    A parameter has the state of the neuron whose activation it weights (a bias: of the neuron that it belongs to). It
    is unproductive if that neuron or the one that it leads to is unproductive or comatose, and pruned where its mask is
    zero. What follows for the outputs depends on the kind of state and on how many parameters are changed:

    - The *structural* state follows from the masks alone: an unpruned bias, or a batch norm, counts as a constant
      other than zero, whatever its value. Any one or any number of structurally unproductive parameters can be given
      any values without changing an output.
    - The *functional* state reads biases and activations as they are, in evaluation mode; it is the structural one or
      lies further down. With ReLU, a zombie whose bias is not positive is unproductive. All functionally unproductive
      parameters together can be pruned without changing an output. This does not hold for one of them alone: pruning
      a negative weight into a neuron that only this weight keeps at zero makes that neuron a zombie. Taken one by one,
      only the parameters of comatose neurons and the weights from an unproductive to a productive neuron are free.
      (All of this supposes that the activation of zero is zero wherever a sum or an output reads an unproductive
      neuron without weights.)

    The states do not show neurons that read an input and yet are zero for every input; such neurons are alive. See
    [`dead_neurons`][lthprune.analysis.dead_neurons].
    """

    ALIVE = 0
    AUDIENCE = 1
    ZOMBIE = 2
    UNPRODUCTIVE = 3
    COMATOSE = 4
    PRUNED = 5


@dataclass(frozen=True, eq=False)
class LayerStates:
    """The states of a layer's neurons.

    Attributes:
        name: the layer's name; of an input the name of the argument.
        kind: ``input``, ``dense``, ``conv``, ``embedding`` or ``recurrent``.
        structural: (neurons,), int8 values of ``NeuronState``, from the masks alone.
        functional: (neurons,), the same, from biases and activations as they are.
        frozen: (neurons,), which constant neurons get no gradient for any input: those with no path to an output along
            which the activation of every constant neuron has a derivative other than zero. Comatose neurons without a
            path from an input are among them.
        constant: (neurons,), the activation of constant neurons, a channel's mean over its positions; NaN for neurons
            that a path connects to an input.
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
        graph: the connections between neurons.
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
        states = np.concatenate([layer.structural for layer in self.layers if layer.kind != "input"])
        counts = ", ".join(f"{number:,} {state.name.lower()}" for state, number in _count(states).items() if number)
        return f"<NetworkStates of {len(states):,} neurons: {counts}>"

    @cached_property
    def layers(self) -> tuple[LayerStates, ...]:
        """The states of inputs and of layers with weights, inputs first."""
        return tuple(
            LayerStates(
                layer.name,
                layer.kind,
                *(values[layer.span] for values in (self.structural, self.functional, self.frozen, self.constant)),
            )
            for layer in self.graph.layers
            if layer.kind in _REPORTED
        )

    def parameters(self, *, functional: bool = False) -> dict[str, np.ndarray]:
        """Return the state of every parameter: int8 arrays of the parameters' shapes, by plain name.

        Parameters have five states only: those of comatose neurons count as unproductive. A parameter that is used in
        several places has the first of its states there, in the order of ``NeuronState``; rows that no layer reads are
        unproductive. Parameters that the network's code computes with have no state, as an element can then affect more
        than the neuron that it belongs to.
        """
        neurons = torch.from_numpy(self.functional if functional else self.structural)
        states: dict[str, np.ndarray] = {}
        for place in (each for each in self.graph.places if each.name not in self.graph.computed):
            state = neurons[place.neurons]
            if place.sources is not None:
                state = torch.where(state >= NeuronState.UNPRODUCTIVE, state, neurons[place.sources])
            state = state.clamp(max=NeuronState.UNPRODUCTIVE)
            state = state.reshape(*state.shape, *[1] * (place.mask.ndim - state.ndim))
            own = torch.where(place.mask, state, state.new_tensor(NeuronState.PRUNED)).numpy()
            if place.name not in states:
                unread = np.where(place.whole.numpy(), NeuronState.UNPRODUCTIVE, NeuronState.PRUNED)
                states[place.name] = unread.astype(np.int8)
            states[place.name][place.rows] = np.minimum(own, states[place.name][place.rows])
        return states

    def count_neurons(self, *, functional: bool = False) -> dict[str, dict[NeuronState, int]]:
        """Return how many neurons of each layer are in each state."""
        return {layer.name: _count(layer.functional if functional else layer.structural) for layer in self.layers}

    def count_parameters(self, *, functional: bool = False) -> dict[str, dict[NeuronState, int]]:
        """Return how many elements of each parameter are in each state."""
        return {name: _count(states) for name, states in self.parameters(functional=functional).items()}

    def to_json(self) -> str:
        """Return the states as JSON: of each neuron, and the number of parameters in each state."""
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
    """Return the state of every neuron and every parameter of a network.

    Neurons are the features of inputs and dense layers, the channels of convolutions, the dimensions of embeddings and
    the hidden units of recurrent layers. See ``NeuronState`` for the definitions. No data is used: every input is
    considered possible.

    Args:
        model: dense or pruned; it is not changed. ``torch.fx`` has to be able to trace it. Supported are dense,
            convolutional and recurrent layers, embeddings, attention, norms, activations, pooling, dropout, reshaping,
            sums, products and concatenations, with any number of inputs and outputs.
        inputs: an example for each input, (batch, ...), of which only the shape counts; may be left out if the first
            layer is dense.
        masks: which elements of parameters are unpruned, by plain name, in addition to the model's own masks.
        layers: names of modules to run one after another, for a model that cannot be traced.

    Raises:
        PruningError: the model cannot be traced or uses unsupported operations; the error names them all.

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
    every = torch.ones(graph.size, 1, dtype=torch.bool)
    outputs = graph.mark(graph.numbers("output"))
    reaches_output = graph.ancestors(outputs)

    varies, nonzero = _structural_activity(graph)
    productive = graph.ancestors(outputs, among=varies | nonzero)
    structural = _states(varies, reaches_output, productive, graph.successors(nonzero))

    varies = _functional_activity(graph)

    def live(layer: Layer) -> Tensor:
        return varies[layer.sources, 0] | ~layer.zero

    productive = graph.ancestors(outputs, lambda layer: live(layer) & layer.others(live(layer)))
    nonzero = productive & ~varies & ~graph.silent()[:, None]
    audience = graph.successors(nonzero, lambda layer: ~layer.zero & layer.others(live(layer)))
    functional = _states(varies, reaches_output, productive, audience)

    gets_gradient = graph.ancestors(
        outputs, lambda layer: (varies[layer.sources, 0] | layer.responsive) & layer.others(live(layer))
    )
    unconnected = ~graph.successors(every) & ~graph.predecessors(every)
    pruned = graph.weighted()[:, None] & ~reaches_output & ~graph.biased[:, None] & unconnected
    for states in (structural, functional):
        states[pruned] = NeuronState.PRUNED
    constant = torch.where(varies[:, 0], torch.nan, graph.constants)
    frozen = ~varies & ~gets_gradient
    return NetworkStates(graph, *(each.flatten().numpy() for each in (structural, functional, frozen, constant)))


def _structural_activity(graph: Graph) -> tuple[Tensor, Tensor]:
    """Return which neurons (neurons, 1) depend on an input, and which others need not be zero, by the masks alone.

    A product is zero if one of its factors is; it depends on an input if one factor does and none is zero.
    """
    varies = graph.mark(graph.numbers("input"))
    nonzero = (graph.biased | ~graph.silent())[:, None] & ~varies
    for layer in graph.layers:
        if layer.kind != "input":
            varying, constant = varies[layer.sources], nonzero[layer.sources]
            others = layer.others((varying | constant)[:, 0])[:, None]
            varies[layer.span] = own = layer.successors(varying & others)
            nonzero[layer.span] = (nonzero[layer.span] | layer.successors(constant & others)) & ~own
    return varies, nonzero


def _functional_activity(graph: Graph) -> Tensor:
    """Return which neurons (neurons, 1) depend on an input, where a product with a constant of zero does not."""
    varies = graph.mark(graph.numbers("input"))
    for layer in graph.layers:
        if layer.kind != "input":
            varying = varies[layer.sources]
            others = layer.others(varying[:, 0] | ~layer.zero)[:, None]
            varies[layer.span] = layer.successors(varying & others)
    return varies


def _states(varies: Tensor, reaches_output: Tensor, productive: Tensor, audience: Tensor) -> Tensor:
    """Return the state of every neuron; later conditions overrule earlier ones."""
    states = torch.full(varies.shape, NeuronState.ALIVE, dtype=torch.int8)
    states[~varies] = NeuronState.ZOMBIE
    states[~varies & audience] = NeuronState.AUDIENCE
    states[~productive] = NeuronState.UNPRODUCTIVE
    states[~reaches_output] = NeuronState.COMATOSE
    return states


def _count(states: np.ndarray) -> dict[NeuronState, int]:
    numbers = np.bincount(states.ravel(), minlength=len(NeuronState))
    return {state: int(numbers[state]) for state in NeuronState}
