from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import StorageError
from lthprune.search.tickets import Ticket
from lthprune.training.histories import Histories
from lthprune.training.record import HISTORIES, TASK_HISTORIES
from lthprune.training.stopping import early_stopping_index
from tests.strategies import seeds

STEPS = (10, 20, 25)


def ticket(level: int, trial: int = 0, left: int = 3, tasks: int = 1) -> Ticket:
    history = {name: np.random.default_rng((trial, level, at)).random(3) for at, name in enumerate(HISTORIES)}
    if tasks > 1:
        history |= {name: np.random.default_rng((trial, level, 9)).random((3, tasks)) for name in TASK_HISTORIES}
    mask = torch.arange(4) < left
    return Ticket(level, {"weight": mask}, {}, {}, {"history": history}, {"trial": trial})


def filled(trials: int = 2, levels: int = 3, finished: int = 2, tasks: int = 1) -> Histories:
    histories = Histories.empty(trials, levels, STEPS, tasks)
    for level in range(finished):
        histories.record([ticket(level, trial, 4 - level, tasks) for trial in range(trials)])
    return histories


@given(trials=st.integers(1, 4), levels=st.integers(0, 4), data=st.data())
def test_a_recorded_level_stands_where_it_belongs_and_the_rest_is_empty(
    trials: int, levels: int, data: st.DataObject
) -> None:
    finished = data.draw(st.integers(0, levels + 1))
    histories = filled(trials, levels, finished)
    assert histories.density.shape == (levels + 1,)
    assert list(histories.steps) == list(STEPS)
    for name, curve in histories.curves.items():
        assert curve.shape == (trials, levels + 1, 3)
        assert np.isnan(curve[:, finished:]).all()
        for trial in range(trials):
            for level in range(finished):
                assert np.array_equal(curve[trial, level], ticket(level, trial).metrics["history"][name])
    assert list(histories.density[:finished]) == [(4 - level) / 4 for level in range(finished)]
    assert np.isnan(histories.density[finished:]).all()


def same(one: Histories, other: Histories) -> bool:
    return one.curves.keys() == other.curves.keys() and all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in [
            *((one.curves[name], other.curves[name]) for name in one.curves),
            (one.density, other.density),
            (one.steps, other.steps),
        ]
    )


@pytest.mark.parametrize("tasks", [1, 3])
def test_histories_cut_to_the_finished_levels_are_as_if_there_were_no_more(tasks: int) -> None:
    whole = filled(finished=4, tasks=tasks)
    assert same(whole.up_to(2), filled(finished=2, tasks=tasks))
    assert same(whole, filled(finished=4, tasks=tasks))
    assert not same(whole, filled(finished=3, tasks=tasks))


@pytest.mark.parametrize("tasks", [1, 3])
def test_histories_saved_and_loaded_are_the_same(tmp_path: Path, tasks: int) -> None:
    filled(tasks=tasks).save(tmp_path / "histories.npz")
    assert same(Histories.load(tmp_path / "histories.npz"), filled(tasks=tasks))


def test_each_tasks_accuracies_are_there_where_there_are_several_and_read_at_early_stopping() -> None:
    assert set(filled().curves) == set(HISTORIES)
    histories = filled(trials=2, levels=3, finished=3, tasks=4)
    for name in TASK_HISTORIES:
        curve, values = histories.curves[name], histories.at_early_stop(name)
        assert (curve.shape, values.shape) == ((2, 4, 3, 4), (2, 4, 4))
        for trial in range(2):
            for level in range(3):
                assert np.array_equal(curve[trial, level], ticket(level, trial, tasks=4).metrics["history"][name])
                place = early_stopping_index(histories.curves["val_loss"][trial, level])
                assert np.array_equal(values[trial, level], curve[trial, level, place])


@given(seeds, st.integers(0, 4))
def test_early_stopping_is_read_at_the_lowest_validation_loss_of_each_trial_and_level(seed: int, missing: int) -> None:
    histories = filled(trials=2, levels=3, finished=3)
    losses = np.random.default_rng(seed).random((2, 3, 3)).round(1)
    losses.reshape(-1)[np.random.default_rng(seed).permutation(18)[:missing]] = np.nan
    histories.curves["val_loss"][:, :3] = losses
    steps, accuracies = histories.early_stop_steps(), histories.at_early_stop("val_acc")
    for trial in range(2):
        for level in range(3):
            place = early_stopping_index(losses[trial, level])
            assert steps[trial, level] == STEPS[place]
            assert accuracies[trial, level] == histories.curves["val_acc"][trial, level, place]
    assert np.isnan(steps[:, 3]).all()
    assert np.isnan(accuracies[:, 3]).all()


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "lacking", "objects"])
def test_a_missing_or_damaged_file_is_refused_with_the_fix(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "histories.npz"
    filled().save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "lacking":
        np.savez(path, density=np.zeros(3))
    elif damage == "objects":
        np.savez(path, **dict.fromkeys([*HISTORIES, "density", "steps"], np.array([{}], dtype=object)))  # type: ignore[arg-type]
    else:
        path.write_bytes({"empty": b"", "text": b"steps", "truncated": path.read_bytes()[:-300]}[damage])
    with pytest.raises(StorageError, match=r"lthprune resume .* writes it again"):
        Histories.load(path)


def test_histories_are_shown_by_their_sizes_names_and_finished_levels() -> None:
    assert repr(filled(trials=2, levels=3, finished=2)) == (
        "<Histories of 2 trials, 4 levels (2 finished) and 3 evaluations: train_loss, val_loss, val_acc, test_acc>"
    )
    assert repr(filled(trials=1, levels=0, finished=0)).startswith("<Histories of 1 trial, 1 level (0 finished)")


@pytest.mark.parametrize("finished", [0, 2, 4])
def test_the_finished_levels_are_counted(finished: int) -> None:
    assert filled(levels=3, finished=finished).finished == finished
