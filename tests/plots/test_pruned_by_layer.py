import itertools

import numpy as np

from lthprune.plots.pruned_by_layer import plot_pruned_by_layer
from lthprune.pruning import Count
from tests.drawn import search


def test_lines_show_the_percentage_pruned_of_each_tensor_in_all_and_at_each_level() -> None:
    _, tickets = search(levels=4, scope="global")
    figure = plot_pruned_by_layer([ticket.counts for ticket in tickets], "a title")
    names = list(tickets[0].counts)
    in_all, per_level = figure.axes
    labels = [*(name.removesuffix(".weight") for name in names), "all weights"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == labels
    for place, name in enumerate(names):
        left = np.array([ticket.counts[name].left for ticket in tickets])
        total = tickets[0].counts[name].total
        np.testing.assert_allclose(in_all.get_lines()[place].get_ydata(), 100 * (1 - left / total))
        expected = [
            np.nan,
            *(100 * (before - after) / before if before else np.nan for before, after in itertools.pairwise(left)),
        ]
        np.testing.assert_allclose(per_level.get_lines()[place].get_ydata(), expected)
    np.testing.assert_allclose(in_all.get_lines()[-1].get_ydata(), [100 * ticket.sparsity for ticket in tickets])
    np.testing.assert_allclose(per_level.get_lines()[-1].get_ydata()[1:], 50, atol=2)
    assert in_all.get_lines()[-1].get_linestyle() == "--"
    assert {axes.get_ylabel() for axes in figure.axes} == {"weights (%)"}


def test_of_a_tensor_without_weights_nothing_more_is_pruned() -> None:
    counts = [{"a.weight": Count(left, 4), "b.weight": Count(4, 4)} for left in (4, 0, 0)]
    _, per_level = plot_pruned_by_layer(counts).axes
    np.testing.assert_array_equal(per_level.get_lines()[0].get_ydata(), [np.nan, 100, np.nan])
    np.testing.assert_array_equal(per_level.get_lines()[2].get_ydata(), [np.nan, 50, 0])
