"""Experiments declared in recipes: run directories, execution, sweeps, summaries and structure."""

from lthprune.experiments.axes import parse_axes
from lthprune.experiments.execution import Watcher, resume_run, run_recipe
from lthprune.experiments.folders import find_runs
from lthprune.experiments.preview import Extension, LayerRow, Preview, preview_recipe
from lthprune.experiments.recipe import Recipe, bundled, load_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.structure import LevelSplitting, LevelStructure, Structure
from lthprune.experiments.summary import LevelSummary, Spread, smallest_winning
from lthprune.experiments.sweep import Cell, Sweep, begin_sweep, run_sweep
from lthprune.experiments.sweep_summary import CellSummary, summarise_sweep

__all__ = [
    "Cell",
    "CellSummary",
    "Extension",
    "LayerRow",
    "LevelSplitting",
    "LevelStructure",
    "LevelSummary",
    "Preview",
    "Recipe",
    "Run",
    "Spread",
    "Structure",
    "Sweep",
    "Watcher",
    "begin_sweep",
    "bundled",
    "find_runs",
    "load_recipe",
    "parse_axes",
    "preview_recipe",
    "resume_run",
    "run_recipe",
    "run_sweep",
    "smallest_winning",
    "summarise_sweep",
]
