import pytest

from lthprune.analysis import Mine
from lthprune.experiments.information import run_information
from lthprune.experiments.run import Run
from tests.cli.conftest import Cli


def test_information_prints_a_table_for_each_level_and_writes_the_figure(finished: Run, cli: Cli) -> None:
    arguments = ("--pair", "input:dense1", "--pair", "dense1:labels", "--levels", "0,2", "--at", "3", "--epochs", 1)
    result = cli("information", finished.folder, *arguments, "--samples", 300, "--trial", 1, "--threads", 1)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    found = run_information(
        finished,
        [("input", "dense1"), ("dense1", "labels")],
        levels=[0, 2],
        at=[3],
        trial=1,
        samples=300,
        settings=Mine(epochs=1),
    )
    titles = [line.strip() for line in result.out.splitlines() if line.startswith("Level")]
    shown = [f"Level {own.level}, density {own.density:.2%}" for own in found]
    assert titles == [f"{shown[0]}, step 3", shown[1], f"{shown[2]}, step 3", shown[3]]
    rows = [line.split() for line in result.out.splitlines() if " and " in line and line.split()[-1][-1].isdigit()]
    estimates = [own for each in found for own in each.pairs.values()]
    assert [row[-3:] for row in rows] == [
        [f"{own.mine:.3f}", f"({own.mine_trained:.3f})", f"{own.neighbours:.3f}"] for own in estimates
    ]
    assert (finished.folder / "figures" / "information-trial-1.png").exists()
    assert cli("information", finished.folder, *arguments, "--samples", 300, "--trial", 1).out == result.out  # kept


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
