"""Jobs on other machines: a worker trains in a copy of a run directory, and sends back what is written there."""

import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lthprune.errors import LthpruneError
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.spec import ResourceSpec
from lthprune.files import PART, write_atomically
from lthprune.search import Failure
from lthprune.training import Evaluation

Files = Mapping[str, bytes]
"""The contents of files, by their path in a folder."""

_PAUSE = 0.5  # seconds between two evaluations that a worker reports
_OWN = (".lock", ".writer")  # files of the process that writes to a folder


@dataclass(frozen=True)
class Job:
    """What a worker does; it can be pickled.

    Attributes:
        name: tells the jobs of a cluster apart.
        files: of the directory to work in; in several mappings, so that jobs can share one.
        work: trains there; called with the directory and a watcher.
        inside: the folder in the directory whose files are sent back.
        shown: what messages call the directory.
    """

    name: str
    files: tuple[Files, ...]
    work: Callable[[Path, Watcher], object]
    inside: str
    shown: str


@dataclass(frozen=True)
class Evaluated:
    """A worker evaluated a network."""

    level: int
    trial: int
    evaluation: Evaluation


@dataclass(frozen=True)
class Stopped:
    """A worker stopped a trial whose training diverged."""

    failure: Failure


@dataclass(frozen=True)
class Written:
    """A worker wrote these files: a level is finished, or the run began."""

    files: Files


@dataclass(frozen=True)
class Warned:
    """A worker gave a warning."""

    text: str


@dataclass(frozen=True)
class Failed:
    """A worker raised an error of lthprune's; on another machine it would be the same."""

    kind: type[LthpruneError]
    text: str


@dataclass(frozen=True)
class Lost:
    """A worker is gone: its process or its machine died."""

    reason: str


@dataclass(frozen=True)
class Finished:
    """A worker has done its job."""


Message = Evaluated | Stopped | Written | Warned | Failed | Lost | Finished


class Cluster(Protocol):
    """Machines that work on jobs; see ``lthprune.integrations.ray.RayCluster``."""

    def submit(self, job: Job, resources: ResourceSpec) -> None:
        """Start a job as soon as a machine has these resources. Of jobs of one name, only the last one counts."""

    def receive(self) -> tuple[str, Message]:
        """Wait for the next message of any job, and return the job's name and the message."""

    def cancel(self) -> None:
        """Stop all jobs."""


def perform(job: Job, send: Callable[[Message], object]) -> None:
    """Do a job, as a worker does, and send messages about it.

    Examples:
        >>> def work(folder, watcher):
        ...     (folder / "copy").write_bytes((folder / "given").read_bytes())
        >>> sent = []
        >>> perform(Job("copying", ({"given": b"1"},), work, ".", "here"), sent.append)
        >>> sent
        [Written(files={'copy': b'1'}), Finished()]
    """

    def warn(message: Warning | str, *rest: object) -> None:
        send(Warned(f"on {platform.node()}: {message}"))

    with tempfile.TemporaryDirectory(prefix="lthprune-") as scratch, warnings.catch_warnings():
        warnings.showwarning = warn  # type: ignore[assignment]
        folder = Path(scratch) / "run"
        write_files(folder, {path: data for files in job.files for path, data in files.items()})
        outbox = _Outbox(folder / job.inside, send)
        try:
            job.work(folder, outbox.watcher())
        except LthpruneError as error:
            send(Failed(type(error), f"on {platform.node()}: {str(error).replace(str(folder), job.shown)}"))
            return
        outbox.send_changes()
        send(Finished())


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder and below, without temporary ones and locks."""
    return {str(path.relative_to(folder).as_posix()): path.read_bytes() for path in _paths(folder)}


def write_files(folder: Path, files: Files) -> None:
    """Write files into a folder, each atomically; the manifest comes last, as the others count only then."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(files, key=lambda path: path.endswith("manifest.json")):
        write_atomically(folder / path, files[path])


class _Outbox:
    """Sends the changes in a folder, and evaluations as often as a terminal can show them."""

    def __init__(self, folder: Path, send: Callable[[Message], object]) -> None:
        self._folder, self._send = folder, send
        self._sent = self._versions()
        self._reported = 0.0

    def watcher(self) -> Watcher:
        """Return the watcher that sends what it is told."""
        return Watcher(
            on_begin=self.send_changes,
            on_evaluation=self._send_evaluation,
            on_diverged=lambda failure: self._send(Stopped(failure)),
            on_level=self.send_changes,
        )

    def send_changes(self, *_: Any) -> None:
        versions = self._versions()
        changed = [path for path, version in versions.items() if self._sent.get(path) != version]
        self._sent = versions
        if changed:
            self._send(Written({str(path.relative_to(self._folder).as_posix()): path.read_bytes() for path in changed}))

    def _send_evaluation(self, level: int, trial: int, evaluation: Evaluation) -> None:
        if time.monotonic() - self._reported > _PAUSE:
            self._reported = time.monotonic()
            self._send(Evaluated(level, trial, evaluation))

    def _versions(self) -> dict[Path, tuple[int, int]]:
        """Return what changes with each writing: every file is written anew under another name, then renamed."""
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in _paths(self._folder)}


def _paths(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in _OWN)
    return [path for path in found if path.suffix != PART]
