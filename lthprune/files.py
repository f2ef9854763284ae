"""Atomic writing of files, and safetensors files with a header."""

import errno
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lthprune.errors import StorageError, listed
from lthprune.memory import check_available
from lthprune.reading import open_regular

PART = ".part"  # the suffix of temporary files
_BLOCK = 1 << 23  # bytes that are written and hashed at a time
_MOST_HEADER = 1 << 24  # bytes of a header that are read: those of 100,000 tensors
_MOST_DIMENSIONS = 32  # of a tensor: numpy has no more
_COMPARED = 1 << 20  # bytes that are read and compared at a time: they stay in the cache
_TYPES = {  # the types of safetensors; older versions of torch lack some
    getattr(torch, name): code
    for name, code in {
        "bool": "BOOL",
        "uint8": "U8",
        "int8": "I8",
        "uint16": "U16",
        "int16": "I16",
        "uint32": "U32",
        "int32": "I32",
        "uint64": "U64",
        "int64": "I64",
        "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
        "float16": "F16",
        "bfloat16": "BF16",
        "float32": "F32",
        "float64": "F64",
        "complex64": "C64",
    }.items()
    if hasattr(torch, name)
}
_FROM_CODE = {code: dtype for dtype, code in _TYPES.items()}


def write_atomically(path: Path, data: bytes | Iterable[bytes | memoryview]) -> str:
    """Write a file through a temporary one in the same folder: readers see the old bytes or the new, never a part.

    Args:
        path: the file; its folder is made if it is not there.
        data: the bytes, or blocks of them.

    Returns:
        The SHA-256 of the bytes, which a second thread computes while they are written.

    Raises:
        StorageError: the folder cannot be written to; an earlier file stays.
    """
    temporary, digest = None, hashlib.sha256()
    try:
        make_folder(path.parent)
        with (
            ThreadPoolExecutor(1) as hashing,
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=PART, delete=False) as file,
        ):
            temporary = Path(file.name)
            for block in (data,) if isinstance(data, bytes) else data:
                hashed = hashing.submit(digest.update, block)
                file.write(block)
                hashed.result()
            file.flush()
            temporary.chmod(0o666 & ~_umask())  # NamedTemporaryFile creates files that only their owner can read
            os.fsync(file.fileno())
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
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, and flush their entries to the disk, so that a power cut leaves them there.

    Raises:
        OSError: the folder cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    there = next(each for each in (folder, *folder.parents) if each not in missing)
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_folder(made.parent)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: str) -> str:
    """Write named tensors and one string atomically, as safetensors; the same content gives the same bytes.

    Writes block by block, without a copy of contiguous tensors on the CPU.

    Returns:
        The SHA-256 of the file.

    Raises:
        StorageError: the folder cannot be written to, or safetensors lack the type of a tensor; an earlier file stays.
    """
    return write_atomically(path, _blocks(path, tensors, header))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a file that ``write_tensors`` wrote, and return its tensors and its string.

    Raises:
        StorageError: the file is missing, damaged or not written by lthprune.
    """
    file = TensorFile(path)
    return file.read(), file.header


class TensorFile:
    """A file that ``write_tensors`` wrote; its tensors are read when asked for.

    Attributes:
        path: the file's.
        header: the file's string.
        shapes: the shape of every tensor, by name.
        types: the type of every tensor, by name.

    Raises:
        StorageError: the file is missing, damaged or not written by lthprune.
    """

    def __init__(self, path: Path) -> None:
        try:
            entries, start = _read_header(path)
            with safe_open(path, framework="pt") as checked:  # refuses a header that does not fit the file
                metadata = checked.metadata() or {}
        except FileNotFoundError as error:
            raise StorageError(f"there is no file {path}. Check the path.") from error
        except OSError as error:
            raise StorageError(
                f"cannot read {path}: {error.strerror or error}. Give the path of another file."
            ) from error
        except (SafetensorError, ValueError, RuntimeError) as error:  # RuntimeError: a file too large for the system
            raise StorageError(
                f"{path} is damaged or not a safetensors file ({error}). Restore it from a copy, or create it again."
            ) from error
        if "lthprune" not in metadata:
            raise StorageError(
                f"{path} is a safetensors file, but lthprune did not write it. Give the path of a ticket."
            )
        self.path, self.header = path, metadata["lthprune"]
        faults = [fault for name, entry in entries.items() for fault in _faults_of(name, entry)]
        if faults:
            raise StorageError(f"{path} cannot be read: {listed(faults)}. lthprune writes no such files.")
        self.shapes: dict[str, tuple[int, ...]] = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        self.types = {name: _FROM_CODE[entry["dtype"]] for name, entry in entries.items()}
        self._places = {name: [start + offset for offset in entry["data_offsets"]] for name, entry in entries.items()}

    def read(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Read the tensors of these names, by default all.

        Raises:
            StorageError: the tensors do not fit into memory, the file has become shorter, or an entry of a boolean
                tensor is neither 0 nor 1.
        """
        names = list(self.shapes if names is None else names)
        size = sum(stop - start for start, stop in (self._places[name] for name in names))
        check_available(size, f"reading {self.path}", "Read it on a machine with more memory.", StorageError)
        tensors = {}
        with open_regular(self.path) as file:
            for name in names:
                tensor = tensors[name] = torch.empty(self.shapes[name], dtype=self.types[name])
                raw = bytes_of(tensor)
                file.seek(self._places[name][0])
                complete = file.readinto(raw) == len(raw)
                if not complete or (tensor.dtype == torch.bool and np.frombuffer(raw, "u1").max(initial=0) > 1):
                    raise StorageError(f"{self.path} is damaged at {name!r}. Restore it from a copy.")
        return tensors

    def holds(self, name: str, tensor: Tensor, mask: Tensor | None = None) -> bool:
        """Return whether the file has a tensor, to the bit. Reads up to the first block that differs.

        Args:
            name: its name in the file.
            tensor: the tensor.
            mask: a boolean mask; the entries of the file's tensor that it prunes count as zeros.
        """
        if name not in self.shapes or (self.types[name], self.shapes[name]) != (tensor.dtype, tuple(tensor.shape)):
            return False
        start, stop = self._places[name]
        raw, kept = bytes_of(tensor), None if mask is None else mask.cpu().reshape(-1)
        with self.path.open("rb") as file:
            file.seek(start)
            block = bytearray(min(_COMPARED, stop - start))
            for first in range(0, stop - start, _COMPARED):
                last = min(first + _COMPARED, stop - start)
                if last - first < len(block):
                    block = block[: last - first]
                file.readinto(block)
                if kept is not None:
                    entries = torch.frombuffer(block, dtype=tensor.dtype)
                    entries.masked_fill_(~kept[first // tensor.itemsize : last // tensor.itemsize], 0)
                if block != raw[first:last]:
                    return False
        return True


def _blocks(path: Path, tensors: Mapping[str, Tensor], header: str) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a safetensors file: the header's size, the header as JSON, the tensors from wide to narrow."""
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise StorageError(f"cannot write {path}: {name!r} has the type {tensor.dtype}, which safetensors lack.")
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # so that each is aligned
    entries: dict[str, Any] = {"__metadata__": {"lthprune": header}}
    stop = 0
    for name in names:
        start, stop = stop, stop + tensors[name].numel() * tensors[name].itemsize
        shape = list(tensors[name].shape)
        entries[name] = {"dtype": _TYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, stop]}
    described = json.dumps(entries, separators=(",", ":")).encode()
    described += b" " * (-len(described) % 8)
    yield len(described).to_bytes(8, "little") + described
    for name in names:
        raw = bytes_of(tensors[name])
        for start in range(0, len(raw), _BLOCK):
            yield raw[start : start + _BLOCK]


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, row-major: its own memory if it is contiguous and on the CPU."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    raw: Any = flat.view(torch.uint8).numpy()
    return memoryview(raw)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the entries of the tensors in a safetensors file, and where the bytes of tensors begin."""
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _MOST_HEADER:
            raise ValueError(f"its header states {size:,} bytes, and at most {_MOST_HEADER:,} are read")
        entries: dict[str, Any] = json.loads(file.read(size))
    if not isinstance(entries, dict):
        raise ValueError("its header is no table")
    entries.pop("__metadata__", None)
    return entries, 8 + size


def _faults_of(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield why an entry of a header, which fits the file, cannot become a tensor."""
    if entry["dtype"] not in _FROM_CODE:
        yield f"{name!r} has the type {entry['dtype']}"
    if len(entry["shape"]) > _MOST_DIMENSIONS or math.prod(max(1, size) for size in entry["shape"]) >= 1 << 60:
        yield f"{name!r} has a shape of {len(entry['shape'])} dimensions that torch cannot hold"


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
