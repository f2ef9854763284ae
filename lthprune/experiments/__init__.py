"""Experiments declared in recipes: run directories, execution, sweeps, summaries and structure."""

from lthprune.experiments.axes import in_toml, parse_axes
from lthprune.experiments.clusters import resume_run_on, run_controls_on, run_recipe_on, run_sweep_on
from lthprune.experiments.comparison import (
    Comparison,
    Difference,
    against_dense,
    compare,
    level_ranges,
    unpaired_difference,
)
from lthprune.experiments.control_kinds import CONTROLS, plan_controls
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.folders import find_runs
from lthprune.experiments.information import InformationWatcher, run_information, save_information
from lthprune.experiments.jobs import Cluster, Finished, Job, Lost, Message, perform
from lthprune.experiments.layer_counts import LayerCounts, count_by_layer
from lthprune.experiments.matching import Estimate, MatchedLevel, MatchedRun, compare_runs, plot_runs, save_runs
from lthprune.experiments.merging import merge_runs
from lthprune.experiments.overlaps import Overlap, level_overlaps, mask_overlaps
from lthprune.experiments.preview import Extension, LayerRow, Preview, preview_recipe
from lthprune.experiments.recipe import Recipe, bundled, load_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.run_folder import name_trials
from lthprune.experiments.spec import ResourceSpec
from lthprune.experiments.stability import run_stability, save_stability
from lthprune.experiments.structure import LevelSplitting, LevelStructure, Structure
from lthprune.experiments.summary import LevelSummary, Spread, smallest_winning
from lthprune.experiments.sweep import Cell, Sweep, begin_sweep, find_sweeps, run_sweep
from lthprune.experiments.sweep_figures import plot_sweep, save_sweep_figures
from lthprune.experiments.sweep_summary import CellSummary, summarise_sweep
from lthprune.experiments.timing import LevelTime, TimeEstimate, estimate_time
from lthprune.experiments.transfer import recipe_of_transfer, resume_transfer, transfer_run
from lthprune.experiments.untrained import (
    UNTRAINED_MASKS,
    UNTRAINED_WEIGHTS,
    Untrained,
    save_untrained,
    untrained_accuracies,
)

__all__ = [
    "CONTROLS",
    "UNTRAINED_MASKS",
    "UNTRAINED_WEIGHTS",
    "Cell",
    "CellSummary",
    "Cluster",
    "Comparison",
    "Difference",
    "Estimate",
    "Extension",
    "Finished",
    "InformationWatcher",
    "Job",
    "LayerCounts",
    "LayerRow",
    "LevelSplitting",
    "LevelStructure",
    "LevelSummary",
    "LevelTime",
    "Lost",
    "MatchedLevel",
    "MatchedRun",
    "Message",
    "Overlap",
    "Preview",
    "Recipe",
    "ResourceSpec",
    "Run",
    "Spread",
    "Structure",
    "Sweep",
    "TimeEstimate",
    "Untrained",
    "Watcher",
    "against_dense",
    "begin_sweep",
    "bundled",
    "compare",
    "compare_runs",
    "count_by_layer",
    "estimate_time",
    "find_runs",
    "find_sweeps",
    "in_toml",
    "level_overlaps",
    "level_ranges",
    "load_recipe",
    "mask_overlaps",
    "merge_runs",
    "name_trials",
    "parse_axes",
    "perform",
    "plan_controls",
    "plot_runs",
    "plot_sweep",
    "preview_recipe",
    "recipe_of_transfer",
    "resume_run",
    "resume_run_on",
    "resume_transfer",
    "run_control",
    "run_controls_on",
    "run_information",
    "run_recipe",
    "run_recipe_on",
    "run_stability",
    "run_sweep",
    "run_sweep_on",
    "save_information",
    "save_runs",
    "save_stability",
    "save_sweep_figures",
    "save_untrained",
    "smallest_winning",
    "summarise_sweep",
    "transfer_run",
    "unpaired_difference",
    "untrained_accuracies",
]
