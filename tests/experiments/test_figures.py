import json
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from lthprune.errors import PruningError, StorageError
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.figures import ENDINGS, FIGURES
from lthprune.experiments.run import Run
from lthprune.experiments.summary import smallest_winning
from tests.tiny import environment, joined, tiny

OF_TRIALS = ("accuracy-over-steps", "accuracy-at-early-stop", "early-stop-steps", "steps-needed")
SEVERAL_TASKS = ("coverage", "decidedness", "separation")
MEASURED_LATER = ("controls", "stability", "interpolation", "information")  # by commands of their own
NAMES = tuple(name for name in FIGURES if name not in MEASURED_LATER)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tiny(), "tiny", out=tmp_path_factory.mktemp("runs"))


def drawn(run: Run) -> set[str]:
    """The names of the figures that apply to a run, each drawn."""
    names = set()
    for name in NAMES:
        try:
            run.plot(name).savefig(BytesIO())
        except PruningError as error:
            assert str(error).startswith(("the figure ", "figures of splitting"))  # noqa: PT017
        else:
            names.add(name)
    return names


def test_a_runs_figures_are_saved_as_png_svg_and_pdf_and_matplotlibs_settings_stay(run: Run) -> None:
    before = dict(mpl.rcParams)
    paths = run.save_figures()
    assert dict(mpl.rcParams) == before
    applying = [name for name in NAMES if name not in SEVERAL_TASKS]
    assert [path.name for path in paths] == [f"{name}.{end}" for name in applying for end in ENDINGS]
    for path in paths:
        assert path.parent == run.folder / "figures"
        begins = path.read_bytes()[:200]
        assert begins.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[path.suffix])
        if path.suffix == ".png":
            assert imread(path)[..., :3].std() > 0.01


def test_figures_are_saved_of_another_trial_and_level_into_a_folder_of_ones_own(run: Run, tmp_path: Path) -> None:
    paths = run.save_figures(trial=1, level=0, out=tmp_path)
    assert {path.parent for path in paths} == {tmp_path}
    own, others = (run.plot("states", trial=trial) for trial in (1, 0))
    assert (own.get_suptitle(), others.get_suptitle()) == ("tiny: IMP, trial 1", "tiny: IMP, trial 0")


def test_figures_of_one_level_show_the_last_one_or_the_one_that_is_asked_for(run: Run) -> None:
    for level, shown in ((None, 2), (1, 1)):
        for name in ("network", "weights"):
            ticket = run.tickets.ticket(shown, trial=1)
            figure = run.plot(name, trial=1, level=level)
            title = figure.get_suptitle() or figure.axes[0].get_title()
            assert title.startswith(f"tiny: IMP, trial 1, level {shown} ({100 * ticket.density:.3g} %)")
        titles = [axes.get_title() for axes in figure.axes if ":" in axes.get_title()]
        assert [title.rpartition(", ")[2] for title in titles] == [
            f"{own.left:,} weights left" for own in ticket.counts.values()
        ]


def test_a_level_or_a_trial_that_does_not_exist_is_refused_before_anything_is_drawn(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"level 3 of .* is not finished; levels 0 to 2 are"):
        run.save_figures(level=3, out=tmp_path)
    with pytest.raises(StorageError, match=r"has trials 0-1; there is no trial 2"):
        run.save_figures(trial=2, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_figure_is_drawn_by_its_name_and_accuracies_by_default(run: Run) -> None:
    assert isinstance(run.plot("lifetimes"), Figure)
    (axes,) = run.plot().axes
    assert axes.get_ylabel() == "accuracy at early stopping (%)"
    assert axes.get_title() == "tiny: IMP, 2 trials"


def test_the_smallest_winning_ticket_is_marked(run: Run) -> None:
    winner = smallest_winning(run.summary())
    for name in OF_TRIALS[:3]:
        texts = [text.get_text() for text in run.plot(name).findobj(Text)]
        assert any("winn" in text and "%" in text for text in texts) == (winner is not None)
        if winner:
            assert any(f"{100 * winner.density:.3g} %" in text for text in texts if "winn" in text)


def test_an_unknown_figure_is_refused_with_the_nearest_name_and_all_others(run: Run) -> None:
    with pytest.raises(PruningError, match="unknown figure 'lifetime'; did you mean 'lifetimes'") as caught:
        run.plot("lifetime")
    assert all(name in str(caught.value) for name in FIGURES)


def test_the_description_of_plot_names_every_figure() -> None:
    assert [name for name in FIGURES if f"``{name}``" not in str(Run.plot.__doc__)] == []


@pytest.mark.parametrize("name", SEVERAL_TASKS)
def test_a_figure_that_does_not_apply_is_refused_with_the_reason(run: Run, name: str) -> None:
    with pytest.raises(PruningError, match="need data of several tasks"):
        run.plot(name)


def test_figures_that_do_not_apply_to_a_run_are_left_out(tmp_path: Path) -> None:
    settings = ("train.steps=2", "prune.rate=0.2", "run.trials=1", "prune.levels=1")
    convolutional = run_recipe(tiny("model.kind=tiny", *settings), "tiny", out=tmp_path)
    assert drawn(convolutional) == set(NAMES) - {"inputs", *SEVERAL_TASKS}
    wide = run_recipe(tiny("model.dense=[2000]", *settings), "wide", out=tmp_path)
    assert drawn(wide) == set(NAMES) - {"network", *SEVERAL_TASKS}
    toys = run_recipe(joined(*settings), "toys", out=tmp_path)
    assert drawn(toys) == set(NAMES) - {"inputs"}


@pytest.mark.parametrize("name", ["digits", "digits+digits"])
def test_every_figure_of_a_run_with_a_single_level_can_be_drawn(tmp_path: Path, name: str) -> None:
    run = run_recipe(joined("prune.levels=0", "run.trials=1", name=name), "single", out=tmp_path)
    assert drawn(run) == set(NAMES) - ({*SEVERAL_TASKS} if name == "digits" else set())


def test_figures_of_an_unfinished_run_and_into_a_blocked_folder_are_refused(run: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("figures")))
    (copy.folder / "figures").touch()
    with pytest.raises(StorageError, match=r"cannot write .*/figures is a file"):
        copy.save_figures()
    manifest = copy.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"finished": []}))
    for refused in (copy.save_figures, copy.plot):
        with pytest.raises(StorageError, match=r"no level of .* is finished yet"):
            refused()


def test_a_figure_of_accuracies_needs_no_ticket(run: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(run.folder, tmp_path / "copy"))
    for ticket in copy.folder.glob("trial-*/level-*"):
        ticket.unlink()
    for name in OF_TRIALS:
        assert isinstance(copy.plot(name), Figure)
    with pytest.raises(StorageError, match="is missing, though the manifest names it"):
        copy.plot("states")


def test_only_plotting_imports_matplotlib(run: Run) -> None:
    code = (
        "import sys, lthprune\n"
        f"run = lthprune.Run({str(run.folder)!r})\n"
        "run.summary(), run.structure(), run.to_frame(), repr(run)\n"
        "print('matplotlib' in sys.modules)\n"
        "run.plot()\n"
        "print('matplotlib' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.split() == ["False", "True"]
