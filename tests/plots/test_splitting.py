"""Figures of splitting: what they show is what was found."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lthprune import neuron_states
from lthprune.analysis.splitting import find_splitting
from lthprune.data.dataset import Task
from lthprune.plots.splitting import plot_coverage, plot_decidedness, plot_separation

TASKS = (Task("moons", range(0, 2), range(0, 1)), Task("circles", range(2, 4), range(1, 2)))
LEFT = [12, 6, 5]


@pytest.fixture(scope="module")
def splittings():
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    apart = {"0.weight": torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]), "2.weight": torch.eye(2)}
    lost = apart | {"0.weight": torch.tensor([[1, 0, 0, 0], [0, 0, 1, 1]])}
    return [find_splitting(neuron_states(model, masks=masks), TASKS) for masks in ({}, apart, lost)]


def test_every_levels_coverage_is_drawn_by_component_with_its_numbers_and_its_status(splittings):
    figure = plot_coverage(splittings, LEFT)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == [
        "12 weights\ninterconnected",
        "6 weights\nseparated",
        "5 weights\ndegraded",
    ]
    for axes, split in zip(panels, splittings, strict=True):
        drawn = axes.images[0].get_array().filled(np.nan)
        assert drawn.shape == (2, 2)
        rows = len(split.coverage)
        np.testing.assert_array_equal(drawn[:rows], split.coverage)
        assert np.isnan(drawn[rows:]).all()  # no row for a component that does not exist
        assert [float(text.get_text()) for text in axes.texts] == split.coverage.flatten().tolist()
        assert [label.get_text() for label in axes.get_yticklabels()] == [str(row) for row in range(rows)]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["moons", "circles"]
    assert [len(split.coverage) for split in splittings] == [1, 2, 2]
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("task", "component")


def test_of_many_components_the_largest_are_drawn_and_the_rest_counted(splittings):
    coverage = np.array([[0.5, 0], [0, 0], *[[0, 0.1]] * 6])
    (axes,) = plot_coverage([replace(splittings[0], coverage=coverage)], LEFT[:1]).axes
    assert axes.get_title() == "12 weights\ninterconnected\n2 more components"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "2", "3", "4", "5"]


def test_decidedness_is_a_line_for_each_layer_and_side_and_the_legend_explains_the_shades(splittings):
    figure = plot_decidedness(splittings, LEFT)
    for axes, side in zip(figure.axes, ("by_inputs", "by_outputs"), strict=True):
        assert [line.get_label() for line in axes.lines] == ["0", "2"]
        for place, line in enumerate(axes.lines):
            assert list(line.get_ydata()) == [getattr(split.decidedness[place], side) for split in splittings]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["12", "6", "5"]
        shades = {
            patch.get_path().get_extents(patch.get_patch_transform()).x0: patch.get_hatch() for patch in axes.patches
        }
        assert list(shades) == [0.5, 1.5]
        assert len(set(shades.values())) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0", "2", "separated network", "degraded network"]
    assert [patch.get_hatch() for patch in legend.get_patches()] == list(shades.values())
    (legend,) = plot_decidedness(splittings[:1], LEFT[:1]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["0", "2"]


def test_separation_is_the_accuracy_and_the_distance_of_every_task_and_the_metric_of_all(splittings):
    accuracies = [{"moons": 0.99, "circles": 0.98}, {"moons": 0.97, "circles": 0.96}, {"moons": 0.5, "circles": 0.9}]
    figure = plot_separation(splittings, LEFT, accuracies)
    accuracy, metric, distance = figure.axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in accuracy.lines}
    assert drawn == {task: [pytest.approx(100 * each[task]) for each in accuracies] for task in ("moons", "circles")}
    assert list(metric.lines[0].get_ydata()) == [split.metric for split in splittings] == [1, 0, -0.25]
    moons, circles, whole = (np.array(line.get_ydata()) for line in distance.lines[:3])
    np.testing.assert_allclose(whole, [split.distance for split in splittings])
    np.testing.assert_allclose(moons**2 + circles**2, whole**2)
    assert moons[0] == circles[0] == 1  # one component covers both
    assert moons[1] == circles[1] == circles[2] == 0  # each has a component of its own
    assert moons[2] == 0.5  # half of the inputs are lost
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["12", "6", "5"]
        assert len(axes.patches) == 2
    (legend,) = figure.legends
    words = ["moons", "circles", "all tasks", "separated network", "degraded network"]
    assert [text.get_text() for text in legend.get_texts()] == words
