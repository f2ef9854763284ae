"""The verb ``compare``."""

import shutil
from pathlib import Path

import pytest

from lthprune.experiments.execution import run_recipe
from lthprune.experiments.overlaps import mask_overlaps
from lthprune.experiments.run import Run
from tests.cli.conftest import Cli
from tests.tiny import tiny


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run that can be paired with the finished one, and a run that cannot."""
    out = tmp_path_factory.mktemp("others")
    settings = (("prune.method=osp",), ("prune.rate.dense=0.4", "run.trials=3"))
    return [run_recipe(tiny(*own), "other", out=out).folder for own in settings]


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if line.strip()[:1].isdigit() and ":" not in line]


def test_compare_tabulates_runs_at_matched_densities_and_draws_them(
    finished: Run, others: list[Path], cli: Cli
) -> None:
    result = cli("compare", finished.folder, *others)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    text = " ".join(result.out.split())
    assert "2 trials; paired with run 1 by trial" in text
    assert "3 trials; differs from run 1 in number of trials: unpaired" in text
    assert "Paired: 95 % bootstrap" in text
    assert "Unpaired: Welch's" in text
    found = rows(result.out)
    assert [row[:2] for row in found if len(row) > 1] == [
        *(["1", "0"], ["2", "0"], ["3", "0"], ["1", "1"], ["2", "1"], ["1", "2"], ["2", "2"], ["3", "1"])
    ]
    assert found[5] == ["3"]  # which has no level near 80 %
    accuracy = finished.summary()[1].test_acc.mean
    assert found[3][3] == f"{100 * accuracy:.2f}"
    paths = [Path(line) for line in result.out.splitlines() if line.startswith("comparisons/")]
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    assert all(path.is_file() for path in paths)


def test_out_names_the_folder_of_the_figure(finished: Run, others: list[Path], cli: Cli) -> None:
    result = cli("compare", finished.folder, others[0], "--out", "elsewhere")
    assert result.code == 0
    assert "Unpaired" not in result.out
    assert len([*Path("elsewhere").iterdir()]) == 3
    assert not Path("comparisons").exists()


def test_single_trials_have_no_intervals(cli: Cli) -> None:
    runs = [run_recipe(tiny("run.trials=1", f"prune.method={method}"), method).folder for method in ("imp", "osp")]
    result = cli("compare", *runs)
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert not any("±" in line or "(" in line for line in map(" ".join, rows(result.out)))


def test_overlap_shows_how_far_masks_agree_beside_chance(finished: Run, others: list[Path], cli: Cli) -> None:
    result = cli("compare", finished.folder, *others, "--overlap")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    assert "Overlap of masks" not in cli("compare", finished.folder, *others).out
    found = rows(result.out[result.out.index("Overlap of masks") :])
    assert found[0][2:] == ["100.00%", "100.0", "100.0"]  # a single pair of trials
    assert found[2][2:] == ["100.00%", "100.0", "(100.0-100.0)", "100.0", "100.0", "(100.0-100.0)", "100.0"]
    (_, level, _) = mask_overlaps(finished)
    assert level is not None
    assert found[3][3:] == [f"{100 * level.mean:.1f}", f"{100 * level.chance:.1f}"]
    (_, level, _) = mask_overlaps(finished, Run(others[0]))
    assert level is not None
    assert found[4][5] == f"{100 * level.mean:.1f}"
    assert found[5] == ["3"]


def test_cost_shows_parameters_and_multiply_adds_as_means_over_the_trials(
    finished: Run, others: list[Path], cli: Cli
) -> None:
    result = cli("compare", finished.folder, others[1], "--cost")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    found = rows(result.out[result.out.index("Test accuracy, parameters and multiply-adds") :])
    assert found[0][-2:] == ["610", "592"]  # 64 x 8 + 8 x 10 weights, and 18 biases
    left = finished.summary()[1].left
    assert found[2][-2:] == [f"{left + 18}", f"{left}"]
    assert found[5][:2] == ["2", "1"]
    assert found[5][-1] == f"{Run(others[1]).summary()[1].left}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "a comparison takes two runs or more"),
        (("run", "run"), "run is named twice"),
        (("run", "nowhere"), "nowhere does not exist"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_paragraph(
    arguments: tuple[str, ...], words: str, finished: Run, cli: Cli
) -> None:
    shutil.copytree(finished.folder, "run")
    result = cli("compare", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in " ".join(result.err.split())


def test_a_folder_that_cannot_be_written_is_named(finished: Run, others: list[Path], cli: Cli) -> None:
    Path("taken").write_text("a file")
    result = cli("compare", finished.folder, others[0], "--out", "taken")
    assert result.code == 2
    assert "taken is a file" in " ".join(result.err.split())
