"""The tickets that a search has found so far, in memory and, with a store, on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from torch import nn

from lthprune.arguments import described
from lthprune.errors import DivergedWarning, PruningError, StorageError, warn_caller
from lthprune.pruning import masks_of, snapshot
from lthprune.search.failures import ALL_DIVERGED, LOWER_RATE, Failure
from lthprune.search.ranks import Ranks
from lthprune.search.settings import Search, counts_of_search
from lthprune.search.store import Stored, TicketStore
from lthprune.search.tickets import Ticket
from lthprune.writing import Writer


class FoundTickets(Sequence[tuple[Ticket, ...]]):
    """The tickets found so far: a sequence with one tuple of tickets per level. A store also keeps them on disk.

    Args:
        driver: ``"imp"`` or ``"osp"``.
        search: levels, schedule, pruning, rewinding.
        store: a folder; its finished levels count as found.
        on_level: called with each new level's ticket, for a population with the tuple of them.

    Raises:
        PruningError: ``store`` is no folder, ``on_level`` no function, or the score is a lambda, which a store cannot
            tell from another one.
        StorageError: the store holds another search or is damaged.
    """

    def __init__(
        self,
        driver: str,
        search: Search,
        store: str | Path | None = None,
        on_level: Callable[[Any], object] | None = None,
    ) -> None:
        if on_level is not None and not callable(on_level):
            raise PruningError(f"on_level is a function that takes each level's ticket; this is {described(on_level)}.")
        if store is not None and (not isinstance(store, str | Path) or store == ""):
            raise PruningError(f'store = {store!r}: name a folder, as in store="search-1", or leave store out.')
        self._search, self._on_level = search, on_level
        self._provenance = search.provenance(driver)
        self._store = None if store is None else TicketStore(store)
        self._writer: Writer | None = None
        self._ranks = Ranks()
        self._resumed = self._store is not None and self._store.exists
        self._files: list[dict[str, str]] | None = None  # of the levels in the store
        self._levels: list[tuple[Ticket, ...]] = []
        self._failures: list[Failure] = []  # since the last finished level
        if self._store is not None:
            if "<lambda>" in str(self._provenance):
                raise PruningError("a store could not tell one lambda from another; give the function a name with def.")
            if self._resumed:
                self._store.check(self._provenance)
                self._files = self._store.manifest()["finished"]
                self._levels = [self._store.open(level) for level in range(len(self._files))]

    @overload
    def __getitem__(self, index: int) -> tuple[Ticket, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Ticket, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Ticket, ...] | Sequence[tuple[Ticket, ...]]:
        return self._levels[index]

    def __len__(self) -> int:
        return len(self._levels)

    @property
    def complete(self) -> bool:
        """Whether all levels are found, or the trainings of all models have diverged."""
        return len(self) > self._search.levels or (self._store is not None and self._store.ended is not None)

    def begin(self, models: Sequence[nn.Module], ranks: Ranks) -> Stored | None:
        """Return the stored state to continue from; None for a new search, whose initial models the store then keeps.

        Args:
            models: the dense models of the search, those included whose trainings have diverged.
            ranks: the processes that search together, of which the first writes to the store.

        Raises:
            PruningError: the search does not fit the models, some ranks have no store, or this failed on another rank.
            StorageError: another process writes to the store; the store is damaged or cannot be written to; or the
                ranks do not find the same levels in it.
        """
        self._ranks = ranks
        self._check_found()
        if self._store is None:
            return None
        with self._ranks.together():
            if not self._resumed:
                counts_of_search(models, self._search)  # raises before anything is written
            elif len(models) != len(self._store.trials()):
                raise StorageError(
                    f"the stored search has {len(self._store.trials())} models; this one is given {len(models)}."
                )
            if self._ranks.first and not self.complete:
                self._writer = Writer(self._store.folder)
            if self._ranks.first and not self._resumed:
                states, masks = [snapshot(model) for model in models], [masks_of(model) for model in models]
                self._store.begin(self._provenance, states, masks)
            return self._store.load() if self._resumed else None

    def append(self, level: Ticket | tuple[Ticket, ...]) -> None:
        """Add the ticket of a finished level, or the tuple of tickets of a population."""
        tickets = (level,) if isinstance(level, Ticket) else level
        with self._ranks.together():
            if self._store is not None and self._ranks.first:
                self._store.append(tickets, self._failures)
            self._failures = []
            self._levels.append(tickets)
            if self._on_level is not None:
                self._on_level(level)

    def _check_found(self) -> None:
        """Raise an error unless all ranks have a store or none has, and find the levels that the first one finds."""
        stores = self._ranks.gather(None if self._store is None else str(self._store.folder))
        without = [str(rank) for rank, store in enumerate(stores) if store is None]
        if 0 < len(without) < len(stores):
            raise PruningError(
                f"some ranks have a store and others have none: {', '.join(without)}. Give all of them the same folder "
                "as store; rank 0 alone writes to it."
            )
        first, *others = self._ranks.gather(self._files)
        for rank, found in enumerate(others, start=1):
            if found != first and (first, found) != (None, []):  # a rank that came later finds what the first began
                numbers = [f"{len(each or [])} finished levels" for each in (first, found)]
                raise StorageError(
                    f"rank 0 finds {numbers[0]} in {stores[0]}, and rank {rank} finds {numbers[1]}, or others. "
                    "All ranks continue from the same files: name a folder on a file system that all machines share."
                )

    def fail(self, failure: Failure) -> None:
        """Warn of a model whose training diverged; a store keeps this with the next level."""
        warn_caller(f"{failure}. The search continues without it. {LOWER_RATE}", DivergedWarning)
        self._failures.append(failure)

    def give_up(self) -> None:
        """Keep in the store that the trainings of all models have diverged, if so; called after the last level."""
        with self._ranks.together():
            if self._store is not None and self._failures and self._ranks.first:
                self._store.end(ALL_DIVERGED, self._failures)

    def end(self) -> None:
        """Let other processes write to the store."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
