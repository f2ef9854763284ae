import numpy as np
import pytest

from lthprune.plots.steps_needed import plot_steps_needed
from lthprune.training.histories import Histories

STEPS = [10, 20, 30, 40]


@pytest.fixture
def histories() -> Histories:
    """Two trials and three levels, of which two are finished; one trial of level 1 stopped early."""
    made = Histories.empty(2, 2, STEPS)
    for curve in made.curves.values():
        curve[:, :2] = 1.0
        curve[1, 1, 2:] = np.nan
    made.curves["val_loss"][0, 0, 3] = 0.5
    made.curves["val_loss"][1, :2, 1] = 0.5
    made.density[:2] = [1.0, 0.8]
    return made


def test_bars_show_the_early_stopping_step_and_the_last_step_trained_at_each_finished_level(histories) -> None:
    figure = plot_steps_needed(histories, "a title")
    (axes,) = figure.axes
    pale, lines, dark, dark_lines = axes.containers
    assert [bar.get_height() for bar in pale] == [40, (40 + 20) / 2]
    assert [bar.get_height() for bar in dark] == [(40 + 20) / 2, (10 + 20) / 2]
    for container, spread in ((lines, [(40, 40), (20, 40)]), (dark_lines, [(20, 40), (10, 20)])):
        (_, _, (segments,)) = container.lines
        np.testing.assert_allclose([segment[:, 1] for segment in segments.get_segments()], spread)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0\n0", "1\n20"]
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "means; lines: minimum to maximum of 2 trials"
    labels = {text.get_text() for text in legend.get_texts()}
    assert labels == {"early-stopping step", "last step trained", "last step of training (40)"}


def test_a_second_axis_counts_epochs(histories) -> None:
    (axes,) = plot_steps_needed(histories, per_epoch=20).axes
    (epochs,) = axes.child_axes
    low, high = axes.get_ylim()
    axes.figure.draw_without_rendering()
    assert epochs.get_ylim() == (low / 20, high / 20)
    assert epochs.get_ylabel() == "epochs"


def test_one_trial_has_no_range(histories) -> None:
    one = Histories({name: curve[:1] for name, curve in histories.curves.items()}, histories.density, histories.steps)
    figure = plot_steps_needed(one)
    assert len(figure.axes[0].containers) == 2
    assert not figure.legends[0].get_title().get_text()
