"""Ranks: the processes that search together, each with a copy of the same model."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lthprune.errors import PruningError
from lthprune.pruning import Masks, pack
from lthprune.search.failures import Diverged
from lthprune.search.metrics import Metrics

if TYPE_CHECKING:  # a torch without distributed training lacks it
    from torch.distributed import ProcessGroup

T = TypeVar("T")


class Ranks:
    """The processes of one search, or this process alone.

    Whatever these methods send is small: texts and numbers, never masks or weights. Every rank has to call them in the
    same order, as it does where a DistributedDataParallel wrapper synchronises every step of the training.

    Args:
        group: the process group of the search; None, or a group of one process, stands for this process alone.

    Attributes:
        first: whether this is the rank that writes files and shows progress.

    Examples:
        >>> alone = Ranks()
        >>> alone.first, alone.gather("every rank's value, in order")
        (True, ["every rank's value, in order"])
    """

    def __init__(self, group: "ProcessGroup | None" = None) -> None:
        self._group = None if group is None or dist.get_world_size(group) == 1 else group
        self.first = self._group is None or dist.get_rank(self._group) == 0

    def gather(self, value: T) -> list[T]:
        """Return the value of every rank, rank by rank."""
        if self._group is None:
            return [value]
        values: list[T] = [value] * dist.get_world_size(self._group)
        dist.all_gather_object(values, value, group=self._group)
        return values

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a part of the search on every rank. If it fails on one rank it fails on all: no rank waits for another.

        Raises:
            PruningError: the part failed on another rank, which the message names.
        """
        try:
            yield
        except Exception as error:
            self.gather(f"{type(error).__name__}: {error}")
            raise
        failures = {rank: failure for rank, failure in enumerate(self.gather("")) if failure}
        for rank, failure in failures.items():
            raise PruningError(f"the search ends on all ranks, because rank {rank} failed. {failure}")

    def agree(self, metrics: Sequence[Metrics | Diverged]) -> list[Metrics | Diverged]:
        """Return this rank's metrics of each model, or ``Diverged`` where any rank says so: all go on without it."""
        reports = self.gather([each if isinstance(each, Diverged) else None for each in metrics])
        return [
            next((report for report in said if report is not None), own)
            for own, *said in zip(metrics, *reports, strict=True)
        ]

    def check_masks(self, level: int, masks: Sequence[Masks]) -> None:
        """Check that all ranks train a level with the same masks; sends a digest of each tensor's mask.

        Args:
            level: for the message.
            masks: those of every model.

        Raises:
            PruningError: some differ; all ranks raise it, and it names ranks and tensors.
        """
        if self._group is None:
            return
        first, *others = self.gather([{name: _digest(mask) for name, mask in each.items()} for each in masks])
        differing = {
            rank: [name for own, other in zip(first, each, strict=True) for name in own if other.get(name) != own[name]]
            for rank, each in enumerate(others, start=1)
        }
        named = "; ".join(
            f"rank {rank} differs in {', '.join(names[:5])}" for rank, names in differing.items() if names
        )
        if named:
            raise PruningError(
                f"level {level} is not trained, because not all ranks have the masks of rank 0: {named}. In train(), "
                "call the wrapper (DistributedDataParallel), not the model inside it, so that gradients are averaged; "
                "and let scores depend on nothing that differs between ranks."
            )


def ranks_of(models: Sequence[nn.Module]) -> Ranks:
    """Return the processes that search together: those of the DistributedDataParallel wrappers in the models.

    A process searches alone if its model has no wrapper, even if it belongs to a process group. So every rank can run a
    search of its own, and none waits for another.

    Raises:
        PruningError: the wrappers have different process groups.
    """
    groups = {
        id(module.process_group): module.process_group
        for model in models
        for module in model.modules()
        if isinstance(module, DistributedDataParallel)
    }
    if len(groups) > 1:
        raise PruningError(
            "the models contain DistributedDataParallel wrappers of different process groups, so it is not clear which "
            "ranks search together. Wrap all of them in one process group."
        )
    return Ranks(*groups.values())


def _digest(mask: Tensor) -> str:
    return hashlib.sha256(pack(mask).numpy().tobytes()).hexdigest()
