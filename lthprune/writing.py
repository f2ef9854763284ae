"""One writer at a time: the lock of a folder, and what killed writers left in it."""

import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from lthprune.errors import StorageError
from lthprune.files import PART, make_folder

_LOCK = ".lock"  # stays in the folder: whoever removes it could remove another writer's
_WRITER = ".writer"  # names the process that holds the lock
_NAMING = 0.1  # seconds within which a process that has taken the lock names itself
_ATTEMPTS = 5  # to take a lock whose holder is not named, because it is about to release it
_LEFTOVER = re.compile(rf"\..+\.[a-z0-9_]{{8}}{re.escape(PART)}")  # as ``write_atomically`` names its temporary files


class Writer:
    """The lock of a folder, which one process at a time can hold; in that process it can be taken again.

    The operating system releases it when the process ends, however it ends.

    Args:
        folder: made if it is not there.

    Raises:
        StorageError: another process holds the lock, which the message names; the folder cannot be written to; or it
            holds a link that leads out of it, or a pipe.
    """

    def __init__(self, folder: Path) -> None:
        check_contents(folder)
        self._named = folder / _WRITER
        try:
            make_folder(folder)
            self._lock = FileLock(folder.resolve() / _LOCK, blocking=False, thread_local=False, is_singleton=True)
            self._acquire(folder)
        except OSError as error:
            raise _cannot_write(folder, error) from error
        try:
            self._named.write_text(
                f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M}", "utf-8"
            )
            _remove_leftovers(folder)
        except OSError as error:
            self.close()
            raise _cannot_write(folder, error) from error

    def _acquire(self, folder: Path) -> None:
        """Take the lock, unless a process holds it that has named itself, or that does not for a while."""
        for attempt in range(_ATTEMPTS):
            try:
                self._lock.acquire()
                return
            except Timeout as error:
                time.sleep(_NAMING)
                if self._named.is_file() or attempt == _ATTEMPTS - 1:
                    raise StorageError(
                        f"{folder} is in use: {_name_in(self._named)} writes there. Wait until it has finished, or "
                        "stop it; then start this again."
                    ) from error

    def close(self) -> None:
        """Release the lock."""
        if self._lock.lock_counter == 1:
            with suppress(OSError):  # the next writer replaces it
                self._named.unlink()
        self._lock.release()


def check_contents(folder: Path) -> None:
    """Check that whatever is written into a folder, which may come from a stranger, stays in it, and cannot wait for
    ever.

    Raises:
        StorageError: a link in the folder leads out of it, or there is a named pipe or another special file in it.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(place) / name
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise StorageError(
                    f"{path} is a link to {path.resolve()}, outside of {folder}, where nothing is to be written. Put "
                    "the file or folder itself in its place."
                )
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise StorageError(f"{path} is a pipe or a device, where nothing can be kept. Remove it.")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the arguments and errors are those of ``Writer``."""
    writer = Writer(folder)
    try:
        yield
    finally:
        writer.close()


def _cannot_write(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write to {folder}: {error.strerror or error}. Choose a folder that you can write to, with enough "
        "space."
    )


def _name_in(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()[:200] or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers; folders inside that have a lock belong to other writers."""
    for place, folders, files in os.walk(folder):
        if _LOCK in files and Path(place) != folder:
            folders.clear()
            continue
        for name in files:
            if _LEFTOVER.fullmatch(name):
                (Path(place) / name).unlink(missing_ok=True)
