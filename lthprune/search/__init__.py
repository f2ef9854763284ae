"""How tickets are found and kept: rewinding, tickets, stores, the descent and its drivers."""

from lthprune.search.collection import Tickets
from lthprune.search.controls import (
    constant_magnitudes,
    randomly_masked,
    reinitialised,
    with_constant_magnitude,
    with_other_masks,
    with_signs_kept,
)
from lthprune.search.descent import Descent, source_level
from lthprune.search.drivers import imp, osp
from lthprune.search.early_birds import EarlyBird
from lthprune.search.failures import ALL_DIVERGED, LOWER_RATE, Diverged, Failure, FailureKind
from lthprune.search.findings import FoundTickets
from lthprune.search.generators import imp_levels, osp_levels
from lthprune.search.joining import append_joined, begin_joined, end_joined, split_off
from lthprune.search.metrics import Metrics
from lthprune.search.own import try_score
from lthprune.search.ranks import Ranks, ranks_of
from lthprune.search.retraining import retrain_levels
from lthprune.search.rewinding import Rewind, Rewinder
from lthprune.search.settings import Search, schedule_from
from lthprune.search.spec import SCHEDULES, PruneSpec
from lthprune.search.store import Stored, TicketStore
from lthprune.search.supermasks import Supermask
from lthprune.search.tickets import Ticket, load_ticket
from lthprune.search.trainings import Level

__all__ = [
    "ALL_DIVERGED",
    "LOWER_RATE",
    "SCHEDULES",
    "Descent",
    "Diverged",
    "EarlyBird",
    "Failure",
    "FailureKind",
    "FoundTickets",
    "Level",
    "Metrics",
    "PruneSpec",
    "Ranks",
    "Rewind",
    "Rewinder",
    "Search",
    "Stored",
    "Supermask",
    "Ticket",
    "TicketStore",
    "Tickets",
    "append_joined",
    "begin_joined",
    "constant_magnitudes",
    "end_joined",
    "imp",
    "imp_levels",
    "load_ticket",
    "osp",
    "osp_levels",
    "randomly_masked",
    "ranks_of",
    "reinitialised",
    "retrain_levels",
    "schedule_from",
    "source_level",
    "split_off",
    "try_score",
    "with_constant_magnitude",
    "with_other_masks",
    "with_signs_kept",
]
