"""The folders that runs are kept in: names for new runs, and the runs that are there."""

import re
import secrets
from datetime import datetime
from pathlib import Path
from shlex import quote

from lthprune.errors import StorageError
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.files import write_atomically
from lthprune.reading import expanded


def new_folder(out: str | Path, name: str) -> Path:
    """Return the path of a new folder in ``out``, named after a recipe and the time. The folder is not made yet.

    Raises:
        StorageError: ``out`` is itself a run.
    """
    out = expanded(out)
    if (out / "manifest.json").is_file():
        raise StorageError(
            f"{out} is itself a run, or a store of tickets. Choose another folder for new runs, or resume it: "
            f"lthprune resume {quote(str(out))}"
        )
    return out / f"{fit_for_a_file(name)}-{datetime.now():%Y%m%d-%H%M}-{secrets.token_hex(4)}"


def fit_for_a_file(name: str) -> str:
    """Return a name with the characters replaced that a file's name should not contain.

    Examples:
        >>> fit_for_a_file("../my recipe")
        '..-my-recipe'
    """
    return re.sub(r"[^\w.-]+", "-", name)


def create_run(recipe: Recipe, folder: Path) -> Run:
    """Make a run directory and write the recipe into it.

    Raises:
        StorageError: the folder holds a run, or cannot be written.
    """
    if Run(folder).tickets.exists:
        raise StorageError(
            f"{folder} already holds a run. Choose another folder, or resume that run: "
            f"lthprune resume {quote(str(folder))}"
        )
    write_atomically(folder / "recipe.toml", recipe.to_toml().encode())
    return Run(folder, trust_code=True)  # the person who runs a recipe has chosen the code that it names


def find_runs(folder: str | Path) -> list[Run]:
    """Return the runs in a folder, oldest first; stores of ``imp`` and ``osp`` are among them.

    Raises:
        StorageError: there is no such folder.
    """
    runs = [Run(path.parent) for path in find_files(folder, "manifest.json", of="runs")]
    return sorted(runs, key=lambda run: (run.started, run.name))


def find_files(folder: str | Path, name: str, *, of: str) -> list[Path]:
    """Return the files of a name in the subfolders of a folder of runs or sweeps.

    Raises:
        StorageError: there is no such folder.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise StorageError(f"{folder} is {'a file' if folder.exists() else 'not there'}. Name a folder of {of}.")
    return list(folder.glob(f"*/{name}"))
