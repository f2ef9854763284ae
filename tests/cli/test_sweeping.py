import shutil
from pathlib import Path
from typing import Any

import pytest

from lthprune.errors import DivergedWarning
from lthprune.experiments.sweep import Sweep, begin_sweep, run_sweep
from lthprune.experiments.sweep_figures import SWEEP_FIGURES
from lthprune.experiments.sweep_summary import summarise_sweep
from tests.cli.conftest import Cli
from tests.own_parts import separated_sweep
from tests.tiny import SETTINGS, contents

SHORT = [setting for setting in SETTINGS if "trials" not in setting]
SET = [word for setting in SHORT for word in ("--set", setting)]
GRID = ("--over", "model.hidden=[4, 8]", "--over", "run.seed=3..4")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A finished sweep; not to be changed."""
    over = {"model.hidden": [4, 8], "run.seed": [3, 4]}
    return run_sweep(begin_sweep("lenet-digits", over, SHORT, out=tmp_path_factory.mktemp("sweeps")))


def test_sweep_runs_every_cell_and_prints_the_table_of_them(cli: Cli, finished: Sweep) -> None:
    result = cli("sweep", "lenet-digits", *SET, *GRID)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    (folder,) = Path("sweeps").iterdir()
    assert folder.name.startswith("lenet-digits-")
    assert result.out.startswith(
        f"Sweep: {folder}\n\nCell 1 of 2: model.hidden=4\nRun directory: {folder}/0-hidden-4\n"
    )
    assert f"\nCell 2 of 2: model.hidden=8\nRun directory: {folder}/1-hidden-8\n" in result.out
    assert result.out.count("\nlevel ") == 6
    for cell, same in zip(Sweep(folder).cells(), finished.cells(), strict=True):
        assert contents(cell.run.folder) == contents(same.run.folder)
    table = cli("summary", folder)
    assert (table.code, table.err) == (0, "")
    assert result.out.endswith(table.out)


def test_summary_of_a_sweep_has_what_came_of_every_cell(cli: Cli, finished: Sweep) -> None:
    result = cli("summary", finished.folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    lines = [line.split() for line in result.out.splitlines()]
    for row in summarise_sweep(finished):
        dense, last, ticket = row.levels[0], row.levels[-1], row.winner or row.levels[-1]
        assert row.seconds is not None
        place = [str(ticket.level), *(["*"] if row.winner else [])]
        means = [f"{100 * level.test_acc.mean:.2f}" for level in (dense, ticket)]
        words = [str(row.cell.values["model.hidden"]), f"{dense.left:,}", "2", f"{last.left:,}", means[0], *place]
        first = lines.index([*words, means[1], f"{row.seconds:,.0f}", "s"])
        ranges = [f"{100 * level.test_acc.low:.2f}-{100 * level.test_acc.high:.2f}" for level in (dense, ticket)]
        assert lines[first + 1] == [f"{last.density:.2%}", *ranges]
    assert result.out.endswith("All cells are finished.\n")


def test_a_sweep_names_the_cells_with_failed_trials_and_trains_the_others(cli: Cli, tmp_path: Path) -> None:
    settings = [*SHORT, "train.optimizer=sgd", "model.activation=relu"]
    with pytest.warns(DivergedWarning, match=r"trial \d diverged at level 0, step 2, learning rate 1e\+30"):
        sweep = run_sweep(begin_sweep("lenet-digits", {"train.lr": [1e30, 0.1]}, settings, out=tmp_path))
    assert [len(cell.run.tickets.failures) > 0 for cell in sweep.cells()] == [True, False]
    assert [cell.finished for cell in sweep.cells()] == [True, True]
    result = cli("summary", sweep.folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert "Cell 1, train.lr=1e+30: of 5 trials 5 diverged." in result.out
    assert "Cell 2," not in result.out
    assert result.out.endswith("All cells are finished.\n")


def test_summary_of_a_sweep_of_many_axes_fits_into_80_columns(cli: Cli, tmp_path: Path) -> None:
    over: dict[str, list[Any]] = {
        "model.hidden": [1300],
        "prune.rate": [{"dense": 0.2, "output": 0.1}],
        "train.lr": [0.00125],
        "run.seed": [0, 1],
    }
    settings = ["train.steps=1", "prune.levels=2"]
    sweep = run_sweep(begin_sweep("lenet-digits", over, settings, out=tmp_path))
    result = cli("summary", sweep.folder)
    assert (result.code, result.narrow) == (0, True)
    (row,) = [line.split() for line in result.out.splitlines() if "1,786,200" in line]
    assert row[0] == "1"
    label = "Cell 1: model.hidden=1300, prune.rate={dense = 0.2, output = 0.1}, train.lr=0.00125"
    assert label in " ".join(result.out.split())


def test_an_interrupted_sweep_says_how_to_go_on_and_goes_on_to_the_same_bits(
    cli: Cli, finished: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = "lthprune.experiments.experiment.train_population"
    begun = []

    def interrupted(*arguments: Any, **words: Any) -> Any:
        begun.append(arguments)
        if len(begun) == 5:  # in level 1 of the second cell
            raise KeyboardInterrupt
        return original(*arguments, **words)

    from lthprune.experiments.experiment import train_population as original

    with monkeypatch.context() as patch:
        patch.setattr(train, interrupted)
        result = cli("sweep", "lenet-digits", *SET, *GRID)
    assert (result.code, "Traceback" in result.err) == (130, False)
    (folder,) = Path("sweeps").iterdir()
    assert f"resume with:\n  lthprune resume {folder}\n" in result.err
    summary = cli("summary", folder)
    assert f"1 of 2 cells are finished; resume with:\n  lthprune resume {folder}\n" in summary.out
    assert "1 of 3" in summary.out
    assert summary.narrow
    resumed = cli("resume", folder)
    assert (resumed.code, resumed.err, resumed.narrow) == (0, "", True)
    assert "Cell 2 of 2" in resumed.out
    assert "Cell 1 of 2" not in resumed.out
    assert resumed.out.count("\nlevel ") == 2
    for cell, same in zip(Sweep(folder).cells(), finished.cells(), strict=True):
        assert contents(cell.run.folder) == contents(same.run.folder)


def test_an_interruption_while_the_cells_are_checked_leaves_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lthprune.experiments.sweep.prepare", interrupted)
    result = cli("sweep", "lenet-digits", *SET, *GRID)
    assert (result.code, result.err) == (130, "Stopped before anything was written.\n")
    assert list(Path().iterdir()) == []


def test_a_sweep_that_has_not_begun_is_summed_up_and_a_cell_of_it_is_a_run_like_others(
    cli: Cli, finished: Sweep, tmp_path: Path
) -> None:
    sweep = begin_sweep("lenet-digits", {"model.hidden": [4, 8]}, SHORT, out=tmp_path)
    result = cli("summary", sweep.folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert result.out.count("0 of 3") == 2
    copy = shutil.copytree(finished.folder, tmp_path / "copy")
    assert "3 of 3" in cli("runs", "--out", copy).out
    assert cli("resume", copy / "0-hidden-4").code == 0
    assert "All 3 levels are finished" in cli("summary", copy / "0-hidden-4").out


@pytest.mark.parametrize("verb", ["resume", "summary"])
def test_a_damaged_sweep_ends_with_one_paragraph(cli: Cli, finished: Sweep, tmp_path: Path, verb: str) -> None:
    copy = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    ticket = copy / "1-hidden-8" / "trial-0" / "level-00.safetensors"
    ticket.write_bytes(ticket.read_bytes()[:-3])
    if verb == "resume":
        manifest = copy / "1-hidden-8" / "manifest.json"
        manifest.write_text(manifest.read_text()[:-9])
    result = cli(verb, copy)
    assert (result.code, result.err.startswith("Error: ")) == (2, True)
    assert "1-hidden-8" in "".join(result.err.split())


def test_a_sweep_of_several_tasks_says_what_became_of_the_networks(cli: Cli, tmp_path: Path) -> None:
    sweep = separated_sweep(tmp_path)
    result = cli("summary", sweep.folder)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    table = result.out.partition("Networks by outcome")[2]
    rows = [line.split()[2:] for line in table.splitlines() if line.split()[:1] in (["[30,"], ["[19,"])]
    lowest = [
        f"{100 * min(each):.2f}-{100 * max(each):.2f}"
        for each in ([min(at.test_acc.values()) for at in row.separated] for row in summarise_sweep(sweep)[1:])
    ]
    assert rows == [
        ["2", "0", "0", "0"],
        ["0", "2", "0", "0", "19-19", "17-17", lowest[0]],
        ["0", "0", "2", "0", "19-19", "17-17", lowest[1]],
    ]
    drawn = cli("plot", sweep.folder)
    assert (drawn.code, drawn.err) == (0, "")
    assert {Path(line).stem for line in drawn.out.splitlines()} == set(SWEEP_FIGURES)
    assert all(Path(line).is_file() for line in drawn.out.splitlines())
    assert "separated before they degraded" in " ".join(table.split())


@pytest.mark.parametrize("option", ["--level", "--trial"])
def test_plot_refuses_a_level_or_a_trial_of_a_sweep(option: str, cli: Cli, finished: Sweep, tmp_path: Path) -> None:
    copy = shutil.copytree(finished.folder, tmp_path / "copy")
    result = cli("plot", copy, option, 0)
    assert (result.code, result.out, "Leave out --level and --trial" in " ".join(result.err.split())) == (2, "", True)
    assert not (copy / "figures").exists()
