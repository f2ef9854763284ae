"""The figures of stability."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from lthprune.analysis import STABLE, LinearPath, Pair, Stability
from lthprune.plots import plot_interpolation, plot_stability

STEPS = (0, 50, 100, 200, 400, 800, 1600, 3200)


def stability(level: int, steps: tuple[int, ...] = STEPS, trials: int = 3) -> Stability:
    """Networks whose barriers fall with the step, on training data to half of those on test data."""

    def pair(step: int, trial: int) -> Pair:
        height = (0.5 + 0.05 * trial) / (1 + step / 100)
        at = np.linspace(0, 1, 5)
        bump = 4 * at * (1 - at) * height
        return Pair(trial, (0, 1), LinearPath(at, {"test": 0.1 + bump, "train": 0.05 + bump / 2}, {}), 1.0, 60.0)

    pairs = tuple(tuple(pair(step, trial) for trial in range(trials)) for step in steps)
    return Stability(level, 0.8**level, steps, pairs)


def lines(figure: Figure, panel: int) -> dict[str, object]:
    return {str(line.get_label()): line for line in figure.axes[panel].get_lines()}


def test_barriers_on_training_and_test_data_are_means_with_bands_over_the_pairs() -> None:
    each = [stability(0), stability(3), stability(7, STEPS[2:])]
    figure = plot_stability(each, "a run")
    assert [axes.get_title() for axes in figure.axes] == ["training data", "test data"]
    for panel, data in enumerate(("train", "test")):
        drawn = lines(figure, panel)
        assert list(drawn) == ["100 % (dense)", "51.2 % (level 3)", "21 % (level 7)", "stable below 2 points"]
        for line, own in zip(list(drawn.values())[:3], each, strict=True):
            assert list(line.get_xdata()) == list(own.steps)
            np.testing.assert_allclose(line.get_ydata(), 100 * own.mean_barriers(data))
        assert [line.get_linestyle() for line in drawn.values()] == ["--", "-", "-", ":"]
        assert set(drawn["stable below 2 points"].get_ydata()) == {100 * STABLE}
        assert len([own for own in figure.axes[panel].collections if isinstance(own, PolyCollection)]) == 3
        assert figure.axes[panel].get_xscale() == "symlog"


def test_errors_between_copies_are_means_over_the_pairs_in_a_panel_for_each_level() -> None:
    each = [stability(level) for level in (0, 2, 4, 6)]
    figure = plot_interpolation(each)
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles == ["100 % (dense)", "64 % (level 2)", "41 % (level 4)", "26.2 % (level 6)"]
    drawn = lines(figure, 0)
    assert [name for name in drawn if not name.startswith("_")] == [
        f"k = {step:,}" for step in (0, 50, 200, 400, 1600, 3200)
    ]
    line = drawn["k = 50"]
    errors = np.mean([pair.path.errors["test"] for pair in each[0].pairs[1]], axis=0)
    np.testing.assert_allclose(line.get_ydata(), 100 * errors)
    assert list(line.get_xdata()) == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("steps", [(0,), (100,), (0, 100)])
def test_a_single_step_pair_or_level_is_drawn_too(steps: tuple[int, ...]) -> None:
    for figure in (plot_stability([stability(2, steps, 1)]), plot_interpolation([stability(2, steps, 1)])):
        figure.canvas.draw()
    assert not [own for own in plot_stability([stability(2, steps, 1)]).axes[0].collections if len(own.get_paths())]
