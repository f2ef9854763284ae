"""Runs survive: a small part of what ``python -m tests.survival.page`` tries."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from lthprune.files import write_atomically
from lthprune.writing import only_writer
from results import faults
from tests.survival.damage import damage
from tests.survival.kills import Killing, Survived
from tests.survival.page import power
from tests.survival.places import moved, wrong_clocks
from tests.survival.power import power_cuts
from tests.survival.workloads import WORKLOADS, Grounds
from tests.survival.writers import first_killed, two_at_once


def test_what_was_written_is_there_after_a_power_cut_with_the_folders_around_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    path = root / "new" / "folder" / "file"
    with power_cuts(root, tmp_path / "states") as states:
        for data in (b"old", b"new"):
            with only_writer(path.parent):
                write_atomically(path, data)
            assert (states[-1] / path.relative_to(root)).read_bytes() == data
    found = [state / path.relative_to(root) for state in states]
    assert {each.read_bytes() for each in found if each.exists()} == {b"old", b"new"}


def test_the_table_of_the_page_lists_all_faults_and_nothing_lost() -> None:
    rows = list(faults.rows())
    assert sum(int(tries.replace(",", "")) for fault, tries, *_ in rows if fault.startswith("`kill -9`")) >= 200
    assert {lost for *_, lost in rows} == {"nothing"}


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("COLUMNS", "4000")
        yield Grounds(tmp_path_factory.mktemp("survival") / "grounds")


@pytest.mark.heavy
@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "plot"])
def test_a_command_that_is_killed_ends_with_the_same_bits(grounds: Grounds, name: str) -> None:
    killing, found, draws = Killing(WORKLOADS[name], grounds), Survived(), random.Random(0)
    found.add(killing.at_random(draws))
    for change in draws.sample(range(1, 40), 3):
        found.add(killing.before_change(change) or Survived())
    assert not found.lost


@pytest.mark.heavy
def test_a_power_cut_loses_no_finished_level(grounds: Grounds) -> None:
    for _, tries, happened, lost in power(grounds, random.Random(0), step=6):
        assert not lost
        assert happened.total() == tries


@pytest.mark.heavy
@pytest.mark.parametrize("begins", ["half a run", "run", "store"])
def test_a_damaged_file_is_named_and_what_the_error_advises_gives_the_same_bits(grounds: Grounds, begins: str) -> None:
    happened, lost = damage(grounds, random.Random(0), begins, share=0.1)
    assert not lost
    assert happened.total() > 3


@pytest.mark.heavy
def test_of_two_processes_one_is_refused_and_can_take_over_when_the_other_is_killed(grounds: Grounds) -> None:
    assert not two_at_once(grounds, random.Random(0), 4)[1]
    assert not first_killed(grounds, random.Random(0), 2)[1]


@pytest.mark.heavy
def test_a_run_that_was_moved_or_has_a_wrong_clock_ends_with_the_same_bits(grounds: Grounds) -> None:
    assert not moved(grounds, random.Random(0), 5)[1]
    assert not wrong_clocks(grounds, random.Random(0), 2)[1]
