"""Formats of files: a number in each file, which is raised when earlier versions could not read it any more."""

from pathlib import Path

from lthprune.errors import StorageError, shown


def check_format(path: Path, written: object, newest: int) -> None:
    """Check the format of a file.

    Args:
        path: the file, for the message.
        written: the number that it contains.
        newest: the highest number that this version reads; it reads all lower ones too.

    Raises:
        StorageError: a newer lthprune wrote the file, or the number is none.

    Examples:
        >>> check_format(Path("manifest.json"), 3, newest=1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        lthprune.errors.StorageError: manifest.json was made by a newer lthprune: its format is 3, ...
    """
    if not isinstance(written, int) or isinstance(written, bool) or written < 1:
        raise StorageError(f"{path} is damaged (format = {shown(written)}). Restore it from a copy.")
    if written > newest:
        raise StorageError(
            f"{path} was made by a newer lthprune: its format is {written}, and this version reads formats up to "
            f"{newest}. Update lthprune to read it."
        )
