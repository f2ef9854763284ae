"""A network's neurons and weights as a graph of networkx, and as GraphML for other programs."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from lthprune.analysis.neurons import NetworkStates, NeuronState

if TYPE_CHECKING:
    from networkx import DiGraph


def to_networkx(network: NetworkStates, weights: Mapping[str, Tensor]) -> "DiGraph":
    """Return a network as a directed graph: a node for every neuron, an edge for every unpruned weight.

    Nodes have the attributes ``label``, ``layer``, ``kind``, ``index`` (in the layer), ``state`` (structural),
    ``functional`` and ``frozen``. Edges have ``parameter``, the tensor's name, and ``weight``, its value: of a
    convolution's kernel, which is one edge, the norm with the sign of the sum. Edges of sums have neither, because they
    have no weights. Two weights from one neuron to another, as of a layer that is called twice, are one edge, that of
    the last.

    Args:
        network: the states and connections, of [`neuron_states`][lthprune.neuron_states].
        weights: values by plain name, such as a ticket's ``trained``.

    Examples:
        >>> from torch import nn
        >>> from lthprune import neuron_states
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> graph = to_networkx(neuron_states(model), model.state_dict())
        >>> graph.number_of_nodes(), graph.number_of_edges(), graph.nodes[2]["state"]
        (6, 9, 'alive')
    """
    from networkx import DiGraph

    graph = DiGraph()
    layers = [layer for layer in network.graph.layers if layer.kind != "output"]  # which repeats other layers
    for layer in layers:
        for index, number in enumerate(layer.neurons):
            graph.add_node(
                number,
                label=f"{layer.name}.{index}",
                layer=layer.name,
                kind=layer.kind,
                index=index,
                state=NeuronState(network.structural[number]).name.lower(),
                functional=NeuronState(network.functional[number]).name.lower(),
                frozen=bool(network.frozen[number]),
            )
        if layer.edges is None:
            graph.add_edges_from(layer.pairs().tolist())
    for place in network.graph.places:
        if place.sources is None:
            continue
        left = place.mask.reshape(*place.mask.shape[:2], -1)  # all positions of a kernel on one axis
        kernels = weights[place.name].detach().cpu().float().reshape(left.shape) * left
        joined = left.any(dim=2)
        values = (kernels.norm(dim=2) * kernels.sum(dim=2).sign())[joined]
        ends = [own.expand(joined.shape)[joined].tolist() for own in (place.sources, place.neurons)]
        for source, reader, value in zip(*ends, values.tolist(), strict=True):
            graph.add_edge(source, reader, parameter=place.name, weight=value)
    return graph


def to_graphml(network: NetworkStates, weights: Mapping[str, Tensor]) -> bytes:
    """Return the graph of ``to_networkx`` as GraphML, which Gephi, Cytoscape, igraph and others read."""
    from networkx import write_graphml_xml

    stream = io.BytesIO()
    write_graphml_xml(to_networkx(network, weights), stream)
    return stream.getvalue()
