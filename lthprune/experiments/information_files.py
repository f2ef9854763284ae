"""The folder ``information`` of a run: estimates for each level, step and trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from lthprune.analysis import Information, LevelInformation
from lthprune.experiments.measurements import Measurements


class TrialInformation(NamedTuple):
    """The density of a level, and the estimates of one trial at one step, by the names of both variables."""

    density: float
    pairs: Mapping[tuple[str, str], Information]


class _Estimates(BaseModel, strict=True):
    mine: float
    mine_trained: float
    neighbours: float


class _File(BaseModel, strict=True):
    """What a file contains, whoever wrote it."""

    density: float
    nats: dict[str, _Estimates]


def information_files(run: Path) -> Measurements[TrialInformation]:
    """Return the estimates of mutual information in the folder of a run."""
    return Measurements(run / "information", _stored, _restored)


def gather_information(
    files: Measurements[TrialInformation], trials: Sequence[Sequence[int]]
) -> tuple[LevelInformation, ...]:
    """Return what is estimated for all trials, level by level, the steps of a level's training before its end.

    Raises:
        StorageError: a file is damaged.
    """
    return tuple(level_information(files, level, step, trials[level]) for level, step in files.complete(trials))


def level_information(
    files: Measurements[TrialInformation], level: int, step: int | None, trials: Sequence[int]
) -> LevelInformation:
    """Return what is estimated for these trials at a level and step.

    Raises:
        StorageError: a file is missing or damaged.
    """
    first, *others = (files.read(level, step, trial) for trial in trials)
    pairs = [pair for pair in first.pairs if all(pair in other.pairs for other in others)]
    found = {pair: tuple(own.pairs[pair] for own in (first, *others)) for pair in pairs}
    return LevelInformation(level, first.density, step, found)


def _stored(measured: TrialInformation) -> dict[str, Any]:
    nats = {":".join(pair): own._asdict() for pair, own in measured.pairs.items()}
    return {"density": measured.density, "nats": nats}


def _restored(stored: Mapping[str, Any]) -> TrialInformation:
    file = _File.model_validate(stored)
    nats = {name.partition(":")[::2]: Information(**dict(own)) for name, own in file.nats.items()}
    return TrialInformation(file.density, nats)
