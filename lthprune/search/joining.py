"""Stores of a search's trials joined into one, by copies of their files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lthprune.files import write_atomically
from lthprune.search.failures import ALL_DIVERGED
from lthprune.search.manifest import trials_of
from lthprune.search.store import TicketStore


def begin_joined(parts: Sequence[TicketStore], whole: TicketStore) -> None:
    """Begin a store with the initial weights of all trials that other stores have.

    Args:
        parts: stores of one search, with different trials.
        whole: the store to begin; nothing is there yet.

    Raises:
        StorageError: a file is missing or damaged, or the folder cannot be written to.
    """
    manifests = [part.manifest() for part in parts]
    initial = _copy(parts, [manifest["initial"] for manifest in manifests], whole)
    whole.write_manifest(manifests[0] | {"initial": initial, "finished": [], "ended": None, "failures": []})


def append_joined(parts: Sequence[TicketStore], whole: TicketStore) -> None:
    """Add the next level: the tickets of all trials that other stores have at it, and the failures.

    Args:
        parts: stores of the search in ``whole``, each with other trials.
        whole: the store to add the level to.

    Raises:
        StorageError: a file is missing or damaged, or the folder cannot be written to.
    """
    manifest, level = whole.manifest(), whole.finished
    levels = [part.manifest()["finished"][level : level + 1] for part in parts]
    files = _copy(parts, [own[0] if own else {} for own in levels], whole)
    finished = [*manifest["finished"], files]
    whole.write_manifest(manifest | {"finished": finished, "failures": _failures(parts, range(level + 1))})


def end_joined(parts: Sequence[TicketStore], whole: TicketStore, reason: str) -> None:
    """Mark a store as ended after its finished levels, because of the failures of others at the next one, if any.

    Args:
        parts: stores of the search in ``whole``, each with other trials.
        whole: the store that ends.
        reason: why it ends.

    Raises:
        StorageError: a manifest is damaged, or the folder cannot be written to.
    """
    failures = _failures(parts, range(whole.finished + 1))
    whole.write_manifest(whole.manifest() | {"ended": reason, "failures": failures})


def _failures(parts: Sequence[TicketStore], levels: range) -> list[dict[str, Any]]:
    """Return the failures at these levels: at each, trainings that diverged, then the other trials."""
    found = [each for part in parts for each in part.failures if each.level in levels]
    found.sort(key=lambda each: (each.level, each.kind != "diverged", each.trial))
    return [each.model_dump() for each in found]


def split_off(whole: TicketStore, trial: int, part: TicketStore) -> None:
    """Begin a store with copies of the files of one trial, at all finished levels that it has.

    If its training diverged, the store has ended, as the search of this trial alone has.

    Args:
        whole: a store.
        trial: the number of a trial in it.
        part: the store to begin; nothing is there yet.

    Raises:
        StorageError: a file is missing or damaged, or the folder cannot be written to.
    """
    manifest = whole.manifest()
    own = [
        {file: digest for file, digest in files.items() if _trial(file) == trial}
        for files in (manifest["initial"], *manifest["finished"])
    ]
    initial, *levels = [_copy([whole], [files], part) for files in own if files]
    failures = [failure for failure in manifest["failures"] if failure["trial"] == trial]
    ended = ALL_DIVERGED if any(each["kind"] == "diverged" for each in failures) else manifest["ended"]
    part.write_manifest(manifest | {"initial": initial, "finished": levels, "ended": ended, "failures": failures})


def _copy(parts: Sequence[TicketStore], named: Iterable[Mapping[str, str]], whole: TicketStore) -> dict[str, str]:
    """Copy files of each part, and return their names and hashes, trial by trial."""
    copied = {}
    for part, files in zip(parts, named, strict=True):
        for file in files:
            copied[file] = write_atomically(whole.folder / file, part.path_of(file).read_bytes())
    return {file: copied[file] for file in sorted(copied, key=_trial)}


def _trial(file: str) -> int:
    (trial,) = trials_of([file])
    return trial
