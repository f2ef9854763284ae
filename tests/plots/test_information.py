"""The figure of mutual information."""

import numpy as np

from lthprune.analysis import Information, LevelInformation, default_pairs
from lthprune.plots.information import plot_information

PAIRS = default_pairs(["dense1", "dense2", "output"])


def levels(pairs: list[tuple[str, str]], number: int = 4, step: int | None = None) -> list[LevelInformation]:
    return [
        LevelInformation(
            level,
            0.8**level,
            step,
            {
                pair: tuple(
                    Information(level + place + other, level + place + 0.5, 10 * level + place + other)
                    for other in (-0.25, 0.5, -0.25)
                )
                for place, pair in enumerate(pairs)
            },
        )
        for level in range(number)
    ]


def test_the_plane_shows_each_layers_information_about_inputs_and_labels_by_both_estimates() -> None:
    figure = plot_information(levels(PAIRS), "title")
    plane, other, *_ = figure.axes
    for axes, factor in ((plane, 1), (other, 10)):
        paths = [line for line in axes.get_lines() if len(line.get_xdata()) == 4]
        for line, layer in zip(paths, ("dense1", "dense2", "output"), strict=True):
            x, y = (PAIRS.index(pair) for pair in (("input", layer), (layer, "labels")))
            np.testing.assert_array_equal(line.get_xdata(), factor * np.arange(4) + x)
            np.testing.assert_array_equal(line.get_ydata(), factor * np.arange(4) + y)
    assert [text.get_text() for text in plane.get_legend().get_texts()] == ["dense1", "dense2", "output"]


def test_below_are_the_pairs_of_layers_level_by_level() -> None:
    *_, lower, _ = plot_information(levels(PAIRS)).axes
    assert [line.get_label() for line in lower.get_lines()] == ["dense1 and dense2", "dense2 and output"]
    assert [tick.get_text() for tick in lower.get_xticklabels()] == ["100%", "80%", "64%", "51.2%"]


def test_means_have_the_range_of_the_trials() -> None:
    figure = plot_information(levels(PAIRS))
    plane, _, lower, _ = figure.axes
    (spread, _) = lower.collections
    place = PAIRS.index(("dense1", "dense2"))
    np.testing.assert_allclose(spread.get_segments()[2], [(2, place + 1.75), (2, place + 2.5)])
    across, upright, _ = plane.collections[:3]
    x, y = (PAIRS.index(pair) for pair in (("input", "dense1"), ("dense1", "labels")))
    np.testing.assert_allclose(across.get_segments()[1], [(x + 0.75, y + 1), (x + 1.5, y + 1)])
    np.testing.assert_allclose(upright.get_segments()[1], [(x + 1, y + 0.75), (x + 1, y + 1.5)])
    assert figure.get_supxlabel() == "means over 3 trials; thin lines: minimum to maximum"


def test_a_pair_that_was_not_estimated_at_a_level_leaves_a_gap() -> None:
    found = [*levels(PAIRS, 2), *levels(PAIRS[:1], 1)]
    *_, lower, _ = plot_information(found).axes
    assert np.isnan(lower.get_lines()[0].get_ydata()).tolist() == [False, False, True]


def test_pairs_without_a_plane_have_two_panels_and_steps_are_named() -> None:
    figure = plot_information([*levels([("dense1", "labels")], 1, step=1000), *levels([("dense1", "labels")], 1)])
    axes, _ = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1,000", "100%"]
    assert axes.get_xlabel() == "step, or density after the training"
