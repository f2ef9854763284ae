"""The folder ``stability`` of a run: pairs of copies of its networks, measured level by level, step by step."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lthprune.analysis import LinearPath, Pair, Stability
from lthprune.experiments.measurements import Measurements


class TrialStability(NamedTuple):
    """The density of a level, and the pairs of copies of one trial at one step."""

    density: float
    pairs: Sequence[Pair]


def stability_files(run: Path) -> Measurements[TrialStability]:
    """Return the measurements of stability in the folder of a run."""
    return Measurements(run / "stability", _stored, _restored)


def gather_stability(files: Measurements[TrialStability], trials: int) -> tuple[Stability, ...]:
    """Return what is measured, level by level; steps that lack one of the trials are left out.

    Raises:
        StorageError: a file is damaged.
    """
    complete = [(level, step) for level, step in files.complete(trials) if step is not None]
    stabilities = []
    for level in sorted({level for level, _ in complete}):
        steps = tuple(step for other, step in complete if other == level)
        read = [[files.read(level, step, trial) for trial in range(trials)] for step in steps]
        pairs = tuple(tuple(pair for own in each for pair in own.pairs) for each in read)
        stabilities.append(Stability(level, read[0][0].density, steps, pairs))
    return tuple(stabilities)


def _stored(measured: TrialStability) -> dict[str, Any]:
    return {"density": measured.density, "pairs": [_stored_pair(pair) for pair in measured.pairs]}


def _restored(stored: Mapping[str, Any]) -> TrialStability:
    return TrialStability(float(stored["density"]), [_restored_pair(pair, stored["trial"]) for pair in stored["pairs"]])


def _stored_pair(pair: Pair) -> dict[str, Any]:
    path = pair.path
    return {
        "copies": list(pair.copies),
        "distance": _number(pair.distance),
        "angle": _number(pair.angle),
        "at": path.at.tolist(),
        "errors": {name: values.tolist() for name, values in path.errors.items()},
        "losses": {name: [_number(value) for value in values.tolist()] for name, values in path.losses.items()},
    }


def _restored_pair(stored: Mapping[str, Any], trial: int) -> Pair:
    errors, losses = (
        {name: np.array(values, dtype=float) for name, values in stored[kind].items()} for kind in ("errors", "losses")
    )
    (first, second), path = stored["copies"], LinearPath(np.array(stored["at"], dtype=float), errors, losses)
    distance, angle = (math.nan if stored[name] is None else float(stored[name]) for name in ("distance", "angle"))
    return Pair(trial, (first, second), path, distance, angle)


def _number(value: float) -> float | None:
    """Return a number for a file of JSON, which has no word for those that are not finite."""
    return value if math.isfinite(value) else None
