"""The figure of tickets beside their controls."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from lthprune.errors import PruningError
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.run import Run
from lthprune.plots.controls import plot_controls
from lthprune.plots.curves import Series
from tests.tiny import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = run_recipe(tiny(), "tiny", out=tmp_path_factory.mktemp("runs"))
    for kind, repeat in (("shuffled", 0), ("reinitialised", 0), ("reinitialised", 1), ("small-dense", 0)):
        run_control(run, kind, repeat)
    return run


def test_tickets_are_solid_and_controls_dotted_means_over_trials_and_repetitions(run: Run) -> None:
    left, right = run.plot("controls").axes
    densities = 100 * run.histories().density
    repeats = [run.controls()["reinitialised", repeat].histories() for repeat in (0, 1)]
    accuracy = np.concatenate([each.at_early_stop("test_acc") for each in repeats])
    steps = np.concatenate([each.early_stop_steps() for each in repeats])
    for axes, values in ((left, accuracy), (right, steps)):
        lines = {str(line.get_label()).lstrip("_"): line for line in axes.get_lines()}
        assert list(lines) == ["tickets", "reinitialised", "shuffled", "small-dense"]
        assert [line.get_linestyle() for line in lines.values()] == ["-", ":", ":", ":"]
        assert len({(line.get_color(), line.get_marker()) for line in lines.values()}) == 4
        np.testing.assert_allclose(lines["reinitialised"].get_ydata(), values.mean(axis=0))
        assert all(np.allclose(line.get_xdata(), densities) for line in lines.values())  # small-dense, too


def test_figures_of_curves_show_random_reinitialisation_dotted_in_the_colours_of_the_run(run: Run) -> None:
    (axes,) = run.plot("accuracy-over-steps").axes
    solid = {line.get_color() for line in axes.get_lines() if line.get_linestyle() == "-"}
    dotted = {line.get_color() for line in axes.get_lines() if line.get_linestyle() == ":"}
    assert solid == dotted
    legend = axes.get_legend()
    assert legend is not None
    assert {"tickets", "reinitialised"} <= {text.get_text() for text in legend.get_texts()}


def test_a_run_without_controls_has_no_such_figure(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    with pytest.raises(PruningError, match=r"needs controls; train some: lthprune control RUN --kind all"):
        run.plot("controls")


@pytest.mark.parametrize(("controls", "bands"), [(1, 2), (3, 4), (4, 1)])
def test_few_controls_have_bands_and_many_do_not(controls: int, bands: int, run: Run) -> None:
    dotted = [Series(f"control {place}", run.histories(), dotted=True) for place in range(controls)]
    for axes in plot_controls([Series("tickets", run.histories()), *dotted]).axes:
        assert len([each for each in axes.collections if isinstance(each, PolyCollection)]) == bands
