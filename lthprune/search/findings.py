"""The tickets that a search has found so far, in memory and, with a store, on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from torch import nn

from lthprune.arguments import described
from lthprune.errors import PruningError
from lthprune.pruning import masks_of, snapshot
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
        self._resumed = self._store is not None and self._store.exists
        self._levels: list[tuple[Ticket, ...]] = []
        if self._store is not None:
            if "<lambda>" in str(self._provenance):
                raise PruningError("a store could not tell one lambda from another; give the function a name with def.")
            if self._resumed:
                self._store.check(self._provenance)
                self._levels = [self._store.open(level) for level in range(self._store.finished)]

    @overload
    def __getitem__(self, index: int) -> tuple[Ticket, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Ticket, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Ticket, ...] | Sequence[tuple[Ticket, ...]]:
        return self._levels[index]

    def __len__(self) -> int:
        return len(self._levels)

    def begin(self, models: Sequence[nn.Module], *, writes: bool = True) -> Stored | None:
        """Return the stored state to continue from; None for a new search, whose initial models the store then keeps.

        Args:
            models: the dense models of a new search.
            writes: whether this process writes to the store; of several processes, only one should.

        Raises:
            PruningError: the search does not fit the models.
            StorageError: another process writes to the store; or the store is damaged or cannot be written to.
        """
        if self._store is None:
            return None
        if not self._resumed:
            counts_of_search(models, self._search)  # raises before anything is written
        if writes and len(self) <= self._search.levels:
            self._writer = Writer(self._store.folder)
        if self._resumed:
            stored = self._store.load()
        else:
            stored = None
            if writes:
                states, masks = [snapshot(model) for model in models], [masks_of(model) for model in models]
                self._store.begin(self._provenance, states, masks)
        if not writes:
            self._store = None
        return stored

    def append(self, level: Ticket | tuple[Ticket, ...]) -> None:
        """Add the ticket of a finished level, or the tuple of tickets of a population."""
        tickets = (level,) if isinstance(level, Ticket) else level
        if self._store is not None:
            self._store.append(tickets)
        self._levels.append(tickets)
        if self._on_level is not None:
            self._on_level(level)

    def end(self) -> None:
        """Let other processes write to the store."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
