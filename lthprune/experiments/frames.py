"""Tables of a run's measurements, in columns: one row per evaluation or per level."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from lthprune.training import Histories

Columns = dict[str, np.ndarray]


def evaluation_columns(histories: Histories, tasks: Sequence[str]) -> Columns:
    """Return a row for each trial, finished level and evaluation. Evaluations without a measurement have no row."""
    curves = {name: curve for name, curve in histories.curves.items() if curve.ndim == 3}
    measured = ~np.all([np.isnan(curve) for curve in curves.values()], axis=0)  # (trials, levels + 1, evaluations)
    measured &= ~np.isnan(histories.density)[:, None]
    trial, level, evaluation = np.nonzero(measured)
    columns = {"trial": trial, "level": level, "density": histories.density[level], "step": histories.steps[evaluation]}
    columns |= {name: curve[measured] for name, curve in curves.items()}
    for name, task, place in _of_tasks(tasks):
        columns[f"{name}_{task}"] = histories.curves[f"task_{name}"][measured][:, place]
    return columns


def level_columns(histories: Histories, tasks: Sequence[str]) -> Columns:
    """Return a row for each trial and level that it has finished, measured at the early-stopping step."""
    trial, level = np.nonzero(histories.measured)
    columns = {
        "trial": trial,
        "level": level,
        "density": histories.density[level],
        "early_stop_step": histories.early_stop_steps()[trial, level].astype(int),
    }
    for name in (name for name, curve in histories.curves.items() if curve.ndim == 3):
        columns[name] = histories.at_early_stop(name)[trial, level]
    for name, task, place in _of_tasks(tasks):
        columns[f"{name}_{task}"] = histories.at_early_stop(f"task_{name}")[trial, level, place]
    return columns


def as_frame(columns: Columns) -> Any:
    """Return columns as a pandas DataFrame if pandas is installed, otherwise unchanged."""
    return columns if find_spec("pandas") is None else import_module("pandas").DataFrame(columns)


def _of_tasks(tasks: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return what is measured of each task: the name of the measure, the name of the task and its place."""
    return [(name, task, place) for name in ("val_acc", "test_acc") for place, task in enumerate(tasks)]
