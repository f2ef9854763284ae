import shutil
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.image import imread

from lthprune.errors import StorageError
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.figures import Subject, figures_of, save_figures
from lthprune.experiments.run import Run
from tests.tiny import joined, tiny

SEVERAL_TASKS = ("coverage", "decidedness")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tiny(), "tiny", out=tmp_path_factory.mktemp("runs"))


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_runs_figures_are_saved_as_png_and_svg_and_matplotlibs_settings_stay(run: Run) -> None:
    before = dict(mpl.rcParams)
    paths = save_figures(run)
    assert dict(mpl.rcParams) == before
    applying = [name for name in figures_of(Subject(run)) if name not in SEVERAL_TASKS]
    assert names(paths) == [f"{name}.{end}" for name in applying for end in ("png", "svg")]
    for path in paths:
        assert path.parent == run.folder / "figures"
        begins = path.read_bytes()[:200]
        assert begins.startswith(b"\x89PNG") if path.suffix == ".png" else b"<?xml" in begins
        if path.suffix == ".png":
            assert imread(path)[..., :3].std() > 0.01
    assert save_figures(run) == paths


def every_name(run: Run) -> set[str]:
    return set(figures_of(Subject(run)))


def drawn(run: Run) -> set[str]:
    """The names of the figures that apply to a run, each drawn."""
    figures = {name: plot() for name, plot in figures_of(Subject(run)).items()}
    for figure in figures.values():
        if figure is not None:
            figure.savefig(BytesIO())
    return {name for name, figure in figures.items() if figure is not None}


def test_figures_that_do_not_apply_to_a_run_are_left_out(tmp_path: Path) -> None:
    settings = ("train.steps=2", "prune.rate=0.2", "run.trials=1", "prune.levels=1")
    convolutional = run_recipe(tiny("model.kind=tiny", *settings), "tiny", out=tmp_path)
    assert drawn(convolutional) == every_name(convolutional) - {"inputs", *SEVERAL_TASKS}
    wide = run_recipe(tiny("model.dense=[2000]", *settings), "wide", out=tmp_path)
    assert drawn(wide) == every_name(wide) - {"network", *SEVERAL_TASKS}
    assert not any(path.stem == "network" for path in save_figures(wide))
    toys = run_recipe(joined(*settings), "toys", out=tmp_path)
    assert drawn(toys) == every_name(toys) - {"inputs"}


@pytest.mark.parametrize("name", ["digits", "digits+digits"])
def test_every_figure_of_a_run_with_a_single_level_can_be_drawn(tmp_path: Path, name: str) -> None:
    run = run_recipe(joined("prune.levels=0", "run.trials=1", name=name), "single", out=tmp_path)
    assert drawn(run) == every_name(run) - ({*SEVERAL_TASKS} if name == "digits" else set())


def test_figures_of_an_unfinished_run_and_into_a_blocked_folder_are_refused(run: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("figures")))
    (copy.folder / "figures").touch()
    with pytest.raises(StorageError, match="cannot write into"):
        save_figures(copy)
    manifest = copy.folder / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[: text.index('"finished"')] + '"finished": []}')
    with pytest.raises(StorageError, match="no finished level"):
        save_figures(copy)
