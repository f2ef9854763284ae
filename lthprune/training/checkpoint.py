"""Checkpoints: the state of a training in a file, written every few minutes, from which it continues to the same bits.

A checkpoint is taken right after an evaluation, where sums over steps are empty. It saves time and never decides about
a result: without it, or with a damaged one, the training starts again and ends with the same bits. So a file that is
damaged, or cannot be written, is a warning. One that is intact but does not fit, which lthprune does not write, is
refused.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from lthprune.errors import LthpruneError, StorageError, warn_caller
from lthprune.files import TensorFile, bytes_of, write_tensors
from lthprune.memory import available_memory
from lthprune.pruning import State
from lthprune.section import first_fault

EVERY = 180.0  # seconds between two checkpoints, at least
_ALLOWED = 1.8  # seconds for writing one, 1 % of these; if it takes longer, they are as many times further apart
_FORMAT: Literal[1] = 1


class Saved(NamedTuple):
    """The state of a training after an evaluation, read from a file.

    Attributes:
        path: the file.
        tensors: the state of the engine and of every trial, by name.
    """

    path: Path
    tensors: State


class _Header(BaseModel, strict=True):
    """What a checkpoint's file contains besides the tensors."""

    format: Literal[1]
    training: str
    digest: str


class Checkpoint:
    """The checkpoint of one training.

    Args:
        path: the file.
        training: what tells this training from others; a file of another training is not read.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "checkpoint.safetensors"
        ...     Checkpoint(path, "level 0").write({"weight": torch.ones(2)})
        ...     Checkpoint(path, "level 0").read().tensors, Checkpoint(path, "level 1").read()
        ({'weight': tensor([1., 1.])}, None)
    """

    def __init__(self, path: Path, training: str) -> None:
        self._path, self._training = path, training
        self._since, self._wait = time.monotonic(), EVERY

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the training began or the last checkpoint was written."""
        return time.monotonic() - self._since >= self._wait

    def write(self, tensors: State) -> None:
        """Replace the file; if that fails (a full disk), warn, and leave the one before."""
        begun = time.monotonic()
        tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        about = {"format": _FORMAT, "training": self._training}
        try:
            write_tensors(self._path, tensors, json.dumps(about | {"digest": _digest(about, tensors)}))
        except StorageError as error:
            warn_caller(f"{error} The training goes on without a new checkpoint.", UserWarning)
        self._since = time.monotonic()
        self._wait = EVERY * max(1.0, (self._since - begun) / _ALLOWED)

    def read(self) -> Saved | None:
        """Return the state that the training continues from; None if there is none of this training.

        Warns of a damaged file, which is not used.
        """
        if not self._path.is_file():
            return None
        try:
            file = TensorFile(self._path)
            about = _Header.model_validate_json(file.header).model_dump()
            if about["training"] != self._training:
                return None
            size, available = self._path.stat().st_size, available_memory()
            if available is not None and size > available:
                raise StorageError(f"It has {size / 1e9:.1f} GB, and {available / 1e9:.1f} GB of memory are available.")
            tensors = file.read()
            if about.pop("digest") != _digest(about, tensors):
                raise StorageError("Its contents are not those that were written.")
        except (StorageError, OSError, ValueError) as error:
            fault = f"Its header: {first_fault(error)}." if isinstance(error, ValidationError) else error
            warn_caller(
                f"The checkpoint {self._path} is not used, so the training starts again, with the same result. {fault}",
                UserWarning,
            )
            return None
        return Saved(self._path, tensors)


@contextmanager
def fitting(saved: Saved | None) -> Iterator[None]:
    """Raise a StorageError that names the file if what is done with a saved state, if there is one, fails."""
    try:
        yield
    except (LthpruneError, LookupError, ValueError, RuntimeError) as error:
        if saved is None:
            raise
        raise StorageError(
            f"the checkpoint {saved.path} does not fit the training that it is to continue ({error}). Remove the file; "
            "the training then starts again, with the same result."
        ) from error


def under(prefix: str, tensors: Mapping[str, Tensor]) -> State:
    """Return tensors with a prefix before their names.

    Examples:
        >>> list(under("trial-0", {"weight": torch.ones(1)}))
        ['trial-0/weight']
    """
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def within(prefix: str, tensors: Mapping[str, Tensor]) -> State:
    """Undo ``under``: return the tensors whose names have this prefix, without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def copy_into(live: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Copy tensors into those of the same names, after their types and shapes were compared.

    Raises:
        StorageError: names, types or shapes differ; nothing is changed.
    """
    wanted, found = ({name: (each.dtype, tuple(each.shape)) for name, each in part.items()} for part in (live, saved))
    if wanted != found:
        names = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise StorageError(f"{', '.join(names)}: missing, superfluous, or of another type or shape")
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(saved[name])


def _digest(about: Mapping[str, object], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of what a checkpoint contains."""
    digest = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(bytes_of(tensors[name]))
    return digest.hexdigest()
