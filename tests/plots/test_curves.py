from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from lthprune.plots.curves import (
    Series,
    plot_accuracy_at_early_stop,
    plot_accuracy_over_steps,
    plot_early_stop_steps,
)
from lthprune.plots.style import FULL_WIDTH, ONE_COLUMN
from lthprune.training.histories import Histories

STEPS = [10, 20, 30, 40]


def histories(trials: int = 3, levels: int = 4, finished: int | None = None) -> Histories:
    """Made-up curves of a run of which some levels are finished."""
    made = Histories.empty(trials, levels, STEPS)
    generator = np.random.default_rng(0)
    finished = levels + 1 if finished is None else finished
    for curve in made.curves.values():
        curve[:, :finished] = generator.random((trials, finished, len(STEPS)))
    made.density[:finished] = 0.8 ** np.arange(finished)
    return made


def drawn(figure: Figure) -> dict[str, np.ndarray]:
    """The labelled lines of a figure: their heights."""
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in figure.axes[0].get_lines()}
    return {label: values for label, values in lines.items() if not label.startswith("_")}


def legend(figure: Figure) -> list[str]:
    (found,) = [*figure.legends, *([own] if (own := figure.axes[0].get_legend()) else [])]
    return [text.get_text() for text in found.get_texts()]


@pytest.mark.parametrize("curve", ["test_acc", "val_acc"])
def test_accuracy_over_steps_shows_the_trials_mean_for_each_density_and_the_dense_network_dashed(curve: str) -> None:
    made = histories()
    figure = plot_accuracy_over_steps(made, "a title", curve)
    lines = drawn(figure)
    assert list(lines) == ["100 % (dense)", "80 %", "64 %", "51.2 %", "41 %"]
    assert legend(figure) == [*lines, "minimum to maximum\nof 3 trials; lines: means"]
    for level, label in enumerate(lines):
        np.testing.assert_allclose(lines[label], made.curves[curve][:, level].mean(axis=0))
    styles = {line.get_label(): line.get_linestyle() for line in figure.axes[0].get_lines()}
    assert [label for label, style in styles.items() if style == "--"] == ["100 % (dense)"]
    assert figure.axes[0].get_title() == "a title"
    assert "accuracy" in figure.axes[0].get_ylabel()
    bands = [band for band in figure.axes[0].collections if isinstance(band, PolyCollection)]
    assert len(bands) == 5
    for level, band in enumerate(bands):
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(made.curves[curve][:, level].min(axis=0).min())
        assert heights.max() == pytest.approx(made.curves[curve][:, level].max(axis=0).max())


@pytest.mark.parametrize(("levels", "shown"), [(0, 0), (1, 1), (6, 6), (7, 6), (40, 6)])
def test_no_more_levels_are_drawn_than_can_be_told_apart(levels: int, shown: int) -> None:
    lines = drawn(plot_accuracy_over_steps(histories(levels=levels)))
    assert len(lines) == shown + 1
    if shown:
        assert f"{100 * 0.8**levels:.3g} %" in lines


def test_curves_that_begin_near_zero_leave_no_half_of_the_axis_empty() -> None:
    made = histories()
    made.curves["test_acc"][:] = np.array([0.1, 0.93, 0.95, 0.96]) + 0.01 * np.arange(5)[:, None] / 5
    low, high = plot_accuracy_over_steps(made).axes[0].get_ylim()
    ends = made.curves["test_acc"][..., -1]
    assert 0.5 < low < 0.93
    assert ends.max() < high
    assert ends.max() - ends.min() > 0.02 * (high - low)


def test_the_winner_is_drawn_and_named_wherever_densities_are_shown() -> None:
    made = histories(levels=40)
    density = f"{100 * 0.8**11:.3g} %"
    assert density not in drawn(plot_accuracy_over_steps(made))
    assert f"{density} (winner)" in legend(plot_accuracy_over_steps(made, winner=11))
    for plot in (plot_accuracy_at_early_stop, plot_early_stop_steps):
        assert not [label for label in legend(plot(made)) if "winner" in label]
        figure = plot(made, winner=11)
        label = f"smallest winner ({density})"
        assert label in legend(figure)
        np.testing.assert_allclose(
            [line.get_xdata() for line in figure.axes[0].get_lines() if line.get_label() == label], 100 * 0.8**11
        )


@pytest.mark.parametrize("plot", [plot_accuracy_at_early_stop, plot_early_stop_steps])
def test_the_legend_lies_within_the_figure(plot) -> None:
    made = histories(levels=20)
    made.curves["val_loss"][..., -1] = -1
    figure = plot([Series("tickets", made), Series("reinitialised", made, dotted=True)], winner=16)
    figure.draw_without_rendering()
    (shown,) = figure.legends
    extent = shown.get_window_extent()
    assert figure.bbox.x0 <= extent.x0 < extent.x1 <= figure.bbox.x1


