"""What to do without a file of a folder of tickets that is missing or damaged."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

MANIFEST, COPY = "manifest.json", "manifest.copy.json"


def without_manifest(folder: Path) -> str:
    """Return how to go on if ``manifest.json`` is missing or damaged: earlier versions wrote no copy of it.

    Examples:
        >>> without_manifest(Path("run"))
        'Restore it from a copy. Its tickets can be read one by one without it, by lthprune.load_ticket.'
    """
    manifest, copy = folder / MANIFEST, folder / COPY
    if copy.is_file():
        return f"Put the copy that is beside it in its place: cp {quote(str(copy))} {quote(str(manifest))}"
    return "Restore it from a copy. Its tickets can be read one by one without it, by lthprune.load_ticket."


def without_level(folder: Path, level: int, search: Mapping[str, Any]) -> str:
    """Return how to go on without a ticket of a level, given what the search began with.

    Examples:
        >>> without_level(Path("run"), 3, {"recipe": "lenet-mnist"})
        'Restore it from a copy, or train level 3 and those after it again: lthprune resume run --from-level 3'
    """
    command = f"TicketStore({str(folder)!r}).go_back({level}), then the same search"
    if "recipe" in search:
        command = f"lthprune resume {quote(str(folder))} --from-level {level}"
    return f"Restore it from a copy, or train level {level} and those after it again: {command}"


def without_initial(folder: Path, file: str, search: Mapping[str, Any]) -> str:
    """Return how to go on without the initial weights of a trial, given what the search began with.

    Examples:
        >>> without_initial(Path("run"), "trial-0/initial.safetensors", {"recipe": "lenet-mnist"})
        'Restore it from a copy, or from a new run, which begins with the same file: lthprune run run/recipe.toml'
    """
    if search.get("control") or search.get("transfer"):
        return f"Copy that of the run around it, {folder.resolve().parents[1] / file}, to its place."
    begins = f"lthprune run {quote(str(folder / 'recipe.toml'))}" if "recipe" in search else "imp() or osp()"
    return f"Restore it from a copy, or from a new run, which begins with the same file: {begins}"
