"""Bounds of a separation, beside all networks that could be."""

from itertools import pairwise, product

import pytest
import torch
from torch import nn

from lthprune import neuron_states
from lthprune.analysis.separation import separation_bounds
from lthprune.analysis.splitting import find_splitting
from lthprune.data.dataset import Task
from lthprune.errors import PruningError


def tasks(*shapes: tuple[int, int]) -> list[Task]:
    """Tasks with so many inputs and outputs each."""
    found, read, given = [], 0, 0
    for place, (inputs, outputs) in enumerate(shapes):
        found.append(Task(f"task{place}", range(read, read + inputs), range(given, given + outputs)))
        read, given = read + inputs, given + outputs
    return found


TWO, THREE = tasks((2, 1), (2, 1)), tasks((1, 1), (2, 1), (1, 2))
UNLIKE, UNLIKE_TOO = tasks((5, 1), (1, 4)), tasks((1, 1), (5, 4))


@pytest.mark.parametrize(
    ("sizes", "own"),
    [
        ((4, 5, 5, 2), TWO),
        ((6, 4, 5, 5), UNLIKE),
        ((6, 4, 5, 5), UNLIKE_TOO),
        ((4, 4, 4), THREE),
        ((4, 3, 4, 3, 4), THREE),
    ],
)
def test_no_share_of_the_hidden_units_has_more_weights(sizes: tuple[int, ...], own: list[Task]) -> None:
    inputs, outputs = (
        [len(part) for part in parts] for parts in zip(*((t.inputs, t.outputs) for t in own), strict=True)
    )
    layers = [
        [units for units in product(range(1, size + 1), repeat=len(own)) if sum(units) == size] for size in sizes[1:-1]
    ]
    totals = [
        sum(a * b for before, after in pairwise([inputs, *hidden, outputs]) for a, b in zip(before, after, strict=True))
        for hidden in product(*layers)
    ]
    assert separation_bounds(sizes, own).most == max(totals)


def status_of(sizes: tuple[int, ...], weights: list[torch.Tensor]) -> str:
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())][:-1]
    masks = {f"{2 * place}.weight": own for place, own in enumerate(weights)}
    return find_splitting(neuron_states(nn.Sequential(*layers), masks=masks), TWO).status


def test_networks_with_the_most_and_the_fewest_weights_are_separated_and_interconnected() -> None:
    sizes, bounds = (4, 3, 3, 2), separation_bounds((4, 3, 3, 2), TWO)
    most = [torch.zeros(3, 4), torch.zeros(3, 3), torch.zeros(2, 3)]
    most[0][:2, :2] = most[1][:2, :2] = most[2][0, :2] = 1  # two units of each layer for moons
    most[0][2, 2:] = most[1][2, 2] = most[2][1, 2] = 1
    assert (status_of(sizes, most), sum(int(own.sum()) for own in most)) == ("separated", bounds.most)
    fewest = [torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]), torch.eye(3), torch.eye(3)[:2]]
    fewest[1][2, 2] = 0
    assert (status_of(sizes, fewest), sum(int(own.sum()) for own in fewest)) == ("separated", bounds.fewest)
    whole = [torch.eye(3)[:, :1].repeat(1, 4), torch.eye(3)[:, :1] @ torch.eye(3)[:1], torch.eye(3)[:1].repeat(2, 1)]
    count = sum(int(own.sum()) for own in whole)
    assert (status_of(sizes, whole), count) == ("interconnected", bounds.fewest_interconnected)
    for layer, row, column in [(0, 0, 3), (1, 0, 0), (2, 1, 0)]:  # one weight fewer is too few
        fewer = [own.clone() for own in whole]
        fewer[layer][row, column] = 0
        assert status_of(sizes, fewer) == "degraded"


@pytest.mark.parametrize("hidden", [6, 8, 30])
def test_equal_shares_keep_one_kth_of_the_weights(hidden: int) -> None:
    for number in (2, 3):
        if hidden % number == 0:
            own = tasks(*[(2, 1)] * number)
            bounds = separation_bounds((2 * number, hidden, hidden, number), own)
            assert bounds.equal * number == bounds.weights
            assert bounds.fewest_interconnected < bounds.fewest <= bounds.equal <= bounds.most < bounds.weights


@pytest.mark.parametrize(
    ("sizes", "own"), [((4, 8, 2), TWO[:1]), ((4, 2), TWO), ((4, 1, 2), TWO), ((5, 8, 2), TWO), ((4, 8, 3), TWO)]
)
def test_what_has_no_bounds_is_refused(sizes: tuple[int, ...], own: list[Task]) -> None:
    with pytest.raises(PruningError, match="bounds of a separation need two tasks or more"):
        separation_bounds(sizes, own)
