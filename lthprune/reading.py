"""Reading files that anybody may have written: only regular files, of bounded size, length and depth."""

import os
import re
import stat
import tomllib
from io import BufferedReader
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from lthprune.errors import LthpruneError

_MOST_JSON = 1 << 26  # bytes; the manifest of 10,000 trials with 60 levels has fewer
_MOST_TOML = 1 << 20  # bytes, of which tomllib reads about 2 MB in a second
_DEEPEST = 32  # tables, lists or parts of a key inside one another
_PART = r"(?:[\w-]{1,128}+|\"(?:[^\"\\\n]|\\.){0,128}+\"|'[^'\n]{0,128}+')[ \t]*+"
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:\.[ \t]*+{_PART}){{{_DEEPEST}}}")


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes, and refuse named pipes, which can keep a reader waiting for ever, and devices.

    Raises:
        OSError: there is no such file, it is not a regular one, or it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise OSError(None, f"it is {kind}, not a regular file", str(path))
    return path.open("rb")


def read_bytes(path: Path, most: int) -> bytes:
    """Return the contents of a regular file.

    Raises:
        OSError: as ``open_regular``.
        ValueError: the file has more than ``most`` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"it has {size:,} bytes, and at most {most:,} are read")
        return file.read(most)


def read_json(path: Path) -> Any:
    """Return what a JSON file contains; lists and tables inside one another are read to a depth of 200.

    Raises:
        OSError: as ``open_regular``.
        ValueError: the file is no JSON, larger than 64 MB, or deeper.
    """
    return from_json(read_bytes(path, _MOST_JSON))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        OSError: as ``open_regular``.
        ValueError: the file is no TOML, or larger than 1 MB; or as ``parse_toml``.
    """
    return parse_toml(read_bytes(path, _MOST_TOML).decode())


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a text in TOML.

    Raises:
        ValueError: the text is no TOML, or nests lists or tables too deeply for Python, or a key has more than 32
            parts: the time that ``tomllib`` takes grows with the square of their number.

    Examples:
        >>> parse_toml("a.b = [1, 2]")
        {'a': {'b': [1, 2]}}
        >>> parse_toml("a = " + "[" * 10_000)
        Traceback (most recent call last):
        ValueError: lists or tables are nested too deeply
    """
    if _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {_DEEPEST} parts")
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError:
        raise ValueError("lists or tables are nested too deeply") from None


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` replaced by the home folder of the user.

    Raises:
        LthpruneError: there is no such user, or the user has no home.

    Examples:
        >>> str(expanded("runs"))
        'runs'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise LthpruneError(
            f"{path} begins with a home folder that is not known here: the user has none, or the variable HOME is not "
            "set. Write the path in full."
        ) from error
