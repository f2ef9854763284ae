"""The manifest of a folder of tickets: what it contains, the files that it names, reading and writing it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, StringConstraints, ValidationError, model_validator

from lthprune.errors import StorageError
from lthprune.files import write_atomically
from lthprune.formats import check_format
from lthprune.reading import read_json
from lthprune.search.advice import COPY, MANIFEST, without_manifest
from lthprune.search.failures import Failure
from lthprune.section import first_fault

FORMAT = 1
INITIAL = "initial.safetensors"

_File = Annotated[str, StringConstraints(pattern=r"^trial-(0|[1-9][0-9]*)/(initial|level-[0-9]{2,})\.safetensors$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel, strict=True):
    """What a manifest contains; the files that it names are in the folder, whoever wrote it.

    Attributes:
        format: of this file.
        search: what a resumed search has to match.
        initial: the SHA-256 of every trial's file of initial weights, by name.
        finished: of every finished level, that of the tickets of its trials.
        ended: why the search ended before its last level.
        failures: trainings that failed.
    """

    format: int
    search: dict[str, Any]
    initial: dict[_File, _Digest]
    finished: list[dict[_File, _Digest]]
    ended: str | None = None
    failures: list[Failure] = []

    @model_validator(mode="after")
    def _trials_of_the_level_before(self) -> "Manifest":
        before: tuple[int, ...] | None = None
        for name, files in [(INITIAL, self.initial), *((file_of(n), each) for n, each in enumerate(self.finished))]:
            trials = trials_of(files)
            if any(PurePosixPath(file).name != name for file in files):
                raise ValueError(f"it names other files where {name} of each trial is expected")
            if not trials or sorted(trials) != list(trials) or not set(trials) <= set(before or trials):
                raise ValueError(f"{name} is of other trials than the files before it")
            before = trials
        return self


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder as plain values, with all entries of ``Manifest``.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise StorageError(
            f"{folder} {what}, so it holds no run. Name a run directory; `lthprune runs` lists those in runs."
        )
    try:
        if not path.is_file():
            raise StorageError(f"{folder} holds no run: there is no {MANIFEST} in it.{_hint(folder)}")
        written = read_json(path)
        if not isinstance(written, dict):
            raise ValueError("it is not a table")
        check_format(path, written.get("format"), FORMAT)
        return Manifest.model_validate(written).model_dump()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise StorageError(f"{path} is damaged ({fault}). {without_manifest(folder)}") from error


def names_finished_levels(copy: Path) -> bool:
    """Return whether the copy of a manifest, if it is there and intact, names a finished level."""
    try:
        return bool(Manifest.model_validate(read_json(copy)).finished)
    except (OSError, ValueError):
        return False


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest, whose files are there, and before it its copy: without it no file counts."""
    data = json.dumps(manifest, indent=1).encode()
    write_atomically(folder / COPY, data)
    write_atomically(folder / MANIFEST, data)


def with_failures(manifest: Mapping[str, Any], failures: Iterable[Failure]) -> dict[str, Any]:
    """Return a manifest with further failures."""
    added = [failure.model_dump() for failure in failures]
    return {**manifest, "failures": [*manifest["failures"], *added]}


def file_of(level: int) -> str:
    """Return the name of a ticket's file in the folder of its trial.

    Examples:
        >>> file_of(3)
        'level-03.safetensors'
    """
    return f"level-{level:02d}.safetensors"


def files_of(levels: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the files of several levels and their hashes."""
    return {file: digest for level in levels for file, digest in level.items()}


def trials_of(files: Iterable[str]) -> tuple[int, ...]:
    """Return the numbers of the trials that these files are of.

    Examples:
        >>> trials_of(["trial-0/level-03.safetensors", "trial-12/level-03.safetensors"])
        (0, 12)
    """
    return tuple(int(PurePosixPath(file).parent.name.removeprefix("trial-")) for file in files)


def _hint(folder: Path) -> str:
    """Return a sentence for somebody who named a folder without a manifest."""
    if (folder / COPY).is_file():
        return f" {without_manifest(folder)}"
    if (folder / "recipe.toml").is_file():
        return " A run was stopped before it had written its first files; start it again."
    inside = sorted(str(path.parent) for path in folder.glob(f"*/{MANIFEST}"))
    return f" Name one of the runs inside it: {', '.join(inside)}." if inside else ""
