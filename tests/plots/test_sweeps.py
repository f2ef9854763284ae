"""Figures of sweeps: bars and points are the networks that were counted."""

from itertools import pairwise

import pytest
from matplotlib.axes import Axes

from lthprune.plots.sweeps import (
    CellNetworks,
    LevelStatus,
    plot_accuracy_of_cells,
    plot_active_weights,
    plot_outcomes,
    plot_statuses,
)

WHOLE, SPLIT, LOST = (
    [LevelStatus(left, active, status) for left, active, status in levels]
    for levels in (
        [(160, 160, "interconnected"), (112, 110, "interconnected")],
        [(160, 160, "interconnected"), (112, 90, "separated"), (76, 60, "separated")],
        [(160, 120, "separated"), (112, 90, "degraded")],
    )
)
NETWORKS = {"10": [WHOLE, SPLIT, SPLIT, LOST], "13": [WHOLE, WHOLE], "16": [SPLIT]}
CELLS = [CellNetworks(label, networks) for label, networks in NETWORKS.items()]


def labels(axes: Axes, axis: str) -> list[str]:
    return [label.get_text() for label in getattr(axes, f"get_{axis}ticklabels")()]


def test_the_networks_of_a_cell_are_stacked_by_outcome_and_those_that_separate_are_below() -> None:
    figure = plot_outcomes(CELLS, "model.hidden")
    (axes,) = figure.axes
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert heights == {
        "separated": [2, 0, 1],
        "separated then degraded": [1, 0, 0],
        "interconnected": [1, 2, 0],
        "degraded": [0, 0, 0],
    }
    tops = {bars.get_label(): [bar.get_y() + bar.get_height() for bar in bars] for bars in axes.containers}
    assert tops["separated then degraded"] == [3, 0, 1]  # the networks that separate at all
    assert tops["degraded"] == [4, 2, 1]
    assert labels(axes, "x") == ["10", "13", "16"]
    assert axes.get_xlabel() == "model.hidden"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(heights)


def test_active_weights_are_those_of_the_first_separated_level_and_cells_without_one_are_left_out() -> None:
    figure = plot_active_weights(CELLS, "model.hidden")
    (axes,) = figure.axes
    *points, diagonal = axes.lines
    assert [sorted(line.get_ydata()) for line in points] == [[90, 90, 120], [90]]
    assert [list(line.get_xdata()) for line in points] == [
        pytest.approx([112 / 1.02**0.5, 112 / 1.02**0.5, 160]),  # beside the other cell at 112 weights, alone at 160
        pytest.approx([112 * 1.02**0.5]),
    ]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == pytest.approx([112 / 1.3, 160 * 1.3])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["10", "16", "all weights"]
    assert len({line.get_marker() for line in points}) == 2


def test_active_weights_can_be_read_if_all_networks_separate_at_one_number_of_weights() -> None:
    cells = [CellNetworks(str(place), [[LevelStatus(19, 17, "separated")]]) for place in range(2)]
    (axes,) = plot_active_weights(cells).axes
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    shown = [label for label, tick in zip(labels(axes, "y"), axes.get_yticks(), strict=True) if low <= tick <= high]
    assert len(shown) == len(set(shown)) >= 2
    assert (low < 17 < 19 < high, left < 19 / 1.2, right > 19 * 1.2) == (True, True, True)


def test_a_legend_of_many_cells_fits_into_its_figure() -> None:
    cells = [CellNetworks(str(place), [[LevelStatus(19, 17, "separated")]]) for place in range(60)]
    for figure in (
        plot_active_weights(cells, "model.hidden"),
        plot_accuracy_of_cells({cell.label: [(19, 0.9)] for cell in cells}, "model.hidden"),
    ):
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert (box.y0 >= 0, box.y1 <= figure.bbox.height) == (True, True)


def test_bars_of_levels_close_to_each_other_do_not_overlap() -> None:
    counts = (40, 30, 19, 18)
    network = [LevelStatus(left, left, "separated") for left in counts]
    (axes,) = plot_statuses([CellNetworks("10", [network])]).axes
    bars = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches if bar.get_height())
    assert len(bars) == len(counts)
    assert all(before[1] < after[0] for before, after in pairwise(bars))


def test_active_weights_of_networks_that_never_separate_say_so() -> None:
    (axes,) = plot_active_weights(CELLS[1:2]).axes
    assert [text.get_text() for text in axes.texts] == ["no network separates"]


def test_a_row_of_statuses_has_a_bar_for_every_level_at_its_weights_with_shares_of_its_networks() -> None:
    (axes,) = plot_statuses(CELLS, "model.hidden").axes
    shares: dict[tuple[int, int], list[float]] = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        left = next(left for left in (76, 112, 160) if bar.get_x() < left < bar.get_x() + bar.get_width())
        if bar.get_height():
            shares.setdefault((row, left), []).append(round(bar.get_height() / 0.84, 3))
    assert shares[0, 160] == [0.25, 0.75]  # separated, interconnected
    assert shares[0, 112] == [0.5, 0.25, 0.25]  # separated, interconnected, degraded
    assert shares[0, 76] == shares[1, 160] == shares[1, 112] == [1.0]
    assert labels(axes, "y") == ["10", "13", "16"]
    left, right = axes.get_xlim()
    assert left > 160 > 76 > right  # weights fall from left to right, as levels do


def test_every_cell_has_a_line_of_accuracies_over_its_weights() -> None:
    (axes,) = plot_accuracy_of_cells({"10": [(160, 0.99), (112, 0.9)], "13": [(247, 1.0)]}, "model.hidden").axes
    drawn = {line.get_label(): [tuple(each) for each in line.get_xydata()] for line in axes.lines}
    assert drawn == {"10": [(160, 99), (112, 90)], "13": [(247, 100)]}


def test_levels_without_weights_are_left_out_of_logarithmic_axes() -> None:
    (axes,) = plot_accuracy_of_cells({"10": [(160, 0.99), (0, 0.5)]}).axes
    assert axes.lines[0].get_xydata().tolist() == [[160, 99]]
    network = [LevelStatus(160, 160, "interconnected"), LevelStatus(0, 0, "degraded")]
    (axes,) = plot_statuses([CellNetworks("10", [network])]).axes
    assert {bar.get_x() < 160 < bar.get_x() + bar.get_width() for bar in axes.patches} == {True}


def test_labels_of_weights_keep_their_distance() -> None:
    counts = [10_000 - place for place in range(5)] + [100]
    (axes,) = plot_accuracy_of_cells({"a": [(count, 1.0) for count in counts]}).axes
    assert labels(axes, "x") == ["100", "9,996"]
