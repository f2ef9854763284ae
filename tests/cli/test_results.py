import json
import shutil
from pathlib import Path

import pytest
from torch import nn

import lthprune
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.figures import ENDINGS, FIGURES
from lthprune.experiments.run import Run
from lthprune.experiments.summary import LevelSummary, Spread, smallest_winning
from lthprune.experiments.sweep import begin_sweep, run_sweep
from lthprune.training.histories import Histories
from tests.cli.conftest import Cli
from tests.tiny import SETTINGS, joined, tiny, toys


def test_runs_says_how_far_each_run_got(finished: Run, cli: Cli) -> None:
    tickets = lthprune.imp([nn.Linear(4, 2), nn.Linear(4, 2)], lambda models: None, levels=4, store="runs/searched")
    assert len(tickets) == 2
    for name in ("whole", "begun", "damaged", "a-recipe-with-a-name-as-long-as-names-get-20261120-0352-7f3a52c9"):
        shutil.copytree(finished.folder, Path("runs") / name)
    unfinish(Path("runs/begun"), 0)
    Path("runs/damaged/manifest.json").write_text("{")
    result = cli("runs")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    words = ("whole", "begun", "damaged", "searched")
    lines = {word: line.split() for word in words for line in result.out.splitlines() if line.startswith(f"{word} ")}
    levels = finished.summary()
    accuracies = [f"{100 * levels[0].test_acc.mean:.2f}"]
    if winner := smallest_winning(levels):
        accuracies += [f"{100 * winner.test_acc.mean:.2f}", f"{winner.density:.2%}"]
    assert lines["whole"] == ["whole", "imp", "x2", "3", "of", "3", *accuracies, "finished"]
    assert lines["begun"] == ["begun", "imp", "x2", "0", "of", "3", "resumable"]
    assert lines["searched"] == ["searched", "imp", "x2", "5", "of", "5", "store"]
    assert "damaged damaged" in [" ".join(line.split()) for line in result.out.splitlines()]
    words = " ".join(result.out.split())
    assert "A store holds the tickets of imp() or osp(), not of a recipe." in words
    assert "damaged is damaged: " in words
    assert "Levels include the dense one." in words


def test_runs_lists_sweeps_with_their_axes_and_finished_cells(cli: Cli) -> None:
    short = [setting for setting in SETTINGS if "trials" not in setting]
    for place, seeds in enumerate(([0], [1])):
        sweep = begin_sweep("lenet-digits", {"model.hidden": [4, 8], "run.seed": seeds}, short)
        if place == 0:
            run_sweep(sweep)
    result = cli("runs")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert result.out.startswith("There are no runs in runs.\n")
    rows = [line.split() for line in result.out.splitlines() if line.startswith("lenet-digits-")]
    assert [row[1:] for row in rows] == [
        ["model.hidden,", "run.seed", "2", "of", "2", "finished"],
        ["model.hidden,", "run.seed", "0", "of", "2", "resumable"],
    ]
    assert cli("runs", "--out", "sweeps").out.count("lenet-digits-") == 2
    (Path("sweeps") / rows[1][0] / "sweep.toml").write_text("cut")
    assert " damaged" in cli("runs").out
    assert f"{rows[1][0]} is damaged: " in " ".join(cli("runs").out.split())


def begun_at(folder: Path, moment: str) -> None:
    path = folder / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started": moment}))


def test_latest_stands_for_the_newest_run_in_the_folder_runs(finished: Run, cli: Cli) -> None:
    for name, moment in (("b-new", "2026-11-20T03:52:11+00:00"), ("a-old", "2026-11-20T03:52:10+00:00")):
        shutil.copytree(finished.folder, Path("runs") / name)
        begun_at(Path("runs") / name, moment)
    for verb in ("summary", "resume", "plot", "analyze"):
        result = cli(verb, "latest")
        assert (result.code, result.err, "b-new" in result.out, "a-old" in result.out) == (0, "", True, False)
    result = cli("export", "latest")
    assert (result.code, "runs/b-new/exports/" in result.out) == (0, True)


def test_a_folder_called_latest_is_itself_and_without_runs_latest_is_refused(finished: Run, cli: Cli) -> None:
    result = cli("summary", "latest")
    assert result.code == 2
    assert "there is no run in runs, so 'latest' names none" in " ".join(result.err.split())
    shutil.copytree(finished.folder, "latest")
    assert cli("summary", "latest").out.startswith("latest")


