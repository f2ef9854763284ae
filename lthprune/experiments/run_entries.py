"""The entries of a run's files, checked when they are read: the files may be damaged, or a stranger's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from lthprune.errors import StorageError
from lthprune.pruning import MOST_LEVELS
from lthprune.reading import read_json
from lthprune.section import first_fault


class _Environment(BaseModel, strict=True, extra="allow"):
    """The entries of ``environment.json`` that are read again; earlier versions wrote fewer."""

    started: str = ""
    data_dir: Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")] | None = None
    device: str = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    threads_asked: Annotated[int, Field(ge=1)] | None = None
    packages: dict[str, str] = {}
    seconds_per_level: dict[str, float] = {}
    peak_memory_mb: int | None = None
    train_samples: Annotated[int, Field(ge=1)] = 1


class _Control(BaseModel, strict=True):
    kind: str
    repeat: int


class _Prune(BaseModel, strict=True, extra="allow"):
    method: str
    levels: Annotated[int, Field(ge=0, le=MOST_LEVELS)]


class _Trials(BaseModel, strict=True, extra="allow"):
    trials: Annotated[int, Field(ge=1)]


class _Settings(BaseModel, strict=True, extra="allow"):
    """The settings that are read before the recipe is, to list runs."""

    prune: _Prune
    run: _Trials


class _Begun(BaseModel, strict=True, extra="allow"):
    """The entries of a manifest's ``search`` that a recipe's run adds to those of its search."""

    recipe: str
    settings: _Settings
    data: str
    control: _Control | None = None
    transfer: dict[str, Any] | None = None


def read_environment(path: Path) -> dict[str, Any]:
    """Return the contents of ``environment.json``.

    Raises:
        StorageError: the file is missing or damaged.
    """
    try:
        environment: dict[str, Any] = read_json(path)
        _Environment.model_validate(environment)
    except (OSError, ValueError) as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else error
        raise StorageError(f"cannot read {path}: {fault}. Restore it from a copy.") from error
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
