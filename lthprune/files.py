"""Atomic writing of files, and safetensors files with a header."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lthprune.errors import StorageError

_PART = ".part"  # the suffix of temporary files


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file through a temporary one in the same folder: readers see the old bytes or the new, never a part.

    Raises:
        StorageError: the folder cannot be written to; an earlier file stays.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=_PART, delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # NamedTemporaryFile creates files that only their owner can read
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Choose a folder that you can write to, with enough space."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder or below it."""
    for leftover in folder.rglob(f".*{_PART}"):
        leftover.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: str) -> None:
    """Write named tensors and one string atomically, as safetensors; the same content gives the same bytes."""
    owned = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    write_atomically(path, save(owned, metadata={"lthprune": header}))  # save() refuses tensors that share memory


def read_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a file that ``write_tensors`` wrote, and return its tensors and its string.

    Raises:
        StorageError: the file is missing, damaged or not written by lthprune.
    """
    from safetensors import safe_open

    if path.is_dir():
        raise StorageError(f"{path} is a folder. Give the path of a file in it.")
    if not path.is_file():
        raise StorageError(f"there is no file {path}. Check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise StorageError(
            f"{path} is damaged or not a safetensors file ({error}). Restore it from a copy, or create it again."
        ) from error
    if "lthprune" not in metadata:
        raise StorageError(f"{path} is a safetensors file, but lthprune did not write it. Give the path of a ticket.")
    return {name: torch.clone(tensor) for name, tensor in tensors.items()}, metadata["lthprune"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
