"""Splitting: components compared with networkx, and the figures that follow from them."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lthprune import PruningError, neuron_states
from lthprune.analysis import NeuronState
from lthprune.analysis.splitting import find_splitting, outcome
from lthprune.data.dataset import Task
from tests.walk import Wiring

TASKS = (Task("left", range(0, 2), range(0, 1)), Task("right", range(2, 4), range(1, 3)))
LAYERS = {"0.weight": (6, 4), "2.weight": (5, 6), "4.weight": (3, 5)}

densities = st.sampled_from([0.1, 0.2, 0.3, 0.5, 1.0])


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


@st.composite
def pruned(draw):
    """Masks at random, with more weights left within a task than between tasks."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    within, between = draw(densities), draw(st.sampled_from([0.0, 0.02, 0.2]))
    sides = [
        torch.tensor([0, 0, 1, 1]),
        torch.arange(6) % 2,
        torch.arange(5) % 2,
        torch.tensor([0, 1, 1]),
    ]
    masks = {}
    for (name, shape), of, to in zip(LAYERS.items(), sides, sides[1:], strict=False):
        chance = torch.where(to[:, None] == of, within, between)
        masks[name] = torch.rand(shape, generator=generator) < chance
    return masks


def splitting(masks, **words):
    return find_splitting(neuron_states(network(), masks=masks), TASKS, **words)


@settings(max_examples=150)
@given(pruned())
def test_components_and_their_coverage_are_those_that_networkx_finds(masks):
    wiring = Wiring()
    nodes = wiring.read("0", 4)
    for place, mask in enumerate(masks.values(), start=1):
        nodes = wiring.connect(str(place), nodes, mask, torch.ones(len(mask)))
    wiring.end(nodes)
    alive = [node for node, state in wiring.states().items() if state == NeuronState.ALIVE]
    found = list(nx.connected_components(wiring.graph.subgraph(alive).to_undirected()))
    covered = sorted(
        [
            len({("0", number) for number in task.inputs} & each)
            / len(task.inputs)
            * len({("3", number) for number in task.outputs} & each)
            / len(task.outputs)
            for task in TASKS
        ]
        for each in found
    )
    split = splitting(masks)
    assert len(split.coverage) == len(found)
    assert sorted(split.coverage.tolist()) == covered
    assert (split.components >= 0).sum() == len(alive) + sum(
        node[0] == "3" for node in alive
    )  # and the graph's outputs
    hidden = [sum(node[0] != "0" for node in each) for each in found]
    assert sorted(split.sizes) == sorted(hidden)
    assert sorted(np.bincount(split.components[split.components >= 0]), reverse=True) == list(
        np.bincount(split.components[split.components >= 0])
    )


@settings(max_examples=150)
@given(pruned(), st.sampled_from(["pairs", "outputs"]))
def test_the_figures_of_a_splitting_are_consistent(masks, coverage):
    split = splitting(masks, coverage=coverage)
    assert split.potential == pytest.approx(split.coverage.sum(axis=0).mean())
    assert (split.status == "degraded") == (split.metric < 0) == (split.potential < 1)
    assert (split.status == "separated") == (split.metric == 0)
    assert split.metric == pytest.approx(split.potential - 1) if split.metric < 0 else split.metric in (0, 1)
    assert split.distance == pytest.approx(np.sqrt(((split.matrix - np.eye(2)) ** 2).sum()))
    if coverage == "pairs":
        assert (split.distance == 0) == (split.status == "separated")
        assert split.status != "separated" or split.strays == 0


@settings(max_examples=150)
@given(pruned(), st.floats(0.5, 1), st.integers(0, 1000), st.sampled_from(["pairs", "outputs"]))
def test_pruning_only_ever_lowers_the_metric(masks, kept, seed, coverage):
    generator = torch.Generator().manual_seed(seed)
    fewer = {name: mask & (torch.rand(mask.shape, generator=generator) < kept) for name, mask in masks.items()}
    assert splitting(fewer, coverage=coverage).metric <= splitting(masks, coverage=coverage).metric


def edges(*pairs_of_each_layer):
    masks = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in LAYERS.items()}
    for mask, pairs in zip(masks.values(), pairs_of_each_layer, strict=True):
        for of, to in pairs:
            mask[to, of] = True
    return masks


APART = (
    [(0, 0), (1, 0), (2, 1), (3, 1)],
    [(0, 0), (1, 1)],
    [(0, 0), (1, 1), (1, 2)],
)


