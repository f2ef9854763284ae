"""The folder ``stability`` of a run: pairs of copies of its networks, measured level by level, step by step."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Len
from pydantic import BaseModel, model_validator

from lthprune.analysis import LinearPath, Pair, Stability
from lthprune.errors import StorageError
from lthprune.experiments.measurements import Measurements


class TrialStability(NamedTuple):
    """The density of a level, and the pairs of copies of one trial at one step."""

    density: float
    pairs: Sequence[Pair]


class _Pair(BaseModel, strict=True):
    """A pair of copies in a file, whoever wrote it."""

    copies: Annotated[list[int], Len(2, 2)]
    distance: float | None
    angle: float | None
    at: Annotated[list[float], Len(2)]
    errors: dict[str, list[float]]
    losses: dict[str, list[float | None]]

    @model_validator(mode="after")
    def _at_every_position(self) -> "_Pair":
        lengths = {*map(len, self.errors.values()), *map(len, self.losses.values())}
        if not {"train", "test"} == self.errors.keys() == self.losses.keys():
            raise ValueError("there are no errors and losses of the training and the test data")
        if lengths != {len(self.at)}:
            raise ValueError(f"there are {len(self.at)} positions and another number of errors or losses")
        return self


class _File(BaseModel, strict=True):
    trial: int
    density: float
    pairs: Annotated[list[_Pair], Len(1)]


def stability_files(run: Path) -> Measurements[TrialStability]:
    """Return the measurements of stability in the folder of a run."""
    return Measurements(run / "stability", _stored, _restored)


def gather_stability(files: Measurements[TrialStability], trials: Sequence[Sequence[int]]) -> tuple[Stability, ...]:
    """Return what is measured, level by level; steps that lack one of the level's trials are left out.

    Raises:
        StorageError: a file is damaged.
    """
    complete = [(level, step) for level, step in files.complete(trials) if step is not None]
    stabilities = []
    for level in sorted({level for level, _ in complete}):
        steps = tuple(step for other, step in complete if other == level)
        read = [[files.read(level, step, trial) for trial in trials[level]] for step in steps]
        if len({len(own.pairs) for each in read for own in each}) > 1:
            raise StorageError(
                f"{files.folder} has other pairs of copies in some files of level {level} than in others. Restore them "
                "from a copy, or move the folder away to measure everything again."
            )
        pairs = tuple(tuple(pair for own in each for pair in own.pairs) for each in read)
        stabilities.append(Stability(level, read[0][0].density, steps, pairs))
    return tuple(stabilities)


def _stored(measured: TrialStability) -> dict[str, Any]:
    return {"density": measured.density, "pairs": [_stored_pair(pair) for pair in measured.pairs]}


def _restored(stored: Mapping[str, Any]) -> TrialStability:
    file = _File.model_validate(stored)
    return TrialStability(file.density, [_restored_pair(pair, file.trial) for pair in file.pairs])


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


def _restored_pair(stored: _Pair, trial: int) -> Pair:
    errors, losses = (
        {name: np.array(values, dtype=float) for name, values in each.items()}
        for each in (stored.errors, stored.losses)
    )
    first, second = stored.copies
    distance, angle = (math.nan if number is None else number for number in (stored.distance, stored.angle))
    path = LinearPath(np.array(stored.at, dtype=float), errors, losses)
    return Pair(trial, (first, second), path, distance, angle)


def _number(value: float) -> float | None:
    """Return a number for a file of JSON, which has no word for those that are not finite."""
    return value if math.isfinite(value) else None