@pytest.mark.parametrize("verb", ["summary", pytest.param("plot", marks=pytest.mark.heavy), "analyze"])
def test_several_runs_are_taken_one_after_the_other(verb: str, finished: Run, cli: Cli) -> None:
    folders = [shutil.copytree(finished.folder, Path("runs") / name) for name in ("one", "two")]
    result = cli(verb, *folders)
    assert (result.code, result.err) == (0, "")
    alone = [cli(verb, folder).out for folder in folders]
    assert result.out == "".join(alone)
    assert "one" in alone[0]


def test_plot_draws_nothing_where_one_of_several_folders_is_no_run(finished: Run, cli: Cli) -> None:
    folder = shutil.copytree(finished.folder, "one")
    result = cli("plot", folder, "nowhere")
    assert (result.code, result.out, "nowhere" in result.err) == (2, "", True)
    assert not (Path(folder) / "figures").exists()


@pytest.mark.parametrize("where", ["elsewhere", "runs"])
def test_runs_says_that_there_are_none(where: str, cli: Cli) -> None:
    Path("elsewhere").mkdir()
    result = cli("runs", "--out", where)  # nobody has run anything yet, so that there is no folder runs
    assert (result.code, result.out) == (0, f"There are no runs in {where}.\n")


def test_summary_shows_every_level_and_marks_the_smallest_winning_ticket(finished: Run, cli: Cli) -> None:
    result = cli("summary", finished.folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    levels = finished.summary()
    winner, accurate = smallest_winning(levels), smallest_winning(levels, "accuracy")
    rows = [line.split() for line in result.out.splitlines() if line.strip()[:1].isdigit()]
    assert len(rows) == 3
    for level, row in zip(levels, rows, strict=True):
        accuracies = []
        for spread in (level.val_acc, level.test_acc):
            mean, low, high = (f"{100 * value:.2f}" for value in spread)
            assert float(low) <= float(mean) <= float(high)
            accuracies += [mean, f"({low}-{high})"]
        mark = ["*"] if level is winner else ["+"] if level is accurate else []
        counts = [f"{level.density:.2%}", f"{level.left:,}"]
        assert row == [str(level.level), *mark, *counts, *accuracies, f"{level.early_stop.mean:,.0f}"]
    words = "No pruned level reaches the dense network's mean validation accuracy."
    if winner:
        words = f"* smallest winning ticket: level {winner.level}, {winner.density:.2%} of the weights;"
    elif accurate:
        words = f"+ smallest that is as accurate, but stops later: level {accurate.level}, {accurate.density:.2%}"
    assert words in " ".join(result.out.split())
    assert "All 3 levels are finished, the dense one included." in result.out
    assert "lthprune resume" not in result.out


def test_summary_of_one_trial_shows_plain_values(tmp_path: Path, cli: Cli) -> None:
    run = run_recipe(tiny("run.trials=1"), "tiny", out=tmp_path)
    result = cli("summary", run.folder)
    assert (result.code, result.narrow) == (0, True)
    assert "Mean" not in result.out
    rows = [line.split() for line in result.out.splitlines() if line.strip()[:1].isdigit()]
    for level, row in zip(run.summary(), rows, strict=True):
        assert row[-3:-1] == [f"{100 * level.val_acc.mean:.2f}", f"{100 * level.test_acc.mean:.2f}"]


def unfinish(folder: Path, levels: int) -> None:
    """Have a run's manifest name so many levels and no more."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"finished": manifest["finished"][:levels]}))


def test_summary_of_an_unfinished_run_says_how_far_it_got_and_how_to_go_on(finished: Run, cli: Cli) -> None:
    folder = Path(shutil.copytree(finished.folder, "begun"))
    unfinish(folder, 2)
    result = cli("summary", folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert "2 of 3 levels are finished, the dense one included; resume with:\n  lthprune resume begun\n" in result.out


def measured(levels: list[LevelSummary]) -> Histories:
    """Histories of two trials that go on to the last of these levels."""
    histories = Histories.empty(2, levels[-1].level, [100, 50_000])
    for curve in histories.curves.values():
        curve[:] = 1.0
    histories.density[:] = 1.0
    return histories


def test_summary_of_trials_that_are_all_right_and_of_millions_of_weights_fits_into_80_columns(
    finished: Run, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    perfect = Spread(1.0, 1.0, 1.0)
    levels = [LevelSummary(level, 1.0, 9_999_999, perfect, perfect, Spread(50_000, 1, 1)) for level in (0, 10)]
    monkeypatch.setattr(Run, "summary", lambda run: levels)
    monkeypatch.setattr(Run, "histories", lambda run: measured(levels))
    result = cli("summary", finished.folder)
    assert (result.code, result.narrow) == (0, True)
    assert "10 *" in result.out
    assert result.out.count("100.00 (100.00-100.00)") == 4


def test_summary_of_a_network_with_millions_of_weights_fits_into_80_columns(tmp_path: Path, cli: Cli) -> None:
    recipe = tiny("model.dense=[2800, 400]", "train.steps=2", "prune.levels=10", "prune.rate=0.01", "run.trials=1")
    result = cli("summary", run_recipe(recipe.model_copy(), "big", out=tmp_path).folder)
    assert (result.code, result.narrow) == (0, True)
    assert "1,303,200" in result.out


def test_summary_of_a_run_without_a_finished_level_says_so(finished: Run, cli: Cli) -> None:
    folder = Path(shutil.copytree(finished.folder, "begun"))
    unfinish(folder, 0)
    (folder / "histories.npz").unlink()
    result = cli("summary", folder)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("No level of begun is finished yet.\n")
    assert result.out.endswith("resume with:\n  lthprune resume begun\n")


def test_plot_draws_every_figure_and_names_the_files(finished: Run, cli: Cli) -> None:
    folder = Path(shutil.copytree(finished.folder, "copy"))
    result = cli("plot", folder)
    assert (result.code, result.err) == (0, "")
    paths = [Path(line) for line in result.out.splitlines()]
    applying = set(FIGURES) - {"coverage", "decidedness", "separation"}  # there is one task
    applying -= {"controls", "stability", "interpolation", "information"}  # which other commands measure
    assert {path.name for path in paths} == {f"{name}.{end}" for name in applying for end in ENDINGS}
    assert all(path.is_file() for path in paths)


@pytest.mark.heavy
def test_plot_draws_another_level_and_trial_and_refuses_unknown_ones(finished: Run, cli: Cli) -> None:
    folder = Path(shutil.copytree(finished.folder, "copy"))
    assert cli("plot", folder, "--level", 1, "--trial", 1, "--out", "elsewhere").code == 0
    assert "trial 1, level 1" in Path("elsewhere/copy/network.svg").read_text("utf-8")
    assert not (folder / "figures").exists()
    result = cli("plot", folder, "--level", 9)
    assert (result.code, result.out) == (2, "")
    assert "level 9 of copy is not finished; levels 0 to 2 are" in " ".join(result.err.split())


def test_a_run_that_waited_for_something_says_why_it_ended(cli: Cli) -> None:
    run = run_recipe(toys("run.stop_when=degraded"), "toys")
    result = cli("summary", run.folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    words = f"The run ended after {run.tickets.finished} of 9 levels, the dense one included: the networks of all"
    assert words in " ".join(result.out.split())
    assert "lthprune resume" not in result.out
    assert "ended" in cli("runs").out
    assert "The run ended after" in cli("resume", run.folder).out


@pytest.mark.parametrize("trials", [1, 2])
def test_summary_shows_the_test_accuracy_of_every_task(tmp_path: Path, cli: Cli, trials: int) -> None:
    run = run_recipe(joined(f"run.trials={trials}"), "joined", out=tmp_path)
    result = cli("summary", run.folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert "moons % circles %" in result.out
    rows = [
        line.replace("*", "").replace("+", "").split() for line in result.out.splitlines() if line.strip()[:1].isdigit()
    ]
    for level, row in zip(run.summary(), rows, strict=True):
        spreads = (level.val_acc, level.test_acc, *level.task_test_acc.values())
        assert row[3:-1] == [f"{100 * spread.mean:.2f}" for spread in spreads]
    assert "those of a task alone are on test data" in " ".join(result.out.split())


@pytest.mark.parametrize("tasks", [3, 4])
def test_summary_of_many_tasks_fits_into_80_columns_and_shows_the_lowest_where_there_are_too_many(
    finished: Run, cli: Cli, monkeypatch: pytest.MonkeyPatch, tasks: int
) -> None:
    perfect = Spread(1.0, 1.0, 1.0)
    by_task = {f"fashion-mnist{place}": perfect for place in range(1, tasks)} | {"moons": Spread(0.25, 0.25, 0.25)}
    levels = [LevelSummary(level, 1.0, 9_999_999, perfect, perfect, Spread(50_000, 1, 1), by_task) for level in (0, 10)]
    monkeypatch.setattr(Run, "summary", lambda run: levels)
    monkeypatch.setattr(Run, "histories", lambda run: measured(levels))
    result = cli("summary", finished.folder)
    assert (result.code, result.narrow) == (0, True)
    header = result.out.partition("─")[0]
    assert ("lowest" in header, "mnist1" in header) == (tasks > 3, tasks <= 3)
    assert result.out.count("25.00") == 2
