import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthprune.analysis.splitting import outcome
from lthprune.errors import StorageError
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.run import Run
from lthprune.experiments.summary import LevelSummary, Spread, smallest_winning
from lthprune.experiments.sweep import begin_sweep, run_sweep
from lthprune.experiments.sweep_summary import summarise_sweep
from lthprune.search.failures import Failure
from lthprune.training.stopping import early_stopping_index
from tests.tiny import joined, tiny


def test_a_level_is_summed_up_over_the_trials_at_their_early_stopping_steps(tmp_path: Path) -> None:
    run = run_recipe(tiny("run.trials=3"), "tiny", out=tmp_path)
    levels = run.summary()
    assert [level.level for level in levels] == [0, 1, 2]
    for level in levels:
        tickets = run.tickets.level(level.level)
        assert (level.left, level.density) == (tickets[0].left, tickets[0].density)
        places = [early_stopping_index(ticket.metrics["history"]["val_loss"]) for ticket in tickets]
        for name in ("val_acc", "test_acc"):
            values = [
                float(ticket.metrics["history"][name][place]) for ticket, place in zip(tickets, places, strict=True)
            ]
            assert getattr(level, name) == pytest.approx((np.mean(values), min(values), max(values)))
        steps = [(2, 4, 6)[place] for place in places]
        assert level.early_stop == pytest.approx((np.mean(steps), min(steps), max(steps)))


ACCURACIES, STEPS = st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([100, 200, 300])


@given(st.lists(st.tuples(ACCURACIES, ACCURACIES, STEPS), min_size=1, max_size=6))
def test_a_winning_ticket_is_as_accurate_on_validation_data_and_stops_no_later_than_the_dense_network(
    measured: list[tuple[float, float, int]],
) -> None:
    levels = [
        LevelSummary(at, 0.8**at, 100 - at, Spread(val, 0, 1), Spread(test, 0, 1), Spread(step, step, step))
        for at, (val, test, step) in enumerate(measured)
    ]
    accurate = [at for at, (val, _, _) in enumerate(measured) if at > 0 and val >= measured[0][0]]
    winning = [at for at in accurate if measured[at][2] <= measured[0][2]]
    assert smallest_winning(levels, "accuracy") == (levels[accurate[-1]] if accurate else None)
    assert smallest_winning(levels) == (levels[winning[-1]] if winning else None)


def test_a_level_without_some_trial_or_with_a_failed_one_is_no_winning_ticket() -> None:
    def level(at: int, trials: int = 5, failures: tuple[Failure, ...] = ()) -> LevelSummary:
        accuracy, step = Spread(0.9 + at / 100, 0, 1), Spread(100, 100, 100)
        return LevelSummary(at, 0.8**at, 100 - at, accuracy, accuracy, step, trials=trials, failures=failures)

    dead = Failure(kind="dead", trial=2, level=2, reason="its outputs are the same for every validation sample")
    levels = [level(0), level(1), level(2, failures=(dead,)), level(3, trials=4)]
    assert smallest_winning(levels) == smallest_winning(levels, "accuracy") == levels[1]
    assert smallest_winning([level(0, trials=4), level(1, trials=4)]) is not None


def test_a_level_counts_the_trials_whose_validation_loss_is_lowest_at_the_last_step(tmp_path: Path) -> None:
    run = run_recipe(tiny("run.trials=3", "train.lr=0.01"), "tiny", out=tmp_path)
    for level in run.summary():
        losses = [ticket.metrics["history"]["val_loss"] for ticket in run.tickets.level(level.level)]
        assert level.cut_off == sum(early_stopping_index(loss) == len(loss) - 1 for loss in losses)
    diverging = run_recipe(tiny("train.lr=3.0"), "tiny", out=tmp_path)
    assert diverging.summary()[0].cut_off < 2


def test_a_run_without_a_finished_level_has_an_empty_summary(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_recipe(tiny(), "tiny", out=tmp_path, watcher=Watcher(on_evaluation=stop))
    (folder,) = tmp_path.iterdir()
    assert Run(folder).summary() == []


@pytest.mark.parametrize("file", ["trial-0/level-00.safetensors", "histories.npz"])
def test_a_damaged_file_is_refused_rather_than_summed_up(tmp_path: Path, file: str) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    path = shutil.copytree(run.folder, tmp_path / "copy") / file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StorageError, match=path.name):
        Run(tmp_path / "copy").summary()


def test_each_tasks_test_accuracy_is_summed_up_by_its_name(tmp_path: Path) -> None:
    run = run_recipe(joined("run.trials=3"), "joined", out=tmp_path)
    for level in run.summary():
        assert list(level.task_test_acc) == ["moons", "circles"]
        for name, spread in level.task_test_acc.items():
            values = [ticket.metrics["tasks"][name]["test_acc"] for ticket in run.tickets.level(level.level)]
            assert spread == pytest.approx((np.mean(values), min(values), max(values)))
        mean = np.mean([spread.mean for spread in level.task_test_acc.values()])
        assert mean == pytest.approx(level.test_acc.mean)
    assert not run_recipe(tiny(), "tiny", out=tmp_path).summary()[0].task_test_acc


TOYS = [
    "train.steps=4",
    "prune.min_survivors=1",
    "train.batch_size=60",
    "data.validation=200",
    "prune.levels=6",
    "prune.target=8",
]


def test_what_became_of_every_trials_network_is_counted_cell_by_cell(tmp_path: Path) -> None:
    axes = {"model.hidden": [4, 6], "run.seed": [0, 1, 2]}
    for row in summarise_sweep(run_sweep(begin_sweep("moons-circles", axes, TOYS, out=tmp_path))):
        run = row.cell.run
        trials = [run.splittings(trial) for trial in range(3)]
        ends = [outcome([level.splitting.status for level in levels]) for levels in trials]
        assert sum(row.outcomes.values()) == 3
        assert {end: number for end, number in row.outcomes.items() if number} == {end: ends.count(end) for end in ends}
        assert len(row.separated) == sum("separated" in end for end in ends)
        for levels, tickets in zip(
            trials, zip(*(run.tickets.level(level) for level in range(7)), strict=True), strict=True
        ):
            assert [level.left for level in levels] == [ticket.left for ticket in tickets]
            assert [level.test_acc["moons"] for level in levels] == [
                ticket.metrics["tasks"]["moons"]["test_acc"] for ticket in tickets
            ]


def test_a_cell_of_one_task_has_nothing_to_split_into(tmp_path: Path) -> None:
    short = ["train.steps=4", "prune.levels=1"]
    (row,) = summarise_sweep(run_sweep(begin_sweep("lenet-digits", {"run.seed": [0]}, short, out=tmp_path)))
    assert row.outcomes == {}
    assert row.separated == []
