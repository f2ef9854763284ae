import shutil
from pathlib import Path

import pytest

from lthprune.experiment import run_recipe
from lthprune.plots import FIGURES
from lthprune.runs import Run
from lthprune.summary import smallest_winning, summarise
from tests.cli.conftest import Cli
from tests.tiny import tiny


def test_runs_says_how_far_each_run_got(finished: Run, cli: Cli) -> None:
    for name in ("whole", "begun", "damaged", "a-recipe-with-a-name-as-long-as-names-get-20261120-0352-7f3a"):
        shutil.copytree(finished.folder, Path("runs") / name)
    manifest = Path("runs/begun/manifest.json")
    text = manifest.read_text()
    manifest.write_text(text[: text.index('"finished"')] + '"finished": []}')
    Path("runs/damaged/manifest.json").write_text("{")
    result = cli("runs")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    lines = {word: line for line in result.out.splitlines() for word in ("whole", "begun", "damaged") if word in line}
    assert all(word in lines["whole"] for word in ("imp", "2", "3 of 3", "finished"))
    assert all(word in lines["begun"] for word in ("imp", "0 of 3", "resumable"))
    assert "damaged" in lines["damaged"].split("│")[5]


@pytest.mark.parametrize("there", [True, False])
def test_runs_says_that_there_are_none(there: bool, cli: Cli) -> None:
    if there:
        Path("elsewhere").mkdir()
    result = cli("runs", "--out", "elsewhere")
    assert (result.code, result.out) == (0, "There are no runs in elsewhere.\n")


def test_summary_shows_every_level_and_marks_the_smallest_winning_ticket(finished: Run, cli: Cli) -> None:
    result = cli("summary", finished.folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    levels = summarise(finished)
    winner = smallest_winning(levels)
    rows = [line.split() for line in result.out.splitlines() if line.strip()[:1].isdigit()]
    assert len(rows) == 3
    for level, row in zip(levels, rows, strict=True):
        accuracies = []
        for spread in (level.val_acc, level.test_acc):
            low, high = (f"{100 * end:.1f}" for end in (spread.low, spread.high))
            accuracies += [f"{100 * spread.mean:.2f}", f"({low}-{high})"]
        mark = ["*"] if level is winner else []
        counts = [f"{level.density:.2%}", f"{level.left:,}"]
        assert row == [str(level.level), *mark, *counts, *accuracies, f"{level.early_stop.mean:,.0f}"]
    words = "chosen on validation accuracy" if winner else "No pruned level reaches the dense network's"
    assert words in " ".join(result.out.split())


def test_summary_of_a_network_with_millions_of_weights_fits_into_80_columns(tmp_path: Path, cli: Cli) -> None:
    recipe = tiny("model.dense=[2800, 400]", "train.steps=2", "prune.levels=10", "prune.rate=0.01", "run.trials=1")
    result = cli("summary", run_recipe(recipe.model_copy(), "big", out=tmp_path).folder)
    assert (result.code, result.narrow) == (0, True)
    assert "1,303,200" in result.out


def test_summary_of_a_run_without_a_finished_level_says_so(finished: Run, cli: Cli) -> None:
    folder = Path(shutil.copytree(finished.folder, "begun"))
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text[: text.index('"finished"')] + '"finished": []}')
    (folder / "histories.npz").unlink()
    result = cli("summary", folder)
    assert (result.code, result.out, result.err) == (0, "No level of begun is finished yet.\n", "")


def test_plot_draws_every_figure_and_names_the_files(finished: Run, cli: Cli) -> None:
    folder = Path(shutil.copytree(finished.folder, "copy"))
    result = cli("plot", folder)
    assert (result.code, result.err) == (0, "")
    paths = [Path(line) for line in result.out.splitlines()]
    assert {path.name for path in paths} == {f"{name}.{end}" for name in FIGURES for end in ("png", "svg")}
    assert all(path.is_file() for path in paths)
