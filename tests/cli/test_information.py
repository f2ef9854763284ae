import shutil
from pathlib import Path

import pytest

from lthprune.analysis import Mine
from lthprune.experiments.information import run_information
from lthprune.experiments.run import Run
from tests.cli.conftest import Cli


@pytest.fixture
def finished(finished_run: Run, tmp_path: Path) -> Run:
    """A finished run of this test's own."""
    return Run(shutil.copytree(finished_run.folder, tmp_path / "run"))


def test_information_prints_a_table_for_each_level_and_writes_the_figure(finished: Run, cli: Cli) -> None:
    arguments = ("--pair", "input:dense1", "--pair", "dense1:labels", "--levels", "0,2", "--at", "3", "--epochs", 1)
    result = cli("information", finished.folder, *arguments, "--samples", 300, "--threads", 1)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    found = run_information(
        finished,
        [("input", "dense1"), ("dense1", "labels")],
        levels=[0, 2],
        at=[3],
        samples=300,
        settings=Mine(epochs=1),
    )
    titles = [line.strip() for line in result.out.splitlines() if line.startswith("Level")]
    shown = [f"Level {own.level}, density {own.density:.2%}" for own in found]
    assert titles == [f"{shown[0]}, step 3", shown[1], f"{shown[2]}, step 3", shown[3]]
    rows = [line for line in result.out.splitlines() if " and " in line and line.rstrip().endswith(")")]
    expected = [(level, pair) for level in found for pair in level.pairs]
    for row, (own, pair) in zip(rows, expected, strict=True):
        estimates = [own.nats(pair, name) for name in ("mine", "mine_trained", "neighbours")]
        shown = " ".join(f"{each.mean():.2f} ({each.min():.2f}-{each.max():.2f})" for each in estimates)
        assert " ".join(row.split()) == f"{' and '.join(pair)} {shown}"
    assert (finished.folder / "figures" / "information.png").exists()
    assert cli("information", finished.folder, *arguments, "--samples", 300).out == result.out  # kept
    assert "information.svg" in cli("plot", finished.folder).out


def test_precise_settings_are_an_option(finished: Run, cli: Cli) -> None:
    result = cli("information", finished.folder, "--pair", "dense1:labels", "--levels", 0, "--precise", "--epochs", 0)
    assert (result.code, result.narrow) == (0, True)
    assert "dense1 and labels" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pair", "dense1"], "--pair dense1: give two names with a colon, as in --pair dense1:labels."),
        (["--pair", "dense1:lables"], "no layer 'lables'"),
        (["--levels", "0-3"], "--levels 0-3: give whole numbers with commas, as in --levels 0,5,10."),
        (["--levels", "7"], "level 7 of"),
        (["--at", "100"], "step 100: the training of a level has 6 steps."),
    ],
)
def test_bad_arguments_end_with_one_paragraph(arguments: list[str], message: str, finished: Run, cli: Cli) -> None:
    result = cli("information", finished.folder, *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in " ".join(result.err.split())
