"""A folder of tickets that a search fills level by level and can be resumed from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, StringConstraints, ValidationError, model_validator
from pydantic_core import from_json

from lthprune.arguments import differences
from lthprune.errors import StorageError
from lthprune.files import read_tensors, write_atomically, write_tensors
from lthprune.pruning import Masks, State, pack, unpack
from lthprune.search.ticket_files import Part, Source, TicketFile
from lthprune.search.tickets import Ticket
from lthprune.section import first_fault

_FORMAT = 1
_INITIAL = "initial.safetensors"
_MASKS = "$mask/"  # before the names of masks in a file of initial weights


_File = Annotated[str, StringConstraints(pattern=r"^trial-[0-9]+/(initial|level-[0-9]{2,})\.safetensors$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Manifest(BaseModel, strict=True):
    """What a manifest contains; the files that it names are in the folder, whoever wrote it."""

    format: int
    search: dict[str, Any]
    initial: dict[_File, _Digest]
    finished: list[dict[_File, _Digest]]
    ended: str | None = None

    @model_validator(mode="after")
    def _every_trial_at_every_level(self) -> "_Manifest":
        for level, files in enumerate(self.finished):
            if len(files) != len(self.initial):
                raise ValueError(f"level {level} has {len(files)} files, and there are {len(self.initial)} trials")
        return self


@dataclass(frozen=True)
class Stored:
    """The stored state that a search continues from: initial weights and masks, dense ticket and last ticket per trial.

    ``dense`` and ``last`` are empty tuples while no level is finished.
    """

    initial: tuple[State, ...]
    masks: tuple[Masks, ...] = ()
    dense: tuple[Ticket, ...] = ()
    last: tuple[Ticket, ...] = ()


class TicketStore:
    """Tickets on disk: ``trial-0/initial.safetensors``, ``trial-0/level-03.safetensors``, ``manifest.json``.

    The manifest lists every file of every finished level with its SHA-256 and is written last. Files that it does not
    list are ignored; files that differ from their hash are refused.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def exists(self) -> bool:
        """Whether a search has begun here.

        Raises:
            StorageError: the folder cannot be read.
        """
        try:
            return self._manifest_path.is_file()
        except OSError as error:
            raise StorageError(f"cannot read {self.folder}: {error.strerror or error}.") from error

    @property
    def finished(self) -> int:
        """How many levels are finished, the dense one included."""
        return len(self.manifest()["finished"]) if self.exists else 0

    @property
    def ended(self) -> str | None:
        """Why the search ended before its last level; None if it did not."""
        reason: str | None = self.manifest()["ended"] if self.exists else None
        return reason

    def manifest(self) -> dict[str, Any]:
        """Return the manifest.

        Raises:
            StorageError: there is none, or it is damaged.
        """
        if not self.folder.is_dir():
            what = "is a file" if self.folder.exists() else "does not exist"
            raise StorageError(
                f"{self.folder} {what}, so it holds no run. Name a run directory; `lthprune runs` lists those in runs."
            )
        if not self.exists:
            inside = sorted(str(path.parent) for path in self.folder.glob("*/manifest.json"))
            hint = f" Name one of the runs inside it: {', '.join(inside)}." if inside else ""
            if (self.folder / "recipe.toml").is_file():
                hint = " A run was stopped before it had written its first files; start it again."
            raise StorageError(f"{self.folder} holds no run: there is no {self._manifest_path.name} in it.{hint}")
        try:
            written = from_json(self._manifest_path.read_bytes())
            if not isinstance(written, dict):
                raise ValueError("it is not a table")
            if written.get("format", _FORMAT) != _FORMAT:
                raise StorageError(f"{self._manifest_path} has the format {written['format']}, not {_FORMAT}.")
            return _Manifest.model_validate(written).model_dump()
        except OSError as error:
            raise StorageError(f"cannot read {self._manifest_path}: {error.strerror or error}.") from error
        except ValueError as error:
            fault = first_fault(error) if isinstance(error, ValidationError) else str(error)
            raise StorageError(f"{self._manifest_path} is damaged ({fault}); the run cannot be resumed.") from error

    def begin(self, search: Mapping[str, Any], initial: Sequence[State], masks: Sequence[Masks]) -> None:
        """Write the initial weights and masks and an empty manifest.

        ``search`` holds the settings that a resumed search has to match; ``masks`` are the masks before the search.
        """
        if self.exists:
            raise StorageError(f"{self.folder} already holds a run; resume it, or choose another folder.")
        header, files = json.dumps({"format": _FORMAT, "initial": True}), {}
        for trial, (state, held) in enumerate(zip(initial, masks, strict=True)):
            file = f"trial-{trial}/{_INITIAL}"
            packed = {f"{_MASKS}{name}": pack(mask) for name, mask in held.items()}
            files[file] = write_tensors(self.folder / file, state | packed, header)
        self._write({"format": _FORMAT, "search": dict(search), "initial": files, "finished": []})

    def append(self, tickets: Sequence[Ticket]) -> None:
        """Add a finished level: the ticket of every trial. From then on, these read their tensors from the folder."""
        manifest = self.manifest()
        level = len(manifest["finished"])
        if any(ticket.level != level for ticket in tickets):
            raise StorageError(
                f"{self.folder} has {level} finished levels, and this is level {tickets[0].level}: another process "
                "seems to be writing there. Let one finish."
            )
        files = {
            file: ticket.write(self.folder / file, _sources(level))
            for trial, ticket in enumerate(tickets)
            for file in [f"trial-{trial}/{_file_of(level)}"]
        }
        manifest["finished"].append(files)
        self._write(manifest)
        for file, ticket in zip(files, tickets, strict=True):
            ticket.release(partial(self._read, file))

    def end(self, reason: str) -> None:
        """Mark the search as ended after its finished levels."""
        self._write(self.manifest() | {"ended": reason})

    def level(self, level: int) -> tuple[Ticket, ...]:
        """Read the tickets of one finished level.

        Raises:
            StorageError: the level is not finished, or a file is missing or damaged.
        """
        return tuple(self._load(file) for file in self._finished(level))

    def ticket(self, level: int, trial: int = 0) -> Ticket:
        """Read one trial's ticket of a finished level; reads only its file.

        Raises:
            StorageError: the level is not finished, there is no such trial, or the file is missing or damaged.
        """
        files = list(self._finished(level))
        if not 0 <= trial < len(files):
            trials = f"trials 0 to {len(files) - 1}" if len(files) > 1 else "trial 0 alone"
            raise StorageError(f"{self.folder} has {trials}; there is no trial {trial}.")
        return self._load(files[trial])

    def open(self, level: int) -> tuple[Ticket, ...]:
        """Return the tickets of one finished level, which read their tensors when these are asked for.

        Raises:
            StorageError: the level is not finished, or a file is missing or damaged; also whenever tensors are read.
        """
        return tuple(self._open(file) for file in self._finished(level))

    def check(self, search: Mapping[str, Any]) -> None:
        """Check that a search has the settings of the one stored here.

        Raises:
            StorageError: settings differ; the message lists them.
        """
        differing = differences(self.manifest()["search"], json.loads(json.dumps(dict(search))))
        if differing:
            raise StorageError(
                f"{self.folder} holds another search: {'; '.join(differing)}. Choose another folder for this one."
            )

    def load(self) -> Stored:
        """Return the state that a search continues from; its tickets read their tensors when these are asked for."""
        manifest = self.manifest()
        files = [read_tensors(self._verified(file, digest))[0] for file, digest in manifest["initial"].items()]
        initial = tuple(
            {name: tensor for name, tensor in tensors.items() if not name.startswith(_MASKS)} for tensors in files
        )
        masks = tuple(
            {
                name.removeprefix(_MASKS): unpack(tensor, tuple(state[name.removeprefix(_MASKS)].shape))
                for name, tensor in tensors.items()
                if name.startswith(_MASKS)
            }
            for tensors, state in zip(files, initial, strict=True)
        )
        if not manifest["finished"]:
            return Stored(initial, masks)
        return Stored(initial, masks, dense=self.open(0), last=self.open(len(manifest["finished"]) - 1))

    def _finished(self, level: int) -> dict[str, str]:
        """Return the files of a finished level, trial by trial, and their hashes."""
        finished: list[dict[str, str]] = self.manifest()["finished"]
        if not 0 <= level < len(finished):
            raise StorageError(f"{self.folder} has {len(finished)} finished levels; there is no level {level}.")
        return finished[level]

    @property
    def _manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    def _load(self, file: str) -> Ticket:
        """Read a ticket; rewound weights that are in other files only when they are asked for."""
        ticket = TicketFile(self._checked(file))
        return Ticket(
            masks=ticket.read("masks"),
            weights=partial(self._read, file, "weights") if ticket.refers_to else ticket.read("weights"),
            trained=ticket.read("trained"),
            metrics=ticket.read_metrics(),
            **ticket.about,
        )

    def _open(self, file: str) -> Ticket:
        """Read a ticket without its tensors."""
        ticket, read = TicketFile(self._checked(file)), partial(self._read, file)
        parts = partial(read, "masks"), partial(read, "weights"), partial(read, "trained")
        return Ticket(ticket.about.pop("level"), *parts, metrics=ticket.read_metrics(), **ticket.about)

    def _read(self, file: str, part: Part) -> State:
        """Read a part of a ticket from the files that hold it, after these were checked."""
        ticket = TicketFile(self._checked(file))
        for other in ticket.refers_to if part == "weights" else ():
            self._checked(str(PurePosixPath(file).with_name(other)))
        return ticket.read(part)

    def _checked(self, file: str) -> Path:
        """Return the path of a file that the manifest names, after its contents were compared with their hash."""
        manifest = self.manifest()
        named = manifest["initial"] | {name: digest for level in manifest["finished"] for name, digest in level.items()}
        if file not in named:
            raise StorageError(f"{self._manifest_path} does not name {file}, which a ticket is to be read from.")
        return self._verified(file, named[file])

    def _verified(self, file: str, digest: str) -> Path:
        path = self.folder / file
        if not path.is_file():
            raise StorageError(f"{path} is missing, though the manifest names it. Restore it from a copy.")
        if _sha256(path) != digest:
            raise StorageError(
                f"{path} is damaged: its contents are not those that were written ({path.stat().st_size:,} bytes are "
                "there). Restore it from a copy, or search again in another folder."
            )
        return path

    def _write(self, manifest: Mapping[str, Any]) -> None:
        write_atomically(self._manifest_path, json.dumps(manifest, indent=1).encode())


def _file_of(level: int) -> str:
    return f"level-{level:02d}.safetensors"


def _sources(level: int) -> list[Source]:
    """Return what the rewound weights of a level's ticket may be equal to.

    These are the initial weights, those of the dense ticket (with a later rewind point), or the trained ones that the
    masks were chosen from (without rewinding).
    """
    sources = [Source(_INITIAL, "")]
    if level:
        sources.append(Source(_file_of(0), "weights/"))
        sources += [
            Source(_file_of(before), "trained/", pruned=True) for before in sorted({level - 1, 0}, reverse=True)
        ]
    return sources


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
