"""What the processes of ``test_ranks.py`` run, in a file that spawned processes can import."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import profile

import lthprune
from lthprune.errors import LthpruneError
from lthprune.search import Diverged, Failure, TicketStore, retrain_levels
from tests.loops.ranks import group, half
from tests.nets import net

WORDS = {"levels": 2, "rate": 0.5}
Train = Callable[..., None]


def training(rank: int, *, steps: int = 3) -> Train:
    """A loop that trains on this rank's half of each batch."""

    def train(model: nn.Module) -> None:
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
        for step in range(steps):
            optimizer.zero_grad()
            half(model, step, rank, 2).backward()
            optimizer.step()

    return train


def refusals(rank: int, size: int, folder: Path) -> None:
    """Run searches that have to end on all ranks, one after the other, and keep what each of them raised."""
    ordinary = training(rank)
    calls: list[int] = []

    def around_the_wrapper(model: nn.Module) -> None:
        calls.append(0)
        ordinary(model.module)  # type: ignore[arg-type]

    def damaging(model: nn.Module) -> None:
        ordinary(model)
        if rank == 0 and TicketStore(folder / "damaged").finished == 1:
            (folder / "damaged" / "manifest.json").write_text("{")

    def regrowing(model: nn.Module, level: lthprune.search.Level) -> None:
        ordinary(model)
        if rank == level.number == 1:
            with torch.no_grad():
                next(model.parameters()).fill_(1)

    def rank_dependent(candidate: Any) -> torch.Tensor:
        scores: torch.Tensor = candidate.final.abs() * (-1) ** rank
        return scores

    def unready(ticket: object) -> None:
        if rank == 1:
            raise OSError("no space left")

    lthprune.imp(wrapped(rank), ordinary, **WORDS | {"levels": 0}, store=folder / "unshared-0")  # type: ignore[call-overload]
    cases: dict[str, tuple[Train, dict[str, Any]]] = {
        "gradients that are not averaged": (around_the_wrapper, {}),
        "scores that depend on the rank": (ordinary, {"score": rank_dependent}),
        "a store in use": (ordinary, {"store": folder / "locked"}),
        "a store that one rank cannot see": (ordinary, {"levels": 0, "store": folder / f"unshared-{rank}"}),
        "a store on one rank alone": (ordinary, {"store": None if rank else folder / "one rank's"}),
        "a store that is damaged between levels": (damaging, {"store": folder / "damaged"}),
        "weights that grow back on one rank": (regrowing, {}),
        "a callback that fails on one rank": (ordinary, {"on_level": unready}),
    }
    for case, (train, words) in cases.items():
        try:
            lthprune.imp(wrapped(rank), train, **WORDS | words)  # type: ignore[call-overload]
            said = "nothing"
        except (LthpruneError, OSError) as error:
            said = f"{type(error).__name__}: {error}"
        (folder / f"{case}, rank {rank}").write_text(said)
    (folder / f"calls, rank {rank}").write_text(str(len(calls)))


def wrapped(rank: int) -> nn.Module:
    return DistributedDataParallel(net(seed=rank))


def pair(rank: int) -> list[nn.Module]:
    return [wrapped(rank), wrapped(rank + 2)]


def run_refusals(rank: int, size: int, folder: Path) -> None:
    with group(rank, size, folder):
        refusals(rank, size, folder)


def separate(rank: int, size: int, folder: Path) -> None:
    """In a group of three, ranks 0 and 1 search together, and rank 2 alone, through fewer levels."""
    with group(rank, size, folder):
        pair = dist.new_group([0, 1])
        if rank < 2:
            model: nn.Module = DistributedDataParallel(net(seed=rank), process_group=pair)
            tickets = lthprune.imp(model, training(rank), levels=2, rate=0.5, store=folder / "together")
        else:
            tickets = lthprune.imp(net(), training(0), levels=1, rate=0.3, store=folder / "alone")
        for ticket in tickets:
            ticket.save(folder / f"{rank}-{ticket.level}.safetensors")


def resumed(rank: int, size: int, folder: Path) -> None:
    """Search with one store, stop both ranks in the training of level 1, and continue with fresh models."""

    def stopping(model: nn.Module) -> None:
        if TicketStore(folder / "store").finished == 1:
            raise KeyError("stopped")
        training(rank)(model)

    with group(rank, size, folder):
        try:
            lthprune.imp(wrapped(rank), stopping, levels=2, rate=0.5, store=folder / "store")
        except KeyError:
            tickets = lthprune.imp(wrapped(rank + 5), training(rank), levels=2, rate=0.5, store=folder / "store")
        for ticket in tickets:
            ticket.save(folder / f"{rank}-{ticket.level}.safetensors")


def diverging(rank: int, size: int, folder: Path) -> None:
    """Search and retrain, while rank 1 alone finds that the second model diverged at level 1; keep what is found."""
    diverged = Diverged(step=3, lr=0.1, reason="the training loss is NaN")

    def train(models: list[nn.Module], level: lthprune.search.Level) -> list[Diverged | None]:
        for model in models:
            training(rank)(model)
        return [diverged if (rank, trial, level.number) == (1, 1, 1) else None for trial in level.trials]

    with group(rank, size, folder):
        words: dict[str, Any] = {"levels": 2, "rate": 0.5, "final_form": "plain"}
        searched = lthprune.imp(pair(rank), train, **words, store=folder / "store")
        starts = lthprune.imp(pair(rank), lambda models: None, **words)
        failures: list[Failure] = []
        levels = zip(*starts, strict=True)
        retrained = [*retrain_levels(pair(rank), train, levels, levels=2, on_failure=failures.append)]
        found = {
            "searched": [[ticket.level for ticket in tickets] for tickets in searched],
            "retrained": [[ticket.trial for ticket in tickets] for tickets in retrained],
            "failures": list(map(str, failures)),
        }
        (folder / f"found-{rank}.json").write_text(json.dumps(found))


def messages(rank: int, size: int, folder: Path) -> None:
    """Keep the messages of one step at every level: names of collectives, and the numbers that each sends."""
    seen: list[list[Any]] = []

    def train(model: nn.Module) -> None:
        with profile(record_shapes=True) as recorded:
            training(rank, steps=1)(model)
        sent = [(event.name, event.input_shapes) for event in recorded.events() if event.name.startswith("gloo:")]
        seen.append(sorted(sent))

    with group(rank, size, folder):
        model = DistributedDataParallel(net("normalised"))
        training(rank, steps=2)(model)  # the first steps also agree on the order of gradients
        lthprune.imp(model, train, levels=3, rate=0.5)
        (folder / f"messages-{rank}.json").write_text(json.dumps(seen))
