"""The folder ``stability`` of a run: pairs of copies of its networks, measured level by level, step by step."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lthprune.analysis import LinearPath, Pair, Stability
from lthprune.arguments import differences
from lthprune.errors import StorageError
from lthprune.files import write_atomically

_NAME = re.compile(r"level-(\d+)-step-(\d+)-trial-(\d+)\.json")


class StabilityFolder:
    """A file for each level, step and trial, written when its pairs are measured; ``settings.json`` for all of them.

    Args:
        run: the folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / "stability"

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, or compare them with those of what was measured before, if anything was.

        Raises:
            StorageError: they differ, or the folder cannot be written.
        """
        path, wanted = self.folder / "settings.json", json.loads(json.dumps(dict(settings)))
        if not path.is_file() or not any(self.folder.glob("level-*.json")):
            write_atomically(path, json.dumps(wanted, indent=1).encode())
            return
        differing = differences(_read(path), wanted)
        if differing:
            raise StorageError(
                f"{self.folder} was measured with other settings: {'; '.join(differing)}. Use the same settings, or "
                "move the folder away to measure everything again."
            )

    def has(self, level: int, step: int, trial: int) -> bool:
        """Return whether the pairs of a level, step and trial are measured."""
        return self._path(level, step, trial).is_file()

    def write(self, level: int, density: float, step: int, trial: int, pairs: Sequence[Pair]) -> None:
        """Write the pairs of a level, step and trial.

        Raises:
            StorageError: the folder cannot be written.
        """
        stored = {"density": density, "pairs": [_stored(pair) for pair in pairs]}
        write_atomically(self._path(level, step, trial), json.dumps(stored, indent=1, allow_nan=False).encode())

    def gather(self, trials: int) -> tuple[Stability, ...]:
        """Return what is measured, level by level; steps that lack one of the trials are left out.

        Raises:
            StorageError: a file is damaged.
        """
        names = [_NAME.fullmatch(path.name) for path in self.folder.glob("*.json")]
        found = {(int(name[1]), int(name[2]), int(name[3])) for name in names if name}
        complete = sorted({key[:2] for key in found if all((*key[:2], trial) in found for trial in range(trials))})
        stabilities = []
        for level in sorted({level for level, _ in complete}):
            steps = tuple(step for other, step in complete if other == level)
            read = [[self._pairs(level, step, trial) for trial in range(trials)] for step in steps]
            pairs = tuple(tuple(pair for _, own in each for pair in own) for each in read)
            stabilities.append(Stability(level, read[0][0][0], steps, pairs))
        return tuple(stabilities)

    def _pairs(self, level: int, step: int, trial: int) -> tuple[float, list[Pair]]:
        """Return the density and the pairs of a level, step and trial."""
        path = self._path(level, step, trial)
        stored = _read(path)
        try:
            return float(stored["density"]), [_restored(pair, trial) for pair in stored["pairs"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error

    def _path(self, level: int, step: int, trial: int) -> Path:
        return self.folder / f"level-{level:02d}-step-{step}-trial-{trial}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(f"cannot read {path} ({error}). Restore it from a copy, or delete it and measure it again.")


def _stored(pair: Pair) -> dict[str, Any]:
    path = pair.path
    return {
        "copies": list(pair.copies),
        "distance": _number(pair.distance),
        "angle": _number(pair.angle),
        "at": path.at.tolist(),
        "errors": {name: values.tolist() for name, values in path.errors.items()},
        "losses": {name: [_number(value) for value in values.tolist()] for name, values in path.losses.items()},
    }


def _restored(pair: Mapping[str, Any], trial: int) -> Pair:
    errors, losses = (
        {name: np.array(values, dtype=float) for name, values in pair[kind].items()} for kind in ("errors", "losses")
    )
    first, second = pair["copies"]
    distance, angle = (math.nan if pair[name] is None else float(pair[name]) for name in ("distance", "angle"))
    return Pair(trial, (first, second), LinearPath(np.array(pair["at"], dtype=float), errors, losses), distance, angle)


def _number(value: float) -> float | None:
    """Return a number for a file of JSON, which has no word for those that are not finite."""
    return value if math.isfinite(value) else None
