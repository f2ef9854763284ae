"""The sizes of the arrays in an ``.npz`` file, before numpy makes them."""

import math
import zipfile
from collections.abc import Iterable
from typing import IO, BinaryIO

from numpy.lib import format as npy

from lthprune.memory import available_memory

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def check_sizes(stream: BinaryIO, names: Iterable[str], *, further: int = 0) -> None:
    """Check that arrays have the sizes that their headers state, and fit into the available memory together.

    Args:
        stream: an ``.npz`` file; read from the beginning, and left there.
        names: of the arrays that are to be read; those that the file lacks do not matter.
        further: the bytes that every value takes besides those of the array, in copies that are made later.

    Raises:
        ValueError: an array is shorter or longer than its header says, or they do not fit into the memory.
        zipfile.BadZipFile: the file is no archive, or damaged.
    """
    total = 0
    with zipfile.ZipFile(stream) as archive:
        members = {info.filename: info for info in archive.infolist()}
        for name in names:
            found = [members[each] for each in (name, f"{name}.npy") if each in members]  # numpy reads either
            total += sum(each.file_size for each in found)
            for each in found[-1:]:
                with archive.open(each) as member:
                    total += further * _check_header(name, member, each.file_size)
    stream.seek(0)
    available = available_memory()
    if available is not None and total > available:
        raise ValueError(f"its arrays take {total / 1e9:.1f} GB, and {available / 1e9:.1f} GB of memory are available")


def _check_header(name: str, member: IO[bytes], size: int) -> int:
    """Check that the header of an array states as many bytes as follow it, and return the number of values."""
    try:
        read_header = _HEADERS[npy.read_magic(member)]
    except (ValueError, KeyError):
        return 0  # no array that numpy reads
    shape, _, dtype = read_header(member)
    values = math.prod(shape)
    stated, held = values * dtype.itemsize, size - member.tell()
    if stated != held and not dtype.hasobject:
        raise ValueError(f"{name} has {held:,} bytes, and its header states {stated:,}")
    return values
