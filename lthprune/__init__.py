"""lthprune: find, study and hand over lottery tickets."""

from lthprune.analysis import neuron_states
from lthprune.compaction import compact
from lthprune.errors import DataError, LthpruneError, PruningError, RecipeError, StorageError
from lthprune.experiments import Run, load_recipe, resume_run, run_recipe
from lthprune.pruning import Explicit, Geometric, Selection, Target, convert, describe, prune, strip
from lthprune.search import Rewinder, Ticket, Tickets, imp, load_ticket, osp

__all__ = [
    "DataError",
    "Explicit",
    "Geometric",
    "LthpruneError",
    "PruningError",
    "RecipeError",
    "Rewinder",
    "Run",
    "Selection",
    "StorageError",
    "Target",
    "Ticket",
    "Tickets",
    "compact",
    "convert",
    "describe",
    "imp",
    "load_recipe",
    "load_ticket",
    "neuron_states",
    "osp",
    "prune",
    "resume_run",
    "run_recipe",
    "strip",
]
