import numpy as np
import pytest
import torch
from matplotlib.patches import StepPatch

from lthprune import PruningError
from lthprune.plots.weight_histograms import plot_weight_histograms
from lthprune.search import Ticket
from tests.drawn import search


def steps(axes) -> list[StepPatch]:
    return [patch for patch in axes.patches if isinstance(patch, StepPatch)]


def test_each_tensor_has_a_panel_with_the_unpruned_weights_of_each_level_the_dense_ones_dashed() -> None:
    _, tickets = search(levels=3)
    figure = plot_weight_histograms(tickets, "a title")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [name.removesuffix(".weight") for name in tickets[0].counts]
    for axes, name in zip(panels, tickets[0].counts, strict=True):
        drawn = steps(axes)
        assert [step.get_linestyle() for step in drawn] == ["--", "-", "-", "-"]
        for step, ticket in zip(drawn, tickets, strict=True):
            heights, edges, _ = step.get_data()
            values = ticket.trained[name][ticket.masks[name]].numpy()
            np.testing.assert_array_equal(heights, np.histogram(values, edges)[0])
            assert heights.sum() == ticket.counts[name].left
    (legend,) = figure.legends
    labels = ["100 % (dense)", *(f"{100 * ticket.density:.3g} %" for ticket in tickets[1:])]
    assert [text.get_text() for text in legend.get_texts()] == labels
    assert legend.get_title().get_text() == "weights left"


@pytest.mark.parametrize(("levels", "drawn"), [(0, 1), (6, 7), (9, 7)])
def test_of_many_levels_six_pruned_ones_are_shown_the_last_among_them(levels: int, drawn: int) -> None:
    _, tickets = search(levels=levels, rate=0.2)
    figure = plot_weight_histograms(tickets)
    assert len(steps(figure.axes[0])) == drawn
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1].startswith(f"{100 * tickets[-1].density:.3g} %")


def test_weights_that_are_not_finite_are_refused() -> None:
    masks, weights = {"a.weight": torch.ones(2, 2, dtype=torch.bool)}, {"a.weight": torch.full((2, 2), torch.nan)}
    with pytest.raises(PruningError, match="histograms need finite weights"):
        plot_weight_histograms([Ticket(0, masks, weights, weights)])
