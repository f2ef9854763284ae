"""Tables of a run: what they contain is what the tickets say, with pandas and without."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lthprune import PruningError
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.frames import as_frame, evaluation_columns, level_columns
from lthprune.experiments.run import Run
from lthprune.training.record import HISTORIES
from tests.tiny import joined, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tiny(), "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def joined_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(joined(), "joined", out=tmp_path_factory.mktemp("runs"))


def test_there_is_a_row_for_each_trial_level_and_evaluation(run: Run) -> None:
    columns = evaluation_columns(run.histories(), ())
    assert list(columns) == ["trial", "level", "density", "step", *HISTORIES]
    places = list(zip(columns["trial"], columns["level"], columns["step"], strict=True))
    assert places == [(trial, level, step) for trial in range(2) for level in range(3) for step in (2, 4, 6)]
    for row, (trial, level, step) in enumerate(places):
        ticket = run.tickets.ticket(level, trial)
        assert columns["density"][row] == ticket.density
        for name in HISTORIES:
            assert columns[name][row] == ticket.metrics["history"][name][(2, 4, 6).index(step)]


def test_there_is_a_row_for_each_trial_and_level_at_early_stopping(run: Run) -> None:
    columns = level_columns(run.histories(), ())
    assert list(columns) == ["trial", "level", "density", "early_stop_step", *HISTORIES]
    places = list(zip(columns["trial"], columns["level"], strict=True))
    assert places == [(trial, level) for trial in range(2) for level in range(3)]
    for row, (trial, level) in enumerate(places):
        ticket = run.tickets.ticket(level, trial)
        assert columns["density"][row] == ticket.density
        for name in ("early_stop_step", "val_loss", "val_acc", "test_acc"):
            assert columns[name][row] == ticket.metrics[name]


def test_unfinished_levels_and_evaluations_without_measurements_have_no_row(run: Run) -> None:
    histories = run.histories().up_to(2)
    for curve in histories.curves.values():
        curve[1, 1, 2:] = np.nan  # as after an early stop
    columns = evaluation_columns(histories, ())
    assert set(columns["level"]) == {0, 1}
    assert len(columns["step"]) == 2 * 2 * 3 - 1
    assert not np.isnan(columns["val_acc"]).any()
    assert list(level_columns(histories, ())["level"]) == [0, 1, 0, 1]


def test_each_tasks_accuracies_have_columns_by_its_name(joined_run: Run) -> None:
    tasks = ["val_acc_moons", "val_acc_circles", "test_acc_moons", "test_acc_circles"]
    evaluations, levels = joined_run.to_frame(), joined_run.to_frame("level")
    assert list(evaluations)[-4:] == list(levels)[-4:] == tasks
    for row, (trial, level) in enumerate(zip(levels["trial"], levels["level"], strict=True)):
        measured = joined_run.tickets.ticket(level, trial).metrics["tasks"]
        for column in tasks:
            accuracy, _, task = column.rpartition("_")
            assert levels[column][row] == measured[task][accuracy]
    np.testing.assert_allclose(
        (evaluations["test_acc_moons"] + evaluations["test_acc_circles"]) / 2, evaluations["test_acc"], atol=1e-6
    )


def test_without_pandas_a_table_is_a_dict_of_arrays_of_one_length(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lthprune.experiments.frames.find_spec", lambda name: None)
    table = run.to_frame()
    assert type(table) is dict
    assert {column.shape for column in table.values()} == {(2 * 3 * 3,)}


def test_with_pandas_a_table_is_its_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = ModuleType("pandas")
    stand_in.DataFrame = lambda columns: ("frame", columns)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", stand_in)
    monkeypatch.setattr("lthprune.experiments.frames.find_spec", lambda name: object())
    columns = {"trial": np.arange(3)}
    assert as_frame(columns) == ("frame", columns)


def test_a_table_of_pandas_has_the_same_rows(run: Run) -> None:
    pandas = pytest.importorskip("pandas")
    frame = run.to_frame("level")
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["level"]) == [0, 1, 2, 0, 1, 2]


def test_rows_of_something_else_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(PruningError, match="unknown per 'levels'; did you mean 'level'"):
        run.to_frame("levels")  # type: ignore[arg-type]
