from dataclasses import replace

import numpy as np
from matplotlib.colors import to_rgba

from lthprune.analysis import NeuronState, bias_statistics, ticket_states
from lthprune.plots.biases import plot_biases
from lthprune.plots.style import COLOURS
from tests.drawn import INPUTS, search


def test_a_panel_for_each_state_shows_medians_bands_and_numbers() -> None:
    levels = list(ticket_states(*search(levels=6), INPUTS))
    statistics = bias_statistics(levels)
    occurring = [state for state in NeuronState if statistics.left[:, state].any()]
    assert len(occurring) > 2
    figure = plot_biases(levels, "a title")
    above, below = figure.axes[: len(occurring)], figure.axes[len(occurring) :]
    assert [axes.get_title() for axes in above] == [state.name.lower() for state in occurring]
    for upper, lower, state in zip(above, below, occurring, strict=True):
        median = upper.get_lines()[0].get_ydata()
        np.testing.assert_array_equal(median, statistics.quantiles[:, state, 2])
        for band, (low, high) in zip(upper.containers, ((0, 4), (1, 3)), strict=True):
            bottoms = [bar.get_y() for bar in band]
            tops = [bar.get_y() + bar.get_height() for bar in band]
            np.testing.assert_allclose(bottoms, statistics.quantiles[:, state, low])
            np.testing.assert_allclose(tops, statistics.quantiles[:, state, high])
            bottom, top = upper.get_ylim()
            assert bottom < np.nanmin(bottoms)
            assert top > np.nanmax(tops)
        (bars,) = lower.containers
        assert [bar.get_height() for bar in bars] == statistics.left[:, state].tolist()
        assert to_rgba(bars[0].get_facecolor()) == to_rgba(COLOURS[state])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["median", "middle half", "nine tenths of the biases"]
    shades = [patch.get_alpha() for patch in legend.get_patches()]
    assert shades == [band[0].get_alpha() for band in reversed(above[0].containers)]


def test_a_network_whose_biases_are_all_pruned_has_an_empty_figure() -> None:
    (level, *_) = ticket_states(*search(levels=1), INPUTS)
    gone = {name: replace(bias, unpruned=np.zeros_like(bias.unpruned)) for name, bias in level.biases.items()}
    figure = plot_biases([replace(level, biases=gone)])
    assert not any(axes.containers for axes in figure.axes)
