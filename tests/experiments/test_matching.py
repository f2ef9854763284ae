"""Several runs at matched densities."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lthprune.errors import PruningError, StorageError
from lthprune.experiments.comparison import paired_difference, unpaired_difference
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.matching import compare_runs, match_densities, plot_runs, save_runs
from lthprune.experiments.run import Run
from tests.tiny import tiny

SAMPLES = st.lists(st.integers(0, 100).map(lambda value: value / 100), min_size=2, max_size=6)
DENSITIES = st.lists(st.floats(0.01, 1), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run, and runs that differ from it in one thing each."""
    out = tmp_path_factory.mktemp("runs")
    settings = {
        "first": (),
        "one-shot": ("prune.method=osp",),
        "faster": ("prune.rate.dense=0.4",),
        "seeds": ("run.seed=1",),
        "trials": ("run.trials=3",),
        "split": ("data.validation=200",),
        "single": ("run.trials=1",),
    }
    return {name: run_recipe(tiny(*own), name, out=out) for name, own in settings.items()}


@given(SAMPLES, SAMPLES)
def test_an_unpaired_difference_is_that_of_welchs_test(one: list[float], other: list[float]) -> None:
    found = unpaired_difference(one, other)
    assert found.mean == pytest.approx(np.mean(one) - np.mean(other))
    if min(len({*one}), len({*other})) == 1:  # where scipy warns that it loses precision
        return
    test = stats.ttest_ind(one, other, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(test.pvalue)


def test_an_unpaired_difference_without_spread_has_no_test_and_of_a_single_trial_no_interval() -> None:
    assert unpaired_difference([0.5, 0.5], [0.25, 0.25]) == pytest.approx((0.25, 0.25, 0.25, np.nan), nan_ok=True)
    assert unpaired_difference([0.5], [0.25, 0.5]) == pytest.approx((0.125, np.nan, np.nan, np.nan), nan_ok=True)
    assert unpaired_difference([0.5, 0.5, 0.5], [0.1, 0.12, 0.11]).positive  # a spread on one side is enough


@given(DENSITIES, DENSITIES)
def test_densities_are_matched_with_the_nearest_by_ratio_within_10_percent(
    first: list[float], other: list[float]
) -> None:
    for density, level in zip(first, match_densities(first, other), strict=True):
        ratios = [max(density / each, each / density) for each in other]
        if level is None:
            assert min(ratios) > 1.1 - 1e-9
        else:
            assert ratios[level] == pytest.approx(min(ratios))
            assert ratios[level] < 1.1 + 1e-9


def test_levels_are_matched_by_density_and_measured_at_early_stopping(runs: dict[str, Run]) -> None:
    first, faster = compare_runs([runs["first"], runs["faster"]])
    assert [level and level.level for level in first.levels] == [0, 1, 2]
    assert [level and level.level for level in faster.levels] == [0, None, 1]  # 100, 81, 66 % and 100, 64, 42 %
    own, others = runs["faster"].histories(), runs["first"].histories()
    matched = faster.levels[2]
    assert matched is not None
    assert matched.density == own.density[1]
    for measure, values, firsts in (
        ("test_acc", own.at_early_stop("test_acc"), others.at_early_stop("test_acc")),
        ("early_stop", own.early_stop_steps(), others.early_stop_steps()),
    ):
        estimate, gap = matched.estimates[measure], matched.differences[measure]  # type: ignore[index]
        assert estimate.mean == pytest.approx(values[:, 1].mean())
        spread = stats.t.interval(0.95, 1, loc=values[:, 1].mean(), scale=max(stats.sem(values[:, 1]), 1e-300))
        assert estimate.half == pytest.approx((spread[1] - spread[0]) / 2)
        assert gap == pytest.approx(paired_difference(values[:, 1] - firsts[:, 2]), nan_ok=True)


@pytest.mark.parametrize(
    ("other", "unlike"),
    [
        ("one-shot", None),
        ("faster", None),
        ("seeds", "seeds"),
        ("trials", "number of trials"),
        ("split", "data"),
        ("single", "number of trials"),
    ],
)
def test_trials_are_paired_only_if_seeds_number_and_data_agree(
    other: str, unlike: str | None, runs: dict[str, Run]
) -> None:
    _, found = compare_runs([runs["first"], runs[other]])
    assert found.unlike == unlike
    level = found.levels[0]
    assert level is not None
    mine, firsts = (runs[name].histories().at_early_stop("test_acc")[:, 0] for name in (other, "first"))
    expected = unpaired_difference(mine, firsts) if unlike else paired_difference(mine - firsts)
    assert level.differences["test_acc"] == pytest.approx(expected, nan_ok=True)


def test_the_figure_draws_each_run_solid_at_its_own_densities(runs: dict[str, Run]) -> None:
    chosen = [runs["first"], runs["faster"]]
    left, right = plot_runs(chosen).axes
    for axes in (left, right):
        assert [line.get_linestyle() for line in axes.get_lines()] == ["-", "-"]
        assert len(axes.collections) == 2  # a band for each
        for line, run in zip(axes.get_lines(), chosen, strict=True):
            np.testing.assert_allclose(line.get_xdata(), 100 * run.histories().density)
            assert run.name in str(line.get_label())
        low, high = sorted(axes.get_xlim())
        assert low < 100 * runs["faster"].histories().density.min()
        assert high > 100


def test_the_figure_is_saved_under_the_names_of_the_runs(runs: dict[str, Run], tmp_path: Path) -> None:
    paths = save_runs([runs["first"], runs["faster"]], tmp_path / "new")
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    assert all(path.stat().st_size > 1_000 for path in paths)
    assert paths[0].name == f"{runs['first'].name}+{runs['faster'].name}.png"
    assert save_runs([*runs.values()], tmp_path)[0].is_file()  # of many runs, the name is cut


def test_what_cannot_be_compared_is_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    first = runs["first"]
    with pytest.raises(PruningError, match="a comparison takes two runs or more"):
        compare_runs([first])
    with pytest.raises(PruningError, match="is named twice"):
        compare_runs([first, runs["faster"], Run(first.folder / ".." / first.folder.name)])
    with pytest.raises(StorageError, match="does not exist"):
        compare_runs([first, Run(tmp_path / "nowhere")])
    begun = Path(shutil.copytree(first.folder, tmp_path / "begun"))
    manifest = json.loads((begun / "manifest.json").read_text()) | {"finished": []}
    (begun / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=r"no level of .*begun is finished yet; resume with: lthprune resume"):
        compare_runs([first, Run(begun)])
