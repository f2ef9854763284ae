"""Measurements of a run's networks, kept in a folder of the run: level by level, step by step, trial by trial."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from lthprune.arguments import differences
from lthprune.errors import StorageError
from lthprune.files import write_atomically
from lthprune.reading import read_json
from lthprune.section import first_fault

_NAME = re.compile(r"level-(\d+)(?:-step-(\d+))?-trial-(\d+)\.json")

Measured = TypeVar("Measured")


class Measurements(Generic[Measured]):
    """A file for each level, step and trial, written when it is measured; ``settings.json`` for all of them.

    A step of None is the end of a level's training.

    Args:
        folder: the folder.
        store: returns a measurement as plain values for a file of JSON.
        restore: returns the measurement, given such values and, as ``trial``, the trial's number. Raises a
            ValueError if they are damaged.
    """

    def __init__(
        self,
        folder: Path,
        store: Callable[[Measured], Mapping[str, Any]],
        restore: Callable[[Mapping[str, Any]], Measured],
    ) -> None:
        self.folder, self._store, self._restore = folder, store, restore

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, or compare them with those of what was measured before, if anything was.

        Raises:
            StorageError: they differ, or the folder cannot be written.
        """
        path, wanted = self.folder / "settings.json", json.loads(json.dumps(dict(settings)))
        if not path.is_file() or not any(self.folder.glob("level-*.json")):
            write_atomically(path, json.dumps(wanted, indent=1).encode())
            return
        differing = differences(_read(path, dict), wanted)
        if differing:
            raise StorageError(
                f"{self.folder} was measured with other settings: {'; '.join(differing)}. Use the same settings, or "
                "move the folder away to measure everything again."
            )

    def has(self, level: int, step: int | None, trial: int) -> bool:
        """Return whether a level, step and trial are measured."""
        return self._path(level, step, trial).is_file()

    def read(self, level: int, step: int | None, trial: int) -> Measured:
        """Return what was measured at a level and step of a trial.

        Raises:
            StorageError: the file is missing or damaged.
        """
        return _read(self._path(level, step, trial), lambda stored: self._restore({**stored, "trial": trial}))

    def write(self, level: int, step: int | None, trial: int, measured: Measured) -> None:
        """Write what was measured at a level and step of a trial.

        Raises:
            StorageError: the folder cannot be written.
        """
        text = json.dumps(self._store(measured), indent=1, allow_nan=False)
        write_atomically(self._path(level, step, trial), text.encode())

    def complete(self, trials: Sequence[Sequence[int]]) -> list[tuple[int, int | None]]:
        """Return the levels and steps that are measured for all trials, in order, the end of each level last.

        ``trials`` are the numbers of those that each finished level has.
        """
        names = [_NAME.fullmatch(path.name) for path in self.folder.glob("*.json")]
        found = {(int(name[1]), int(name[2]) if name[2] else None, int(name[3])) for name in names if name}
        there = {key[:2] for key in found if key[0] < len(trials)}
        keys = {key for key in there if all((*key, trial) in found for trial in trials[key[0]])}
        return sorted(keys, key=lambda key: (key[0], math.inf if key[1] is None else key[1]))

    def _path(self, level: int, step: int | None, trial: int) -> Path:
        return self.folder / f"level-{level:02d}{'' if step is None else f'-step-{step}'}-trial-{trial}.json"


def _read(path: Path, restore: Callable[[Mapping[str, Any]], Measured]) -> Measured:
    try:
        stored = read_json(path)
        if not isinstance(stored, dict):
            raise ValueError("it is no table")
        return restore(stored)
    except (OSError, ValueError) as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else error
        raise StorageError(
            f"cannot read {path} ({fault}). Restore it from a copy, or delete it and measure it again."
        ) from error
