"""How tickets are found and kept: rewinding, tickets, stores, the descent and its drivers."""

from lthprune.search.descent import Descent, imp_levels, osp_levels
from lthprune.search.drivers import SearchOptions, check_words, imp, osp, search_from
from lthprune.search.findings import FoundTickets
from lthprune.search.metrics import Metrics
from lthprune.search.own import try_score
from lthprune.search.rewinding import Rewind, Rewinder
from lthprune.search.settings import Search, schedule_from
from lthprune.search.spec import SCHEDULES, PruneSpec
from lthprune.search.store import Stored, TicketStore
from lthprune.search.tickets import Ticket, Tickets, load_ticket

__all__ = [
    "SCHEDULES",
    "Descent",
    "FoundTickets",
    "Metrics",
    "PruneSpec",
    "Rewind",
    "Rewinder",
    "Search",
    "SearchOptions",
    "Stored",
    "Ticket",
    "TicketStore",
    "Tickets",
    "check_words",
    "imp",
    "imp_levels",
    "load_ticket",
    "osp",
    "osp_levels",
    "schedule_from",
    "search_from",
    "try_score",
]
