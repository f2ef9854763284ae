"""Figures of splitting: what they show is what was found."""

import numpy as np
import pytest
import torch
from torch import nn

from lthprune import neuron_states
from lthprune.analysis.splitting import find_splitting
from lthprune.data.dataset import Task
from lthprune.plots.splitting import plot_coverage, plot_decidedness

TASKS = (Task("moons", range(0, 2), range(0, 1)), Task("circles", range(2, 4), range(1, 2)))
LEFT = [12, 6, 5]


@pytest.fixture(scope="module")
def splittings():
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    apart = {"0.weight": torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]), "2.weight": torch.eye(2)}
    lost = apart | {"0.weight": torch.tensor([[1, 0, 0, 0], [0, 0, 1, 1]])}
    return [find_splitting(neuron_states(model, masks=masks), TASKS) for masks in ({}, apart, lost)]


def test_every_levels_matrix_is_drawn_with_its_numbers_and_its_status(splittings):
    panels = [axes for axes in plot_coverage(splittings, LEFT).axes if axes.images]
    assert [axes.get_title() for axes in panels] == [
        "12 weights\ninterconnected",
        "6 weights\nseparated",
        "5 weights\ndegraded",
    ]
    for axes, split in zip(panels, splittings, strict=True):
        assert np.array_equal(axes.images[0].get_array(), split.matrix)
        assert [float(text.get_text()) for text in axes.texts] == split.matrix.flatten().tolist()


def test_decidedness_is_a_line_for_each_layer_and_side(splittings):
    for axes, side in zip(plot_decidedness(splittings, LEFT).axes, ("by_inputs", "by_outputs"), strict=True):
        assert [line.get_label() for line in axes.lines] == ["0", "2"]
        for place, line in enumerate(axes.lines):
            assert list(line.get_ydata()) == [getattr(split.decidedness[place], side) for split in splittings]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["12", "6", "5"]
