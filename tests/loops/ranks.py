"""Code of the processes in a distributed search, in a file that spawned processes can import."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import lthprune
from lthprune.errors import PruningError
from tests.loops.checked import batch_of, loss_of, same, search
from tests.nets import net


@contextmanager
def group(rank: int, size: int, folder: Path) -> Iterator[None]:
    """A process group of ``size`` processes, in which none waits longer than 45 s; the process ends with it.

    It ends without Python's own end: a thread of gloo that then still drops a Python object aborts the process.
    """
    torch.set_num_threads(1)
    meeting, limit = f"file://{folder}/meeting", timedelta(seconds=45)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size, timeout=limit)
    try:
        yield
    finally:
        dist.destroy_process_group()
    os._exit(0)


def half(model: Callable[..., Any], step: int, rank: int, size: int) -> torch.Tensor:
    """The loss of this process's part of a batch."""
    inputs, labels = batch_of(step, size=8)
    return cross_entropy(model(inputs.chunk(size)[rank]), labels.chunk(size)[rank])


def data_parallel(rank: int, size: int, folder: Path, form: str, outside: bool) -> None:
    """Search in one of several processes and keep its tickets; ``outside``, the search is given the wrapper."""

    def train(model: nn.Module) -> None:
        wrapped = model if outside else DistributedDataParallel(model)
        optimizer = torch.optim.SGD(wrapped.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
        for step in range(5):
            optimizer.zero_grad()
            half(wrapped, step, rank, size).backward()
            torch.nn.utils.clip_grad_norm_(wrapped.parameters(), 0.5)
            optimizer.step()

    with group(rank, size, folder):
        model: nn.Module = net(seed=rank)  # which the wrapper makes alike
        if outside:
            tickets = lthprune.imp(DistributedDataParallel(model), train, levels=2, rate=0.5, form=form)
        else:
            DistributedDataParallel(model)
            tickets = search(model, train, form=form)
        for ticket in tickets:
            ticket.save(folder / f"{rank}-{ticket.level}.safetensors")


def sharded(rank: int, size: int, folder: Path, kind: str, steps_before: int) -> None:
    """Shard the model in ``train``, and keep the error that the search raised."""
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    calls: list[None] = []

    def train(model: nn.Module) -> None:
        calls.append(None)
        trained = model
        if len(calls) > steps_before:
            if kind == "fully_shard":
                fully_shard(model)
            else:
                original = kind == "original parameters"
                device = torch.device("cpu")
                trained = FullyShardedDataParallel(model, use_orig_params=original, device_id=device)
        optimizer = torch.optim.SGD(trained.parameters(), 0.1, momentum=0.9)
        for step in range(3):
            optimizer.zero_grad()
            half(trained, step, rank, size).backward()
            optimizer.step()

    with group(rank, size, folder):
        try:
            tickets = lthprune.imp(net(), train, levels=1, rate=0.5)
            kind, steps_before = "", len(calls) + 2
            same(tickets, search(net(), train, levels=1))
            said = "the same tickets"
        except PruningError as error:
            said = str(error)
        (folder / f"said-{rank}").write_text(said)


def hogwild(rank: int, model: nn.Module) -> None:
    """Train in one of several processes that write to the same weights without locks."""
    torch.set_num_threads(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.1)
    for step in range(5):
        optimizer.zero_grad()
        loss_of(model, 10 * rank + step).backward()
        optimizer.step()