def test_a_network_in_two_is_separated():
    split = splitting(edges(*APART))
    assert split.tasks == ("left", "right")
    assert (split.status, split.metric, split.distance) == ("separated", 0, 0)
    assert split.matrix.tolist() == [[1, 0], [0, 1]]
    assert [(layer.layer, layer.by_inputs, layer.by_outputs) for layer in split.decidedness] == [
        ("0", 1, 1),
        ("2", 1, 1),
        ("4", 1, 1),
    ]


def test_one_connection_between_the_tasks_keeps_a_network_together():
    first, second, third = APART
    split = splitting(edges(first, [*second, (0, 1)], third))  # from a neuron of the left to one of the right
    assert (split.status, split.metric) == ("interconnected", 1)
    assert split.coverage.tolist() == [[1, 1]]
    assert split.distance == pytest.approx(np.sqrt(2))
    layers = {layer.layer: layer for layer in split.decidedness}
    assert (layers["0"].by_inputs, layers["0"].by_outputs) == (1, 0.5)
    assert (layers["2"].by_inputs, layers["2"].by_outputs) == (0.5, 1)


def test_a_task_that_has_lost_an_input_is_degraded_unless_outputs_alone_count():
    first, *rest = APART
    masks = edges(first[1:], *rest)
    split = splitting(masks)
    assert (split.status, split.potential, split.metric) == ("degraded", 0.75, -0.25)
    assert sorted(split.coverage.tolist()) == [[0, 1], [0.5, 0]]
    assert splitting(masks, coverage="outputs").status == "separated"


def test_inputs_that_only_another_task_reads_are_counted_as_strays():
    first, *rest = APART
    masks = edges([*first[1:], (0, 1)], *rest)  # the left's first input feeds the right alone
    assert splitting(masks).status == "degraded"
    split = splitting(masks, coverage="outputs")
    assert (split.status, split.distance, split.strays) == ("separated", 0, 1)
    assert splitting(edges(*APART)).strays == 0


def test_with_coverage_of_outputs_a_task_may_split_into_several_networks():
    masks = edges([(0, 0), (1, 0), (2, 1), (3, 2)], [(0, 0), (1, 1), (2, 2)], [(0, 0), (1, 1), (2, 2)])
    split = splitting(masks, coverage="outputs")
    assert (split.status, len(split.coverage), split.matrix[1].tolist()) == ("separated", 3, [0, 0.5])
    assert splitting(masks).status == "degraded"


def test_tasks_that_only_read_each_others_inputs_are_degraded_for_both_coverages():
    crossed = edges([(0, 1), (1, 1), (2, 0), (3, 0)], *APART[1:])
    for coverage in ("pairs", "outputs"):
        split = splitting(crossed, coverage=coverage)
        assert (split.status, split.metric) == ("degraded", -1)


def test_a_fully_pruned_network_covers_nothing():
    split = splitting(edges([], [], []))
    assert (split.status, split.metric, split.coverage.shape) == ("degraded", -1, (0, 2))
    assert all(np.isnan(layer.by_inputs) and np.isnan(layer.by_outputs) for layer in split.decidedness)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["interconnected"], "interconnected"),
        (["interconnected", "separated"], "separated"),
        (["interconnected", "separated", "degraded", "degraded"], "separated then degraded"),
        (["interconnected", "degraded"], "degraded"),
    ],
)
def test_the_outcome_summarises_the_statuses(statuses, expected):
    assert outcome(statuses) == expected


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (TASKS[:1], "two tasks or more"),
        ((), "the tasks have none"),
        ((TASKS[0], Task("right", range(1, 4), range(1, 3))), "4 inputs; the tasks have left: 0 to 1, right: 1 to 3"),
        ((TASKS[0], Task("right", range(2, 4), range(1, 2))), "3 outputs; the tasks have left: 0 to 0, right: 1 to 1"),
    ],
)
def test_tasks_that_do_not_share_out_the_network_are_refused(tasks, said):
    with pytest.raises(PruningError, match=said):
        find_splitting(neuron_states(network()), tasks)


def test_a_splitting_has_a_short_repr_and_needs_states():
    assert repr(splitting(edges(*APART))) == "<Splitting into left, right: separated, metric 0>"
    with pytest.raises(PruningError, match="not a Sequential"):
        find_splitting(network(), TASKS)


def test_a_misspelt_coverage_is_refused():
    with pytest.raises(PruningError, match="did you mean 'outputs'"):
        splitting(edges(*APART), coverage="output")
