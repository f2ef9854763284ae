"""Power cuts: what is certain to be on the disk at each moment, if the disk writes nothing before it is told to."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Disk:
    """A disk that keeps only what was flushed: the data of files, and the names in folders.

    Attributes:
        root: the folder that it stands for.
        data: of each file that was flushed, by its inode.
        names: of each folder that was flushed: the inodes of what is in it, and whether these are folders.
    """

    root: Path
    data: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, dict[str, tuple[int, bool]]] = field(default_factory=dict)

    def flushed(self, descriptor: int) -> None:
        """Keep a file or a folder as it is now."""
        found = os.fstat(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if stat.S_ISDIR(found.st_mode):
            entries = [(each.name, each.stat(follow_symlinks=False)) for each in os.scandir(path)]
            self.names[found.st_ino] = {name: (each.st_ino, stat.S_ISDIR(each.st_mode)) for name, each in entries}
        else:
            self.data[found.st_ino] = path.read_bytes()

    def after_power_cut(self, folder: Path) -> Path:
        """Write into a new folder what the power cut leaves; files that were not flushed are empty."""
        self._write(folder, self.root.stat().st_ino)
        return folder

    def _write(self, folder: Path, inode: int) -> None:
        folder.mkdir(parents=True)
        for name, (own, is_folder) in self.names.get(inode, {}).items():
            if is_folder:
                self._write(folder / name, own)
            else:
                (folder / name).write_bytes(self.data.get(own, b""))


@contextmanager
def power_cuts(root: Path, states: Path) -> Iterator[list[Path]]:
    """Yield what power cuts leave: the states of a folder after every flush while this is open."""
    disk, flush = Disk(root), os.fsync
    found = [disk.after_power_cut(states / "0" / "here")]

    def flushed(descriptor: int) -> None:
        flush(descriptor)
        disk.flushed(descriptor)
        found.append(disk.after_power_cut(states / f"{len(found)}" / "here"))

    os.fsync = flushed
    try:
        yield found
    finally:
        os.fsync = flush
