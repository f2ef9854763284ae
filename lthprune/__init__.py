"""lthprune: find, study and hand over lottery tickets."""

from lthprune.analysis import (
    BiasStates,
    BiasStatistics,
    ComatoseBiases,
    Decidedness,
    LayerStates,
    Lifetimes,
    NetworkStates,
    NeuronState,
    Splitting,
    TicketStates,
    ZombieLives,
    bias_statistics,
    comatose_biases,
    find_splitting,
    neuron_lifetimes,
    neuron_states,
    outcome,
    parameter_lifetimes,
    pruning_horizon,
    ticket_states,
    zombie_lives,
)
from lthprune.compaction import Compacted, CompactionReport, compact, measure_latency, to_csr
from lthprune.coverage import Coverage, CoveredParameter, describe
from lthprune.data import Task
from lthprune.descent import Descent, Search, imp_levels, osp_levels
from lthprune.errors import (
    CoverageWarning,
    DataError,
    LayerCollapseWarning,
    LthpruneError,
    NothingPrunedWarning,
    PruningError,
    RecipeError,
    StorageError,
    UnmovedWarning,
)
from lthprune.experiment import Watcher, resume_run, run_recipe
from lthprune.export import Export, export_ticket, load_export
from lthprune.forms import convert, strip
from lthprune.histories import Histories
from lthprune.masks import Count, keep_highest, overlap
from lthprune.methods import (
    BiasAware,
    GlobalMagnitude,
    LayerwiseMagnitude,
    PerLayerRates,
    PruningMethod,
    RandomPruning,
)
from lthprune.pruning import Pruning, prune
from lthprune.recipe import Recipe, load_recipe
from lthprune.rewinding import Rewinder
from lthprune.runs import Run
from lthprune.schedules import Explicit, Geometric, Target
from lthprune.scores import Candidate, magnitude, magnitude_increase, movement, random
from lthprune.search import imp, osp
from lthprune.seeds import Seeds
from lthprune.selection import Selection
from lthprune.state import refresh
from lthprune.store import Stored, TicketStore
from lthprune.sweep import Cell, Sweep, begin_sweep, run_sweep
from lthprune.tickets import Ticket, Tickets, load_ticket
from lthprune.trajectories import Trajectory, extend

__all__ = [
    "BiasAware",
    "BiasStates",
    "BiasStatistics",
    "Candidate",
    "Cell",
    "ComatoseBiases",
    "Compacted",
    "CompactionReport",
    "Count",
    "Coverage",
    "CoverageWarning",
    "CoveredParameter",
    "DataError",
    "Decidedness",
    "Descent",
    "Explicit",
    "Export",
    "Geometric",
    "GlobalMagnitude",
    "Histories",
    "LayerCollapseWarning",
    "LayerStates",
    "LayerwiseMagnitude",
    "Lifetimes",
    "LthpruneError",
    "NetworkStates",
    "NeuronState",
    "NothingPrunedWarning",
    "PerLayerRates",
    "Pruning",
    "PruningError",
    "PruningMethod",
    "RandomPruning",
    "Recipe",
    "RecipeError",
    "Rewinder",
    "Run",
    "Search",
    "Seeds",
    "Selection",
    "Splitting",
    "StorageError",
    "Stored",
    "Sweep",
    "Target",
    "Task",
    "Ticket",
    "TicketStates",
    "TicketStore",
    "Tickets",
    "Trajectory",
    "UnmovedWarning",
    "Watcher",
    "ZombieLives",
    "begin_sweep",
    "bias_statistics",
    "comatose_biases",
    "compact",
    "convert",
    "describe",
    "export_ticket",
    "extend",
    "find_splitting",
    "imp",
    "imp_levels",
    "keep_highest",
    "load_export",
    "load_recipe",
    "load_ticket",
    "magnitude",
    "magnitude_increase",
    "measure_latency",
    "movement",
    "neuron_lifetimes",
    "neuron_states",
    "osp",
    "osp_levels",
    "outcome",
    "overlap",
    "parameter_lifetimes",
    "prune",
    "pruning_horizon",
    "random",
    "refresh",
    "resume_run",
    "run_recipe",
    "run_sweep",
    "strip",
    "ticket_states",
    "to_csr",
    "zombie_lives",
]
