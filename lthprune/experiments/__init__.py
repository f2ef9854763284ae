"""Experiments declared in recipes: run directories, execution, sweeps, summaries and structure."""

from lthprune.experiments.axes import in_toml, parse_axes
from lthprune.experiments.execution import Watcher, resume_run, run_recipe
from lthprune.experiments.export import Export, export_ticket, load_export
from lthprune.experiments.figures import save_figures
from lthprune.experiments.preview import Extension, LayerRow, extensions_of, tabulate_layers, trajectory_of
from lthprune.experiments.recipe import Recipe, bundled, load_recipe
from lthprune.experiments.run import Run, find_runs
from lthprune.experiments.structure import LevelSplitting, LevelStructure, Structure, analyse, analyse_level
from lthprune.experiments.summary import CellSummary, LevelSummary, Spread, smallest_winning, summarise, summarise_sweep
from lthprune.experiments.sweep import Cell, Sweep, begin_sweep, find_sweeps, run_sweep
from lthprune.experiments.timing import LevelTime, TimeEstimate, estimate_time

__all__ = [
    "Cell",
    "CellSummary",
    "Export",
    "Extension",
    "LayerRow",
    "LevelSplitting",
    "LevelStructure",
    "LevelSummary",
    "LevelTime",
    "Recipe",
    "Run",
    "Spread",
    "Structure",
    "Sweep",
    "TimeEstimate",
    "Watcher",
    "analyse",
    "analyse_level",
    "begin_sweep",
    "bundled",
    "estimate_time",
    "export_ticket",
    "extensions_of",
    "find_runs",
    "find_sweeps",
    "in_toml",
    "load_export",
    "load_recipe",
    "parse_axes",
    "resume_run",
    "run_recipe",
    "run_sweep",
    "save_figures",
    "smallest_winning",
    "summarise",
    "summarise_sweep",
    "tabulate_layers",
    "trajectory_of",
]
