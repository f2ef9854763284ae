from dataclasses import replace

import numpy as np
import pytest

from lthprune import PruningError
from lthprune.analysis import ticket_states
from lthprune.analysis.level_states import TicketStates
from lthprune.plots.inputs import plot_inputs
from tests.drawn import INPUTS, search


def levels_of(form: str = "dense", levels: int = 5) -> list[TicketStates]:
    return list(ticket_states(*search(form, levels=levels), INPUTS))


def test_a_panel_for_each_level_counts_the_weights_that_leave_every_pixel() -> None:
    levels = levels_of()
    figure = plot_inputs(levels, [(1, 4, 4)], "a title")
    panels = [axes for axes in figure.axes if axes.get_title()]
    ranges = set()
    for axes, level in zip(panels, levels, strict=True):
        none, read = axes.get_images()
        (counts,) = level.fan_out.values()
        title = f"level {level.level}: {100 * level.density:.3g} %\nmean {counts.mean():.3g}"
        assert axes.get_title() == title
        relative = (counts / counts.mean()).reshape(4, 4)
        np.testing.assert_allclose(read.get_array().filled(0), relative)
        np.testing.assert_array_equal(none.get_array().filled(0) == 1, relative == 0)  # grey where nothing reads
        ranges.add(read.get_clim())
    ((low, high),) = ranges
    assert low == 0
    assert high == max((own / own.mean()).max() for each in levels for own in each.fan_out.values())
    labels = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert labels == ["weights that read the pixel, relative to the level's mean (grey: none)"]


def test_channels_are_added_up_and_joined_images_stand_side_by_side() -> None:
    (level, *_) = levels_of()
    levels = [replace(level, fan_out={"x": np.arange(1, 17)})]
    (_, image) = plot_inputs(levels, [(2, 2, 2), (1, 1, 4), (1, 2, 2)]).axes[0].get_images()
    np.testing.assert_allclose(
        image.get_array().filled(np.nan) * np.arange(1, 17).mean(),
        [[1 + 5, 2 + 6, 9, 10, 11, 12, 13, 14], [3 + 7, 4 + 8, *[np.nan] * 4, 15, 16]],
    )


def test_of_many_levels_twelve_are_shown_the_first_and_the_last_among_them() -> None:
    (level, *_) = levels_of(levels=1)
    levels = [replace(level, level=number) for number in range(30)]
    titles = [axes.get_title() for axes in plot_inputs(levels, [(1, 4, 4)]).axes if axes.get_title()]
    assert len(titles) == 12
    assert (titles[0], titles[-1]) == ("level 0: 100 %\nmean 6", "level 29: 100 %\nmean 6")


@pytest.mark.parametrize(
    ("form", "shapes"),
    [("convolutional", [(1, 4, 4)]), ("dense", [(1, 5, 5)]), ("dense", [(16,)]), ("dense", [])],
)
def test_a_network_that_reads_no_such_images_is_refused(form: str, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(PruningError, match="the first layer must be dense and read images"):
        plot_inputs(levels_of(form), shapes)
