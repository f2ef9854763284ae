"""Graphs of networkx: nodes are the neurons, edges the unpruned weights with their values."""

import io

import networkx
import pytest
import torch
from torch import nn

from lthprune import neuron_states
from lthprune.analysis import find_splitting
from lthprune.analysis.digraph import to_graphml, to_networkx
from lthprune.data.dataset import Task

MODEL = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
MASKS = {"0.weight": torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0]]), "2.weight": torch.eye(2)}


def test_edges_are_the_unpruned_weights_and_nodes_know_their_states() -> None:
    states = neuron_states(MODEL, masks=MASKS)
    graph = to_networkx(states, MODEL.state_dict())
    found = {(graph.nodes[a]["label"], graph.nodes[b]["label"]): edge for a, b, edge in graph.edges(data=True)}
    weights = MODEL.state_dict()
    expected = {
        (f"{reads}.{column}", f"{layer}.{row}"): float(weights[f"{layer}.weight"][row, column])
        for reads, layer in (("input_1", "0"), ("0", "2"))
        for row, column in MASKS[f"{layer}.weight"].nonzero().tolist()
    }
    assert {ends: edge["weight"] for ends, edge in found.items()} == pytest.approx(expected)
    assert {edge["parameter"] for edge in found.values()} == {"0.weight", "2.weight"}
    by_label = {node["label"]: node for _, node in graph.nodes(data=True)}
    assert by_label["input_1.3"]["state"] == "comatose"
    assert (by_label["0.1"]["state"], by_label["0.1"]["kind"], by_label["0.1"]["index"]) == ("alive", "dense", 1)


def test_its_components_are_those_of_the_splitting() -> None:
    states = neuron_states(MODEL, masks=MASKS)
    graph = to_networkx(states, MODEL.state_dict())
    alive = graph.subgraph([number for number, node in graph.nodes(data=True) if node["state"] == "alive"])
    tasks = [Task("moons", range(0, 2), range(0, 1)), Task("circles", range(2, 4), range(1, 2))]
    split = find_splitting(states, tasks)
    assert networkx.number_weakly_connected_components(alive) == len(split.coverage) == 2


def test_graphml_gives_the_same_graph_back() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    states = neuron_states(model, torch.zeros(1, 1, 3, 3))
    graph = to_networkx(states, model.state_dict())
    back = networkx.read_graphml(io.BytesIO(to_graphml(states, model.state_dict())), node_type=int)
    assert dict(back.nodes(data=True)) == dict(graph.nodes(data=True))
    ends = sorted(graph.edges)
    assert sorted(back.edges) == ends
    assert [back.edges[each] for each in ends] == [graph.edges[each] for each in ends]
    kernel = model[0].weight[1, 0].detach()
    (edge,) = [edge for _, to, edge in graph.edges(data=True) if graph.nodes[to]["label"] == "0.1"]
    assert edge["weight"] == pytest.approx(float(kernel.norm() * kernel.sum().sign()))
