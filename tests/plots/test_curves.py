from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from lthprune.plots.curves import plot_accuracy_at_early_stop, plot_accuracy_over_steps, plot_early_stop_steps
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


@pytest.mark.parametrize("curve", ["test_acc", "val_acc"])
def test_accuracy_over_steps_shows_the_trials_mean_for_each_density_and_the_dense_network_dashed(curve: str) -> None:
    made = histories()
    figure = plot_accuracy_over_steps(made, "a title", curve)
    lines = drawn(figure)
    assert list(lines) == ["80 %", "64 %", "51.2 %", "41 %", "100 % (dense)"]
    for level, label in enumerate(["100 % (dense)", "80 %", "64 %", "51.2 %", "41 %"]):
        np.testing.assert_allclose(lines[label], made.curves[curve][:, level].mean(axis=0))
    styles = {line.get_label(): line.get_linestyle() for line in figure.axes[0].get_lines()}
    assert [label for label, style in styles.items() if style == "--"] == ["100 % (dense)"]
    assert figure.axes[0].get_title() == "a title"
    assert "accuracy" in figure.axes[0].get_ylabel()
    bands = [band for band in figure.axes[0].collections if isinstance(band, PolyCollection)]
    for level, band in enumerate(bands, start=1):
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(made.curves[curve][:, level].min(axis=0).min())
        assert heights.max() == pytest.approx(made.curves[curve][:, level].max(axis=0).max())


@pytest.mark.parametrize(("levels", "shown"), [(0, 0), (1, 1), (8, 8), (9, 8), (40, 8)])
def test_no_more_levels_are_drawn_than_can_be_told_apart(levels: int, shown: int) -> None:
    lines = drawn(plot_accuracy_over_steps(histories(levels=levels)))
    assert len(lines) == shown + 1
    if shown:
        assert f"{100 * 0.8**levels:.3g} %" in lines


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
    assert image.shape == (630, 1125, 4)
    assert image[..., :3].std() > 0.01
