"""Searches in several processes: equal masks, one store, and errors that end the search on every rank."""

import json
import re
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

import lthprune
from lthprune.search import TicketStore
from lthprune.writing import only_writer
from tests.nets import all_bits, net
from tests.search import ranked

pytestmark = pytest.mark.heavy
DIFFERENT = r"PruningError: level 1 is not trained, because not all ranks have the masks of rank 0: rank 1 differs in "


def saved(folder: Path, rank: int, levels: int) -> lthprune.Tickets:
    return lthprune.Tickets(lthprune.load_ticket(folder / f"{rank}-{level}.safetensors") for level in range(levels + 1))


def bits(tickets: lthprune.Tickets) -> list[object]:
    return [(all_bits(ticket.masks), all_bits(ticket.weights), all_bits(ticket.trained)) for ticket in tickets]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    with only_writer(folder / "locked"):
        torch.multiprocessing.spawn(ranked.run_refusals, (2, folder), nprocs=2)
    return folder


@pytest.mark.parametrize(
    ("case", "first", "second"),
    [
        ("gradients that are not averaged", DIFFERENT + r"1\.weight", DIFFERENT + r"1\.weight"),
        ("scores that depend on the rank", DIFFERENT + r"1\.weight", DIFFERENT + r"1\.weight"),
        (
            "a store in use",
            r"StorageError: .*locked is in use: process \d+ on",
            r"PruningError: the search ends on all ranks, because rank 0 failed\. StorageError: .*in use: process \d+",
        ),
        (
            "a store that one rank cannot see",
            r"StorageError: rank 0 finds 1 finished levels in .*, and rank 1 finds 0",
            r"StorageError: rank 0 finds 1 finished levels in .*, and rank 1 finds 0",
        ),
        (
            "a store on one rank alone",
            "PruningError: some ranks have a store and others have none: 1. Give all of them the same folder",
            "PruningError: some ranks have a store and others have none: 1. Give all of them the same folder",
        ),
        (
            "a store that is damaged between levels",
            r"StorageError: .*manifest.json is damaged",
            r"PruningError: .* because rank 0 failed\. StorageError: .*manifest.json is damaged",
        ),
        (
            "weights that grow back on one rank",
            r"PruningError: .* because rank 1 failed\. PruningError: after train\(\), pruned weights are not zero",
            r"PruningError: after train\(\), pruned weights are not zero in '1\.weight'",
        ),
        (
            "a callback that fails on one rank",
            r"PruningError: .* because rank 1 failed\. OSError: no space left",
            r"OSError: no space left",
        ),
    ],
)
def test_a_search_that_fails_on_one_rank_ends_on_all(refused: Path, case: str, first: str, second: str) -> None:
    for rank, expected in enumerate((first, second)):
        said = (refused / f"{case}, rank {rank}").read_text()
        assert re.match(expected, said, flags=re.DOTALL), said


def test_no_level_is_trained_with_masks_that_differ_between_ranks(refused: Path) -> None:
    assert [(refused / f"calls, rank {rank}").read_text() for rank in range(2)] == ["1", "1"]


def test_ranks_search_together_only_where_one_wrapper_joins_them(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(ranked.separate, (3, tmp_path), nprocs=3)
    one, other = saved(tmp_path, 0, 2), saved(tmp_path, 1, 2)
    assert bits(one) == bits(other)
    alone = lthprune.imp(net(), ranked.training(0), levels=1, rate=0.3)
    assert bits(saved(tmp_path, 2, 1)) == bits(alone)
    assert [TicketStore(tmp_path / name).finished for name in ("together", "alone")] == [3, 2]


def test_one_rank_writes_the_store_and_all_resume_from_it(tmp_path: Path) -> None:
    for name, run in (("resumed", ranked.resumed), ("at once", ranked.separate)):
        (tmp_path / name).mkdir()
        torch.multiprocessing.spawn(run, (2, tmp_path / name), nprocs=2)
    one, other = (saved(tmp_path / "resumed", rank, 2) for rank in range(2))
    assert bits(one) == bits(other) == bits(saved(tmp_path / "at once", 0, 2))
    stored = [TicketStore(tmp_path / "resumed" / "store").ticket(level) for level in range(3)]
    assert bits(lthprune.Tickets(stored)) == bits(one)


def test_a_training_step_sends_the_same_messages_at_every_level_and_no_masks(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(ranked.messages, (2, tmp_path), nprocs=2)
    parameters = sum(parameter.numel() for parameter in net("normalised").parameters())
    for rank in range(2):
        levels = json.loads((tmp_path / f"messages-{rank}.json").read_text())
        assert len(levels) == 4
        assert all(level == levels[0] for level in levels)
        assert ["gloo:all_reduce", [[parameters]]] in levels[0]
        assert sum(shape[0] for name, (shape,) in levels[0] if name == "gloo:broadcast") < parameters / 10


def test_a_model_that_diverges_on_one_rank_ends_on_all(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(ranked.diverging, (2, tmp_path), nprocs=2)
    one, other = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2))
    assert one == other
    assert one["searched"] == [[0, 1, 2], [0]]
    assert one["retrained"] == [[0, 1], [0], [0, 1]]
    (failure,) = TicketStore(tmp_path / "store").failures
    assert one["failures"] == [str(failure)]
