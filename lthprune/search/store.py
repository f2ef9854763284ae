"""A folder of tickets that a search fills level by level and can be resumed from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from lthprune.arguments import differences
from lthprune.errors import StorageError
from lthprune.files import read_tensors, write_tensors
from lthprune.pruning import Masks, State, pack, unpack
from lthprune.search.advice import COPY, MANIFEST, without_initial, without_level, without_manifest
from lthprune.search.failures import Failure
from lthprune.search.manifest import (
    FORMAT,
    INITIAL,
    file_of,
    files_of,
    names_finished_levels,
    read_manifest,
    trials_of,
    with_failures,
    write_manifest,
)
from lthprune.search.ticket_files import Part, Source, TicketFile
from lthprune.search.tickets import Ticket
from lthprune.writing import only_writer

_MASKS = "$mask/"  # before the names of masks in a file of initial weights


@dataclass(frozen=True)
class Stored:
    """The stored state that a search continues from: initial weights and masks, dense ticket and last ticket per trial.

    Only of the ``trials``, by number, that the last finished level has. ``dense`` and ``last`` are empty tuples while
    no level is finished.
    """

    trials: tuple[int, ...]
    initial: tuple[State, ...]
    masks: tuple[Masks, ...] = ()
    dense: tuple[Ticket, ...] = ()
    last: tuple[Ticket, ...] = ()


class TicketStore:
    """Tickets on disk: ``trial-0/initial.safetensors``, ``trial-0/level-03.safetensors``, ``manifest.json``.

    A level may have tickets of some trials only, of those that the level before has. The manifest lists every file of
    every finished level with its SHA-256 and is written last. Files that it does not list are ignored; files that
    differ from their hash are refused.
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

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The trainings that failed: in the order of their levels."""
        return tuple(Failure(**each) for each in self.manifest()["failures"]) if self.exists else ()

    def manifest(self) -> dict[str, Any]:
        """Return the manifest.

        Raises:
            StorageError: there is none, or it is damaged.
        """
        return read_manifest(self.folder)

    def begin(
        self,
        search: Mapping[str, Any],
        initial: Sequence[State],
        masks: Sequence[Masks],
        trials: Sequence[int] | None = None,
    ) -> None:
        """Write the initial weights and masks and an empty manifest.

        Args:
            search: the settings that a resumed search has to match.
            initial: the initial weights of every trial.
            masks: their masks before the search.
            trials: their numbers, ascending; by default 0, 1, ...

        Raises:
            StorageError: there are finished levels already, even if their manifest is missing.
        """
        if self.exists:
            raise StorageError(f"{self.folder} already holds a run; resume it, or choose another folder.")
        if names_finished_levels(self.folder / COPY):
            raise StorageError(
                f"{self._manifest_path} is missing, and finished levels are there. {without_manifest(self.folder)}"
            )
        header, files = json.dumps({"format": FORMAT, "initial": True}), {}
        numbers = range(len(initial)) if trials is None else trials
        for trial, state, held in zip(numbers, initial, masks, strict=True):
            file = f"trial-{trial}/{INITIAL}"
            packed = {f"{_MASKS}{name}": pack(mask) for name, mask in held.items()}
            files[file] = write_tensors(self.folder / file, state | packed, header)
        self.write_manifest({"format": FORMAT, "search": dict(search), "initial": files, "finished": []})

    def append(self, tickets: Sequence[Ticket], failures: Sequence[Failure] = ()) -> None:
        """Add a finished level: the tickets of its trials, and what failed in their trainings.

        From then on, the tickets read their tensors from the folder.
        """
        manifest = self.manifest()
        level = len(manifest["finished"])
        if any(ticket.level != level for ticket in tickets):
            raise StorageError(
                f"{self.folder} has {level} finished levels, and this is level {tickets[0].level}: another process "
                "seems to be writing there. Let one finish."
            )
        before = self.trials(level - 1 if level else None)
        trials = tuple(ticket.trial for ticket in tickets)
        if trials != tuple(trial for trial in before if trial in trials):
            raise StorageError(
                f"the tickets are of the trials {trials}, and {self.folder} goes on with {before}. Give each of them "
                "once, in ascending order."
            )
        files = {
            file: ticket.write(self.folder / file, _sources(level))
            for ticket in tickets
            for file in [f"trial-{ticket.trial}/{file_of(level)}"]
        }
        manifest["finished"].append(files)
        self.write_manifest(with_failures(manifest, failures))
        for file, ticket in zip(files, tickets, strict=True):
            ticket.release(partial(self._read, file))

    def go_back(self, level: int) -> None:
        """Forget the tickets of a finished level and of those after it, to train them again.

        Their files stay until others are written in their place.

        Raises:
            StorageError: the level is not finished, an earlier one is damaged, or another process writes to the folder.
        """
        self._finished(level)
        with only_writer(self.folder):
            manifest = self.manifest()
            before = manifest["finished"][:level]
            for file, digest in (manifest["initial"] | files_of(before)).items():
                self._verified(file, digest)
            failures = [failure for failure in manifest["failures"] if failure["level"] < level]
            self.write_manifest(manifest | {"finished": before, "ended": None, "failures": failures})

    def end(self, reason: str, failures: Sequence[Failure] = ()) -> None:
        """Mark the search as ended after its finished levels, because of these failures if there are any."""
        self.write_manifest(with_failures(self.manifest() | {"ended": reason}, failures))

    def trials(self, level: int | None = None) -> tuple[int, ...]:
        """Return the numbers of the trials that a finished level has; by default of those that began.

        Raises:
            StorageError: there is no manifest, it is damaged, or the level is not finished.
        """
        return trials_of(self.manifest()["initial"] if level is None else self._finished(level))

    def level(self, level: int) -> tuple[Ticket, ...]:
        """Read the tickets of one finished level.

        Raises:
            StorageError: the level is not finished, or a file is missing or damaged.
        """
        return tuple(self._load(file) for file in self._finished(level))

    def ticket(self, level: int, trial: int = 0) -> Ticket:
        """Read one trial's ticket of a finished level; reads only its file.

        Raises:
            StorageError: the level is not finished, it has no such trial, or the file is missing or damaged.
        """
        files = self._finished(level)
        file = f"trial-{trial}/{file_of(level)}"
        if file not in files:
            there = ", ".join(map(str, trials_of(files)))
            why = "".join(
                f" {each.sentence}" for each in self.failures if each.kind == "diverged" and each.trial == trial
            )
            raise StorageError(f"level {level} of {self.folder} has no trial {trial}; it has: {there}.{why}")
        return self._load(file)

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
        finished = manifest["finished"]
        trials = self.trials(len(finished) - 1 if finished else None)
        files = [self._initial_file(trial, manifest["initial"]) for trial in trials]
        initial = tuple(_without_masks(tensors) for tensors in files)
        masks = tuple(
            {
                name.removeprefix(_MASKS): unpack(tensor, tuple(state[name.removeprefix(_MASKS)].shape))
                for name, tensor in tensors.items()
                if name.startswith(_MASKS)
            }
            for tensors, state in zip(files, initial, strict=True)
        )
        if not finished:
            return Stored(trials, initial, masks)
        dense = tuple(ticket for ticket in self.open(0) if ticket.trial in trials)
        return Stored(trials, initial, masks, dense, last=self.open(len(finished) - 1))

    def initial(self) -> dict[int, State]:
        """Return the initial weights of the trials that began, by their numbers.

        Raises:
            StorageError: a file is missing or damaged.
        """
        files = self.manifest()["initial"]
        return {trial: _without_masks(self._initial_file(trial, files)) for trial in trials_of(files)}

    def _initial_file(self, trial: int, files: Mapping[str, str]) -> State:
        """Read a trial's file of initial weights and masks."""
        file = f"trial-{trial}/{INITIAL}"
        tensors = read_tensors(self._verified(file, files[file]))[0]
        for name in (name for name in tensors if name.startswith(_MASKS)):
            bits, weights = tensors[name], tensors.get(name.removeprefix(_MASKS))
            if weights is None or (bits.dtype, bits.shape) != (torch.uint8, (-(-weights.numel() // 8),)):
                raise StorageError(f"the initial weights of trial {trial} in {self.folder} are damaged at {name!r}.")
        return tensors

    def _finished(self, level: int) -> dict[str, str]:
        """Return the files of a finished level, trial by trial, and their hashes."""
        manifest = self.manifest()
        finished: list[dict[str, str]] = manifest["finished"]
        if not 0 <= level < len(finished):
            ended = "" if manifest["ended"] is None else f" The search ended: {manifest['ended']}."
            raise StorageError(f"{self.folder} has {len(finished)} finished levels; there is no level {level}.{ended}")
        return finished[level]

    @property
    def _manifest_path(self) -> Path:
        return self.folder / MANIFEST

    def _load(self, file: str) -> Ticket:
        """Read a ticket; rewound weights that are in other files only when they are asked for."""
        ticket = self._ticket_file(file)
        return Ticket(
            masks=ticket.read("masks"),
            weights=partial(self._read, file, "weights") if ticket.refers_to else ticket.read("weights"),
            trained=ticket.read("trained"),
            metrics=ticket.read_metrics(),
            **ticket.about,
        )

    def _open(self, file: str) -> Ticket:
        """Read a ticket without its tensors."""
        ticket, read = self._ticket_file(file), partial(self._read, file)
        parts = partial(read, "masks"), partial(read, "weights"), partial(read, "trained")
        return Ticket(ticket.about.pop("level"), *parts, metrics=ticket.read_metrics(), **ticket.about)

    def _ticket_file(self, file: str) -> TicketFile:
        """Return a file that the manifest names, after its contents were compared with their hash."""
        ticket = TicketFile(self.path_of(file))
        trial, level = ticket.about["provenance"].get("trial", 0), ticket.about["level"]
        if f"trial-{trial}/{file_of(level)}" != file:
            raise StorageError(f"{self.folder / file} is the ticket of level {level} of trial {trial}.")
        return ticket

    def _read(self, file: str, part: Part) -> State:
        """Read a part of a ticket from the files that hold it, after these were checked."""
        ticket = TicketFile(self.path_of(file))
        for other in ticket.refers_to if part == "weights" else ():
            self.path_of(str(PurePosixPath(file).with_name(other)))
        return ticket.read(part)

    def path_of(self, file: str) -> Path:
        """Return the path of a file that the manifest names, after its contents were compared with their hash.

        Raises:
            StorageError: the manifest does not name the file, or it is missing or damaged.
        """
        manifest = self.manifest()
        named = manifest["initial"] | files_of(manifest["finished"])
        if file not in named:
            raise StorageError(f"{self._manifest_path} does not name {file}, which a ticket is to be read from.")
        return self._verified(file, named[file])

    def _verified(self, file: str, digest: str) -> Path:
        path = self.folder / file
        if not path.is_file():
            raise StorageError(f"{path} is missing, though the manifest names it. {self._without(file)}")
        if _sha256(path) != digest:
            raise StorageError(
                f"{path} is damaged: its contents are not those that were written ({path.stat().st_size:,} bytes are "
                f"there). {self._without(file)}"
            )
        return path

    def _without(self, file: str) -> str:
        """Return what to do without one of the files that the manifest names."""
        path, search = PurePosixPath(file), self.manifest()["search"]
        if path.name == INITIAL:
            return without_initial(self.folder, file, search)
        return without_level(self.folder, int(path.stem.removeprefix("level-")), search)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest; the files that it names are there already."""
        write_manifest(self.folder, manifest)


def _without_masks(tensors: State) -> State:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_MASKS)}


def _sources(level: int) -> list[Source]:
    """Return what the rewound weights of a level's ticket may be equal to.

    These are the initial weights, those of the dense ticket (with a later rewind point), or the trained ones that the
    masks were chosen from (without rewinding).
    """
    sources = [Source(INITIAL, "")]
    if level:
        sources.append(Source(file_of(0), "weights/"))
        sources += [Source(file_of(before), "trained/", pruned=True) for before in sorted({level - 1, 0}, reverse=True)]
    return sources


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
