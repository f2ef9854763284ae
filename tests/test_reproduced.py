"""The page on reproductions: its tables follow from the result files and the list of claims."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lthprune
from lthprune.analysis import Mine
from lthprune.experiments import (
    run_control,
    run_information,
    run_stability,
    summarise_sweep,
    untrained_accuracies,
)
from results import page, record
from results.claims import CLAIMS, Claim
from results.measures import (
    Result,
    at,
    below_barrier,
    beside_control,
    earlier,
    information_gained,
    least_ahead,
    least_of_gaussians,
    more_accurate,
    separated,
    throughout,
    times_earlier,
    untrained_accuracy,
)
from results.separation import more_active, more_at_low_rates, more_with_uniform_biases, share_separated
from tests.own_parts import separated_sweep
from tests.tiny import tiny

ROOT = Path(__file__).parents[1]


def level(density: float, test_acc: list[float], early_stop: list[int]) -> dict[str, Any]:
    return {"density": density, "test_acc": test_acc, "val_acc": test_acc, "early_stop": early_stop}


GAPS = ((0.97, 0.97), (0.96, 0.95))  # accuracies of two controls, at two densities each
DENSE = level(1.0, [0.97, 0.972, 0.971], [4000, 5000, 4500])


def result(*levels: dict[str, Any], **controls: list[list[dict[str, Any]]]) -> Result:
    return Result({"trials": 3, "steps": 9000, "levels": [DENSE, *levels], "controls": controls})


def write(folder: Path, name: str, made: Result) -> None:
    (folder / f"{name}.json").write_text(json.dumps(made.stored), "utf-8")


def claim(**settings: Any) -> Claim:
    measure = at(0.2, more_accurate)
    return Claim("tickets win", "a paper", "+0.5 points", "made-up", "`three hours`", 0.005, measure, **settings)


def test_every_claim_is_in_the_page_once_and_says_what_it_costs_or_names_its_result() -> None:
    rows = list(page.rows())
    assert [row[0] for row in rows] == [each.text for each in CLAIMS]
    assert len({each.text for each in CLAIMS}) == len(CLAIMS)
    for each, (*_, ours, made, holds) in zip(CLAIMS, rows, strict=True):
        assert (ours == f"cost: {each.cost}") == (holds == "not run") == (made == "")
        if made:
            assert f"(results/{each.result}.json)" in made


def test_a_missing_file_says_what_the_claim_costs(tmp_path: Path) -> None:
    (row,) = page.rows(tmp_path, [claim()])
    assert row[3:] == ("cost: `three hours`", "", "not run")


@pytest.mark.parametrize(
    ("test_acc", "holds"),
    [
        ([0.980, 0.982, 0.981], "yes"),
        ([0.970, 0.990, 0.981], "within the interval"),
        ([0.971, 0.974, 0.973], "no"),
    ],
)
def test_another_result_file_changes_the_verdict(tmp_path: Path, test_acc: list[float], holds: str) -> None:
    write(tmp_path, "made-up", result(level(0.21, test_acc, [2000, 3000, 2500])))
    (row,) = page.rows(tmp_path, [claim()])
    assert row[-1] == holds
    assert row[4] == "[3, 9,000](results/made-up.json)"


def test_a_claim_of_no_difference_holds_only_if_the_interval_includes_zero(tmp_path: Path) -> None:
    equal = replace(claim(sense="equal"), bound=0.0)
    for test_acc, holds in (([0.969, 0.973, 0.971], "yes"), ([0.98, 0.982, 0.98], "no")):
        write(tmp_path, "made-up", result(level(0.2, test_acc, [1, 1, 1])))
        assert [row[-1] for row in page.rows(tmp_path, [equal])] == [holds]


def test_a_claim_about_all_networks_fails_with_one_of_them(tmp_path: Path) -> None:
    every = replace(claim(sense="all"), bound=1.0, measure=separated, unit="%")
    for statuses, share, holds in (
        (["separated", "separated", "separated"], "100.00 (100.00 to 100.00) %", "yes"),
        (["separated", "interconnected", "separated"], "66.67 (0.00 to 100.00) %", "no"),
    ):
        levels = [DENSE | {"split": ["interconnected"] * 3}, level(0.1, [0.9] * 3, [1] * 3) | {"split": statuses}]
        write(tmp_path, "made-up", Result({"trials": 3, "steps": 9, "levels": levels, "controls": {}}))
        (row,) = page.rows(tmp_path, [every])
        assert (row[3], row[-1]) == (f"{share}, at 10.00 %", holds)


def test_a_single_trial_has_no_verdict(tmp_path: Path) -> None:
    made = Result(
        {"trials": 1, "steps": 9, "levels": [level(1.0, [0.9], [5]), level(0.2, [0.99], [4])], "controls": {}}
    )
    write(tmp_path, "made-up", made)
    (row,) = page.rows(tmp_path, [claim()])
    assert row[3:] == ("+9.00 points, at 20.00 %", "[1, 9](results/made-up.json)", "one trial: no interval")


def test_steps_are_compared_by_the_ratio_of_their_means() -> None:
    sparse = level(0.2, [0.98] * 3, [1000, 4000, 1750])
    assert np.isclose(earlier(sparse, DENSE).mean(), 0.5)
    assert np.isclose(times_earlier(sparse, DENSE).mean(), 2.0)


def test_a_density_far_from_every_level_is_not_measured() -> None:
    assert at(0.3, more_accurate)(result(level(0.2, [0.98] * 3, [1] * 3))) is None


def test_a_range_shows_its_worst_level_and_needs_levels_down_to_its_end() -> None:
    made = result(level(0.5, [0.98, 0.982, 0.981], [1] * 3), level(0.4, [0.975, 0.977, 0.976], [1] * 3))
    worst = throughout(0.6, 0.39, more_accurate)(made)
    assert worst is not None
    assert worst.at == "40.00 %"
    assert round(worst.over_trials.mean, 6) == 0.005
    assert throughout(0.6, 0.1, more_accurate)(made) is None


def test_a_control_counts_once_it_has_the_level_and_its_repetitions_are_averaged() -> None:
    ticket = level(0.2, [0.98] * 3, [1000] * 3)
    finished = [[DENSE, level(0.2, [0.97] * 3, [step] * 3)] for step in (2000, 4000)]
    measure = beside_control(0.2, "reinitialised", times_earlier)
    assert measure(result(ticket)) is None
    assert measure(result(ticket, reinitialised=[[DENSE]])) is None
    figure = measure(result(ticket, reinitialised=[*finished, [DENSE]]))
    assert figure is not None
    assert figure.over_trials.mean == 3.0


def test_the_lead_at_several_densities_is_the_smallest_and_needs_all_of_them() -> None:
    run = [level(0.2, [0.98] * 3, [1] * 3), level(0.1, [0.975] * 3, [1] * 3)]
    snip, random = ([DENSE, level(0.2, [one] * 3, [1] * 3), level(0.1, [two] * 3, [1] * 3)] for one, two in GAPS)
    made = result(*run, snip=[snip], random=[random])
    for measure, expected in (
        (least_ahead((0.2, 0.1), "snip"), (0.005, "10.00 %")),
        (least_ahead((0.2, 0.1), "random", "snip"), (0.01, "20.00 %")),
    ):
        figure = measure(made)
        assert figure is not None
        assert (round(figure.over_trials.mean, 6), figure.at) == expected
    assert least_ahead((0.2, 0.05), "snip")(made) is None
    assert least_ahead((0.2, 0.1), "grasp")(made) is None
    assert least_ahead((0.2, 0.1), "snip")(result(*run, snip=[snip[:2]])) is None


def test_barriers_are_compared_with_two_points_from_either_side() -> None:
    measured = Result({"levels": [DENSE | {"barriers": {"0": [0.05, 0.03, 0.04]}}]})
    below, above = below_barrier(0)(measured), below_barrier(0, above=True)(measured)
    assert below is not None
    assert above is not None
    assert (below.over_trials.mean, above.over_trials.mean) == pytest.approx((-0.02, 0.02))
    assert below_barrier(100)(measured) is None
    assert below_barrier(0)(result()) is None


def test_mutual_information_at_the_last_level_is_compared_with_that_of_the_dense_network() -> None:
    first, middle, last = ({"dense1:labels": {"mine": nats}} for nats in ([2.0, 2.1, 2.2], [9.0] * 3, [1.9, 2.1, 1.9]))
    levels = [DENSE | {"information": first}, level(0.5, [0.9] * 3, [1] * 3) | {"information": middle}]
    measured = Result({"levels": [*levels, level(0.1, [0.9] * 3, [1] * 3) | {"information": last}, DENSE]})
    figure = information_gained("dense1:labels")(measured)
    assert figure is not None
    assert (figure.over_trials.mean, figure.at) == (pytest.approx(-0.4 / 3), "10.00 %")
    assert information_gained("input:dense1")(measured) is None
    assert information_gained("dense1:labels")(Result({"levels": levels[:1]})) is None


def test_of_several_gaussians_the_one_with_the_smallest_ratio_counts(tmp_path: Path) -> None:
    cases = [
        {"features": 10, "correlation": 0.3, "truth": 2.0, "mine": [1.9, 1.9], "neighbours": [1.0, 1.0]},
        {"features": 20, "correlation": 0.5, "truth": 4.0, "mine": [3.6, 3.8], "neighbours": [1.0, 1.0]},
    ]
    made = Result({"trials": 2, "steps": 9, "controls": {}, "cells": cases})
    for measure, expected in (
        (least_of_gaussians("mine", "truth", (10, 20)), 0.925),
        (least_of_gaussians("mine", "truth", (10,)), 0.95),
        (least_of_gaussians("mine", "neighbours", (10, 20)), 1.9),
    ):
        figure = measure(made)
        assert figure is not None
        assert figure.over_trials.mean == pytest.approx(expected)
    assert least_of_gaussians("mine", "truth", (10,))(result()) is None
    write(tmp_path, "made-up", made)
    fraction = replace(claim(unit="%"), bound=0.9, measure=least_of_gaussians("mine", "truth", (20,)))
    (row,) = page.rows(tmp_path, [fraction])
    assert (row[3], row[-1]) == ("92.50 (90.00 to 95.00) %, at 20 features, correlation 0.5", "yes")


def test_the_best_density_of_untrained_networks_counts() -> None:
    accuracies = ([0.1, 0.1, 0.1], [0.6, 0.7, 0.8], [0.5, 0.9, 0.5])
    densities = (1.0, 0.5, 0.2)
    made = result()
    measure = untrained_accuracy("large_final", "constant")
    assert measure(made) is None
    levels = [
        level(density, [0.9] * 3, [1] * 3) | {"untrained": {"large_final constant": each}}
        for density, each in zip(densities, accuracies, strict=True)
    ]
    figure = measure(Result({"trials": 3, "steps": 9, "levels": levels, "controls": {}}))
    assert figure is not None
    assert (round(figure.over_trials.mean, 6), figure.at) == (0.7, "50.00 %")


def test_a_recorded_run_holds_the_measurements_of_its_levels_and_of_its_controls(tmp_path: Path) -> None:
    run = lthprune.run_recipe(tiny(), "tiny", out=tmp_path)
    run_control(run, "reinitialised")
    stored = record.record(run, name="tiny", commit="abc", commands=["lthprune run tiny"])
    assert (stored["trials"], stored["steps"], stored["commands"]) == (2, 6, ["lthprune run tiny"])
    summary = run.summary()
    assert [round(each["density"], 4) for each in stored["levels"]] == [round(each.density, 4) for each in summary]
    for each, expected in zip(stored["levels"], summary, strict=True):
        assert np.isclose(np.mean(each["test_acc"]), expected.test_acc.mean, atol=1e-5)
        assert np.mean(each["early_stop"]) == expected.early_stop.mean
    assert [[len(each) for each in repetitions] for repetitions in stored["controls"].values()] == [[3]]
    assert json.loads(json.dumps(stored)) == stored
    (measured,) = run_stability(run, [0], levels=[2], points=3)
    stored = record.record(run, name="tiny", commit="abc", commands=[])
    assert stored["levels"][2]["barriers"] == {"0": [round(float(each), 6) for each in measured.barriers()[0]]}
    assert "barriers" not in stored["levels"][0]
    settings = Mine(units=8, epochs=1)
    (found,) = run_information(run, [("dense1", "labels")], levels=[1], at=[3], settings=settings)[1:]
    stored = record.record(run, name="tiny", commit="abc", commands=[])
    nats = stored["levels"][1]["information"]["dense1:labels"]
    assert nats["mine"] == found.nats(("dense1", "labels"), "mine").round(6).tolist()
    assert {name: len(own) for name, own in nats.items()} == {"mine": 2, "mine_trained": 2, "neighbours": 2}
    assert "information" not in stored["levels"][0]
    tested = record.record(run, name="tiny", commit="abc", commands=[], untrained=True)
    accuracies = untrained_accuracies(run).accuracies["large_final", "constant"]
    for number, each in enumerate(tested["levels"]):
        assert np.allclose(each["untrained"]["large_final constant"], accuracies[:, number], atol=1e-5)


def test_a_recorded_run_of_several_tasks_holds_the_state_of_their_splitting(tmp_path: Path) -> None:
    settings = ['data.name="moons+circles"', "data.validation=100", "model.init='glorot_normal'"]
    run = lthprune.run_recipe(tiny(*settings, "prune.levels=1"), "two", out=tmp_path)
    first, last = record.levels(run)
    assert first["split"] == ["interconnected"] * 2
    assert len(last["split"]) == 2


def cell(separated_at: list[int | None], **settings: object) -> dict[str, Any]:
    """A cell of two seeds; half of the remaining weights are active."""
    words = {f"model.{key}" if key != "levels" else "prune.levels": value for key, value in settings.items()}
    active = [at and at // 2 for at in separated_at]
    return {"settings": {"model.bias_init": "zeros"} | words, "separated_at": separated_at, "active": active}


def test_shares_of_separated_networks_are_those_of_each_seed_by_112_weights() -> None:
    cells = [
        cell([None, 76], hidden=31),
        cell([112, 112], hidden=38),
        cell([160, None], hidden=47),
        cell([112, 112], hidden=31, bias_init="uniform"),
        cell([160, 52], hidden=47, bias_init="uniform"),
    ]
    sweeps = Result({"cells": cells})
    for measure, expected, where in (
        (share_separated(range(38)), [0, 0], "112 weights"),
        (share_separated(range(38, 48)), [1, 0.5], "112 weights"),
        (more_with_uniform_biases, [1 - 0.5, 0.5 - 0], "112 weights"),  # at 31 and 47 hidden units
        (more_active(38), [np.nan, 56 - 38], "separation"),  # no small network of the first seed separates
    ):
        figure = measure(sweeps)
        known = [each for each in expected if not np.isnan(each)]
        assert (figure.over_trials.mean, figure.at) == (pytest.approx(np.mean(known)), where)
    few, many = cell([None, 112], levels=4, hidden=48), cell([112, 112], levels=5, hidden=48)
    figure = more_at_low_rates(5)(Result({"cells": [few, many, cell([None, None], levels=9, bias_init="uniform")]}))
    assert figure.over_trials.mean == 0.5


def test_recorded_sweeps_hold_what_became_of_the_networks_of_each_cell(tmp_path: Path) -> None:
    sweep = separated_sweep(tmp_path)
    stored = record.record_sweeps([sweep, sweep], name="two", commit="abc", commands=["lthprune sweep moons-circles"])
    assert json.loads(json.dumps(stored)) == stored
    assert (stored["trials"], stored["steps"], stored["cells"][:3]) == (2, 4, stored["cells"][3:])
    whole, apart, lost = stored["cells"][:3]
    assert (apart["settings"]["model.hidden"], apart["settings"]["prune.densities"]) == ("4", [19, 18])
    assert (whole["outcome"], whole["separated_at"], whole["active"]) == (
        ["interconnected"] * 2,
        [None] * 2,
        [None] * 2,
    )
    assert whole["lowest_test_acc"] == [None] * 2
    assert apart["outcome"] == ["separated"] * 2
    assert lost["outcome"] == ["separated then degraded"] * 2
    for each, row in zip((apart, lost), summarise_sweep(sweep)[1:], strict=True):
        assert (each["weights"], each["separated_at"], each["active"]) == (40, [19, 19], [17, 17])
        assert each["lowest_test_acc"] == [round(min(at.test_acc.values()), 6) for at in row.separated]
    (tmp_path / "two.json").write_text(json.dumps(stored))
    (shown,) = page.results(tmp_path)
    assert shown[0] == "[two](results/two.json), cells: 6"


@pytest.mark.heavy
def test_the_documentation_builds_with_the_page(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = (tmp_path / "reproduced" / "index.html").read_text("utf-8")
    assert "{{" not in built
    for path in (ROOT / "docs" / "results").glob("*.json"):
        assert (tmp_path / "results" / path.name).is_file()
    assert not list((tmp_path / "results").glob("*.py"))