@pytest.mark.parametrize("best", [0, 1, 3])
def test_the_last_step_of_training_is_shown_where_early_stopping_came_near(best: int) -> None:
    made = histories()
    made.curves["val_loss"][:] = 1 + abs(np.arange(4) - best)
    figure = plot_early_stop_steps(made)
    cap = [line.get_ydata()[0] for line in figure.axes[0].get_lines() if "last step" in str(line.get_label())]
    assert cap == ([40] if best == 3 else [])
    assert figure.axes[0].get_ylim()[1] == pytest.approx(1.06 * STEPS[best])


def test_further_series_have_the_colours_of_the_first_and_are_dotted_where_they_say_so() -> None:
    run, control = histories(), histories()
    for curve in control.curves.values():
        curve *= 0.5
    series = [Series("ticket", run), Series("reinitialised", control, dotted=True)]
    lines = plot_accuracy_over_steps(series).axes[0].get_lines()
    solid = [line for line in lines if line.get_linestyle() == "-"]
    dotted = [line for line in lines if line.get_linestyle() == ":"]
    assert [line.get_color() for line in solid] == [line.get_color() for line in dotted]
    for level, line in enumerate(dotted, start=1):
        np.testing.assert_allclose(line.get_ydata(), control.curves["test_acc"][:, level].mean(axis=0))
    assert legend(plot_accuracy_over_steps(series))[-2:-1] == ["reinitialised"]
    figure = plot_accuracy_at_early_stop(series)
    labels = ["validation", "validation, reinitialised", "test", "test, reinitialised"]
    assert [container.get_label() for container in figure.axes[0].containers] == labels
    own, other = (figure.axes[0].containers[place].lines[0] for place in (2, 3))
    np.testing.assert_allclose(other.get_ydata(), control.at_early_stop("test_acc").mean(axis=0))
    assert (own.get_color(), other.get_linestyle()) == (other.get_color(), ":")
    assert own.get_marker() != other.get_marker()
    (_, other) = (each.lines[0] for each in plot_early_stop_steps(series).axes[0].containers)
    np.testing.assert_allclose(other.get_ydata(), control.early_stop_steps().mean(axis=0))


def test_bars_and_bands_say_what_they_span_if_there_are_several_trials() -> None:
    for plot in (plot_accuracy_at_early_stop, plot_early_stop_steps):
        (one,), (several,) = plot(histories(trials=1)).legends, plot(histories()).legends
        assert several.get_title().get_text() == "means; bars: minimum to maximum of 3 trials"
        assert not one.get_title().get_text()
    assert not [label for label in legend(plot_accuracy_over_steps(histories(trials=1))) if "minimum" in label]


@pytest.mark.parametrize(
    ("plot", "labels"),
    [
        (plot_accuracy_at_early_stop, {"validation": "val_acc", "test": "test_acc"}),
        (plot_early_stop_steps, {"early-stopping step": ""}),
    ],
)
def test_values_at_early_stopping_are_drawn_over_density_with_their_spread(
    plot: object, labels: dict[str, str]
) -> None:
    assert callable(plot)
    made = histories()
    figure = plot(made, "a title")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    assert [container.get_label() for container in axes.containers] == list(labels)
    for container, name in zip(axes.containers, labels.values(), strict=True):
        values = made.at_early_stop(name) if name else made.early_stop_steps()
        line, _, (bars,) = container.lines
        np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
        np.testing.assert_allclose(line.get_xdata(), 100 * made.density, rtol=0.02)
        ends = np.array([bar[:, 1] for bar in bars.get_segments()])
        np.testing.assert_allclose(ends, np.stack([values.min(axis=0), values.max(axis=0)], axis=1))
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == len(labels)


@pytest.mark.parametrize("plot", [plot_accuracy_over_steps, plot_accuracy_at_early_stop, plot_early_stop_steps])
@pytest.mark.parametrize(
    "case", ["one level", "one trial", "unfinished", "stopped early", "one evaluation", "constant"]
)
def test_every_curve_can_be_drawn_of_any_run(tmp_path: Path, plot: object, case: str) -> None:
    assert callable(plot)
    made = {
        "one level": lambda: histories(levels=0),
        "one trial": lambda: histories(trials=1),
        "unfinished": lambda: histories(finished=2),
    }.get(case, histories)()
    for curve in made.curves.values():
        if case == "stopped early":
            curve[0, 1:, 2:] = np.nan
            curve[:, 2, 1:] = np.nan
        elif case == "one evaluation":
            curve[..., 1:] = np.nan
        elif case == "constant":
            curve[:] = 0.1
    figure = plot(made, case)
    figure.savefig(tmp_path / "figure.png")
    image = imread(tmp_path / "figure.png")
    assert image.shape[1] == 200 * (FULL_WIDTH if plot is plot_accuracy_over_steps else ONE_COLUMN)
    assert image[..., :3].std() > 0.01
