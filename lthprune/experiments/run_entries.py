"""The entries of a run's files, checked when they are read: the files may be damaged, or a stranger's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, StringConstraints, ValidationError
from pydantic_core import from_json

from lthprune.errors import StorageError
from lthprune.section import first_fault


class _Environment(BaseModel, strict=True, extra="allow"):
    """The entries of ``environment.json`` that are read again; earlier versions wrote fewer."""

    started: str = ""
    data_dir: Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")] | None = None
    device: str = "cpu"
    threads: int = 1
    threads_asked: int | None = None
    packages: dict[str, str] = {}
    seconds_per_level: dict[str, float] = {}
    peak_memory_mb: int | None = None
    train_samples: int = 1


class _Control(BaseModel, strict=True):
    kind: str
    repeat: int


class _Begun(BaseModel, strict=True, extra="allow"):
    """The entries of a manifest's ``search`` that a recipe's run adds to those of its search."""

    settings: dict[str, Any]
    data: str
    control: _Control | None = None
    transfer: dict[str, Any] | None = None


def read_environment(path: Path) -> dict[str, Any]:
    """Return the contents of ``environment.json``.

    Raises:
        StorageError: the file is missing or damaged.
    """
    try:
        environment: dict[str, Any] = from_json(path.read_bytes())
        _Environment.model_validate(environment)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}. Restore it from a copy.") from error
    return environment


def check_begun(begun: Mapping[str, Any], manifest: Path) -> None:
    """Check what a manifest says that a recipe's run began with.

    Raises:
        StorageError: an entry is missing or of another type.
    """
    try:
        _Begun.model_validate(begun)
    except ValidationError as error:
        raise StorageError(
            f"{manifest} is damaged (search.{first_fault(error)}); the run cannot be resumed."
        ) from error
