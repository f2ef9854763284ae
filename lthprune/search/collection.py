"""The tickets of a search together: a sequence, level by level."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from lthprune.errors import PruningError
from lthprune.search.metrics import Metrics
from lthprune.search.tickets import Ticket


class Tickets(Sequence[Ticket]):
    """The tickets of one search, level by level; ``tickets[0]`` is the dense network."""

    def __init__(self, tickets: Iterable[Ticket]) -> None:
        self._tickets = tuple(tickets)

    @overload
    def __getitem__(self, index: int) -> Ticket: ...
    @overload
    def __getitem__(self, index: slice) -> "Tickets": ...
    def __getitem__(self, index: int | slice) -> "Ticket | Tickets":
        return Tickets(self._tickets[index]) if isinstance(index, slice) else self._tickets[index]

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets)

    def __repr__(self) -> str:
        lines = [f"level {t.level:2d}  density {t.density:7.2%}  {_brief(t.metrics)}".rstrip() for t in self]
        return "\n".join(["Tickets:", *lines])

    def smallest(self, condition: Callable[[Ticket], bool] = lambda ticket: True) -> Ticket:
        """Return the ticket with the fewest weights among those that fulfil a condition.

        Raises:
            PruningError: no ticket fulfils it.
        """
        fitting = [ticket for ticket in self if condition(ticket)]
        if not fitting:
            raise PruningError(f"none of the {len(self)} tickets fulfils the condition.")
        return min(fitting, key=lambda ticket: ticket.left)


def _brief(metrics: Metrics) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float))
