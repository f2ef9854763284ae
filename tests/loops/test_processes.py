"""Loops in several processes: data-parallel, sharded, and on shared memory."""

from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import nn
from torch.nn.functional import cross_entropy

import lthprune
from tests.loops import ranks
from tests.loops.checked import FORMS, batch_of, replay, same, search
from tests.nets import all_bits, net

pytestmark = pytest.mark.heavy
SHARDING = ["flat parameters", "original parameters"]
if hasattr(torch.cpu.Stream, "record_event"):  # which fully_shard needs, and torch 2.6 has on accelerators only
    SHARDING.append("fully_shard")


def whole(model: nn.Module) -> None:
    """What the processes of a data-parallel loop do together."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for step in range(5):
        optimizer.zero_grad()
        inputs, labels = batch_of(step, size=8)
        cross_entropy(model(inputs), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("outside", [False, True])
def test_two_processes_find_the_same_tickets_as_one(tmp_path: Path, outside: bool, form: str) -> None:
    torch.multiprocessing.spawn(ranks.data_parallel, (2, tmp_path, form, outside), nprocs=2)
    found = [
        lthprune.Tickets(lthprune.load_ticket(tmp_path / f"{rank}-{level}.safetensors") for level in range(3))
        for rank in range(2)
    ]
    for one, other in zip(*found, strict=True):
        assert all_bits(one.masks) == all_bits(other.masks)
        assert all_bits(one.trained) == all_bits(other.trained)
        assert list(one.masks) == ["1.weight", "3.weight", "5.weight"]
    same(found[0], search(net(), whole), rtol=1e-4, atol=1e-5)
    replay(net, whole, found[0])
    whole(found[0][2].apply(net(seed=3)))


@pytest.mark.parametrize("steps_before", [0, 1])
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", SHARDING)
def test_a_model_that_is_sharded_in_train_is_refused_or_right(
    tmp_path: Path, kind: str, size: int, steps_before: int
) -> None:
    torch.multiprocessing.spawn(ranks.sharded, (size, tmp_path, kind, steps_before), nprocs=size)
    for rank in range(size):
        said = (tmp_path / f"said-{rank}").read_text()
        if kind == "original parameters" and size == 1:  # which is no sharding
            assert said == "the same tickets"
        else:
            assert "Train with DistributedDataParallel" in said or "rather than shard it (FSDP)" in said, said


@pytest.mark.parametrize("form", FORMS)
def test_processes_that_train_on_shared_memory_bring_back_no_weight(form: str) -> None:
    def train(model: nn.Module) -> None:
        model.share_memory()
        torch.multiprocessing.spawn(ranks.hogwild, (model,), nprocs=2)

    tickets = search(net(), train, form=form, spied=False)
    assert [ticket.left for ticket in tickets] == [159, 79, 40]
