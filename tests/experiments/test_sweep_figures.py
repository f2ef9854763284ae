from pathlib import Path

import pytest

from lthprune.errors import PruningError
from lthprune.experiments.sweep import Sweep, begin_sweep, run_sweep
from lthprune.experiments.sweep_figures import SWEEP_FIGURES, plot_sweep, save_sweep_figures
from lthprune.experiments.sweep_summary import summarise_sweep
from tests.own_parts import separated_sweep
from tests.tiny import SETTINGS

SHORT = [setting for setting in SETTINGS if "trials" not in setting]
TOYS = ("train.steps=4", "data.validation=200", "prune.levels=6", "prune.target=8", "prune.min_survivors=1")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A finished sweep whose networks separate; not to be changed."""
    return separated_sweep(tmp_path_factory.mktemp("toys"))


def test_all_figures_of_a_sweep_are_saved_in_its_folder_or_another(toys: Sweep, tmp_path: Path) -> None:
    paths = save_sweep_figures(toys)
    assert [path.name for path in paths] == [f"{name}.{end}" for name in SWEEP_FIGURES for end in ("png", "svg", "pdf")]
    assert {path.parent for path in paths} == {toys.folder / "figures"}
    assert {path.parent for path in save_sweep_figures(toys, out=tmp_path)} == {tmp_path}
    assert all(path.stat().st_size > 1000 for path in paths)


def test_the_figures_show_what_the_summary_counts(toys: Sweep) -> None:
    rows = summarise_sweep(toys)
    (axes,) = plot_sweep(toys, "outcomes").axes
    drawn = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert drawn == {end: [row.outcomes[end] for row in rows] for end in drawn}  # type: ignore[index]
    assert {end: counts for end, counts in drawn.items() if any(counts)} == {
        "separated": [0, 2, 0],
        "separated then degraded": [0, 0, 2],
        "interconnected": [2, 0, 0],
    }
    assert axes.get_title() == toys.name
    assert [label.get_text() for label in axes.get_xticklabels()] == ["[30, 25]", "[19, 18]", "[19, 16]"]
    (axes,) = plot_sweep(toys, "active-weights").axes
    assert [line.get_ydata().tolist() for line in axes.lines[:-1]] == [[17, 17], [17, 17]]  # type: ignore[union-attr]
    assert [round(line.get_xdata()[0]) for line in axes.lines[:-1]] == [19, 19]  # type: ignore[index]
    (axes,) = plot_sweep(toys, "accuracy-of-cells").axes
    for line, row in zip(axes.lines, rows, strict=True):
        assert list(line.get_xdata()) == [level.left for level in row.levels]
        assert list(line.get_ydata()) == [100 * level.test_acc.mean for level in row.levels]


def test_a_sweep_over_one_task_has_accuracies_alone_and_the_others_are_refused(tmp_path: Path) -> None:
    axes = {"prune.densities": [[0.5, 0.25], [0.375, 0.125]], "run.seed": [0]}
    sweep = run_sweep(begin_sweep("lenet-digits", axes, SHORT, out=tmp_path))
    assert {path.stem for path in save_sweep_figures(sweep)} == {"accuracy-of-cells"}
    figure = plot_sweep(sweep, "accuracy-of-cells")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1", "2"]  # the values are long
    with pytest.raises(PruningError, match="need data of several tasks"):
        plot_sweep(sweep)
    with pytest.raises(PruningError, match="unknown figure 'outcome'; did you mean 'outcomes'"):
        plot_sweep(sweep, "outcome")


def test_a_sweep_that_has_not_begun_has_nothing_to_draw(tmp_path: Path) -> None:
    sweep = begin_sweep("moons-circles", {"model.hidden": [4]}, TOYS, out=tmp_path)
    for refused in (lambda: save_sweep_figures(sweep), lambda: plot_sweep(sweep)):
        with pytest.raises(PruningError, match="no level of this sweep is finished yet"):
            refused()
    assert not (sweep.folder / "figures").exists()


def test_the_description_of_plot_sweep_names_every_figure() -> None:
    assert [name for name in SWEEP_FIGURES if f"``{name}``" not in str(plot_sweep.__doc__)] == []
