"""What a search has found so far: its tickets, in memory and, with a store, on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from torch import nn

from lthprune.arguments import described
from lthprune.errors import PruningError
from lthprune.pruning import masks_of, snapshot
from lthprune.search.settings import Search, counts_per_level
from lthprune.search.store import Stored, TicketStore
from lthprune.search.tickets import Ticket


class FoundTickets(Sequence[tuple[Ticket, ...]]):
    """The tickets that a search has found, level by level, a tuple for each; a store keeps them on disk, too.

    Args:
        driver: ``"imp"`` or ``"osp"``.
        search: what is searched for.
        store: a folder; the levels that are finished there count as found.
        on_level: called with the ticket of each new level, or the tuple of them.

    Raises:
        PruningError: no folder or function is given, or a store could not recognise the search again.
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
        self._resumed = self._store is not None and self._store.exists
        self._levels: list[tuple[Ticket, ...]] = []
        if self._store is not None:
            if "<lambda>" in str(self._provenance):
                raise PruningError("a store could not tell one lambda from another; give the function a name with def.")
            if self._resumed:
                self._store.check(self._provenance)
                self._levels = [self._store.level(level) for level in range(self._store.finished)]

    @overload
    def __getitem__(self, index: int) -> tuple[Ticket, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Ticket, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Ticket, ...] | Sequence[tuple[Ticket, ...]]:
        return self._levels[index]

    def __len__(self) -> int:
        return len(self._levels)

    def begin(self, models: Sequence[nn.Module], *, writes: bool = True) -> Stored | None:
        """Return where the search goes on, or None where it begins with these models, which the store then keeps.

        Args:
            models: the dense models of a search that begins.
            writes: whether this process writes to the store; of several processes, one does.
        """
        if self._store is None:
            return None
        if self._resumed:
            stored = self._store.load()
        else:
            stored = None
            counts_per_level(models, self._search)  # refuses what it refuses before anything is written
            if writes:
                states, masks = [snapshot(model) for model in models], [masks_of(model) for model in models]
                self._store.begin(self._provenance, states, masks)
        if not writes:
            self._store = None
        return stored

    def append(self, level: Ticket | tuple[Ticket, ...]) -> None:
        """Add what a level has found: a ticket, or those of a population."""
        tickets = (level,) if isinstance(level, Ticket) else level
        if self._store is not None:
            self._store.append(tickets)
        self._levels.append(tickets)
        if self._on_level is not None:
            self._on_level(level)
