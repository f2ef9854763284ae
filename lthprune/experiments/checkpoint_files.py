"""The checkpoints in a run's folder: which training each belongs to, and their removal."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lthprune.search import Level
from lthprune.training import Checkpoint

_SUFFIX = ".safetensors"


def checkpoint_in(folder: Path, manifest: Mapping[str, Any], level: Level, place: int, trainer: str) -> Checkpoint:
    """Return the checkpoint of a training of a run.

    A file belongs to this training if it was written beside the same manifest, which fixes the settings, the data and
    the tickets of the levels before, and by the same version of lthprune.

    Args:
        folder: the run's.
        manifest: the run's.
        level: its number, the step that it starts from, and its trials.
        place: that of the first model that is trained, among the trials of the level.
        trainer: what trains them: an engine, on a device.
    """
    about = [manifest, version("lthprune"), level.number, level.start, level.trials, place, trainer]
    training = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return Checkpoint(folder / f"checkpoint-{level.trials[place]}{_SUFFIX}", training)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a level that is finished."""
    for path in folder.glob(f"checkpoint-*{_SUFFIX}"):
        if not path.is_dir():
            path.unlink(missing_ok=True)
