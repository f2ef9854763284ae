"""Every file of a run damaged in every way: resuming gives the same bits, or an error whose advice gives them."""

import random
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from lthprune.search import TicketStore
from tests.survival.children import Outcome, call
from tests.survival.workloads import Grounds, contents, differences

Damage = Callable[[bytes, random.Random], bytes | None]

DAMAGES: dict[str, Damage] = {
    "empty": lambda data, draws: b"",
    "its first half": lambda data, draws: data[: len(data) // 2],
    "cut anywhere": lambda data, draws: data[: draws.randrange(len(data))],
    "zeros": lambda data, draws: bytes(len(data)),
    "zeros from anywhere on": lambda data, draws: (
        data[: (place := draws.randrange(len(data)))] + bytes(len(data) - place)
    ),
    "another byte": lambda data, draws: _flipped(bytearray(data), draws.randrange(len(data))),
    "missing": lambda data, draws: None,
}
_FREE = {".lock", ".writer"}


def _flipped(data: bytearray, place: int) -> bytes:
    data[place] ^= 1
    return bytes(data)


class Damaging:
    """A finished or unfinished run, or a store of ``imp``, of which one file is damaged.

    Args:
        begins: what of ``Grounds`` is damaged.
        grounds: the folders.
    """

    def __init__(self, begins: str, grounds: Grounds) -> None:
        self._begins, self._grounds = begins, grounds
        self._name = "store" if begins == "store" else "run"
        folder = grounds.copy(begins)
        self._paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
        self._again(folder)
        self._expected = contents(folder)
        shutil.rmtree(folder.parent)

    def cases(self) -> Iterator[tuple[Path, str]]:
        """Every file, and every kind of damage; also older contents, where there are any."""
        for path in self._paths:
            if path.name not in _FREE:
                for kind in (*DAMAGES, "older contents"):
                    yield path, kind

    def try_case(self, path: Path, kind: str, draws: random.Random) -> tuple[str, list[str]] | None:
        """Damage a file and resume; return what happened and what was lost. None if it cannot be damaged so."""
        folder = self._grounds.copy(self._begins)
        before = (folder / path).read_bytes()
        after = self._older(path) if kind == "older contents" else DAMAGES[kind](before, draws)
        if after == before or (after is None and kind == "older contents"):
            shutil.rmtree(folder.parent)
            return None
        (folder / path).unlink()
        if after is not None:
            (folder / path).write_bytes(after)
        told = self._resume(folder, path)
        if path.name == "manifest.copy.json":  # nothing reads it as long as there is a manifest
            (folder / path).write_bytes((folder / path.with_name("manifest.json")).read_bytes())
        lost = differences(contents(folder), self._expected) if isinstance(told, str) else told
        if not lost:
            shutil.rmtree(folder.parent)
        return (told if isinstance(told, str) else "lost"), [f"{path}, {kind}: {each}" for each in lost]

    def _resume(self, folder: Path, path: Path) -> str | list[str]:
        """Resume, with what the error advises if there is one; return what happened, or what is wrong."""
        refused = contents(folder)
        outcome = self._again(folder)
        if not outcome.code:
            return "same bits"
        if (self._name == "run" and outcome.code != 2) or (self._name == "store" and outcome.code != 1):
            return [f"exit code {outcome.code}: {outcome.output[-1500:]}"]
        words = " ".join(outcome.output.split())
        if path.name not in words and path.name != "manifest.json":  # its error names what a changed byte contradicts
            return [f"the error does not name it: {words}"]
        if differences(contents(folder), refused):
            return [f"the refusal changed files: {differences(contents(folder), refused)}"]
        advice = self._follow(words, folder, path)
        outcome = self._again(folder)
        return advice if not outcome.code else [f"after '{advice}': {outcome.output[-1500:]}"]

    def _follow(self, words: str, folder: Path, path: Path) -> str:
        """Do what the error says, and return it in short."""
        if found := re.search(r"cp (\S+) (\S+)", words):
            shutil.copy(*shlex.split(f"{found[1]} {found[2]}"))
            return "its copy put in its place"
        if path.name == "manifest.json":  # one byte of it is another: whatever it contradicts is named beside it
            shutil.copy(folder / path.with_name("manifest.copy.json"), folder / path)
            return "its copy put in its place"
        if found := re.search(r"--from-level (\d+)", words):
            call(["resume", folder / "run", "--from-level", found[1]], folder)
            return "resumed from its level"
        if found := re.search(r"go_back\((\d+)\)", words):
            TicketStore(folder / "store").go_back(int(found[1]))
            return "resumed from its level"
        if "from a new run" in words:
            (folder / path).unlink(missing_ok=True)
            shutil.copy(self._anew(folder) / path.relative_to(self._name), folder / path)
            return "restored from a new run"
        if "delete the file" in words.lower() or "delete it" in words.lower():
            (folder / path).unlink()
            return "deleted and written again"
        return f"no advice that helps in: {words}"

    def _anew(self, folder: Path) -> Path:
        """The folder of a new run of the same recipe."""
        out = folder.parent / "anew"
        out.mkdir()
        words = ["imp", out] if self._name == "store" else ["run", folder / "run" / "recipe.toml", "--out", out]
        call(words, out)
        return out if self._name == "store" else next(out.iterdir())

    def _older(self, path: Path) -> bytes | None:
        """What the file was when only the first level was finished."""
        older = self._grounds.first("half a run") / path
        return older.read_bytes() if older.exists() else None

    def _again(self, folder: Path) -> Outcome:
        words = ["imp", folder / "store"] if self._name == "store" else ["resume", folder / "run"]
        return call(words, folder)


def damage(grounds: Grounds, draws: random.Random, begins: str, share: float = 1) -> tuple[Counter[str], list[str]]:
    """Damage the files of a run in every way, or in a share of all ways; return what happened, and what was lost."""
    damaging = Damaging(begins, grounds)
    happened: Counter[str] = Counter()
    lost: list[str] = []
    for path, kind in damaging.cases():
        if draws.random() <= share and (found := damaging.try_case(path, kind, draws)) is not None:
            happened[found[0]] += 1
            lost += found[1]
    return happened, lost
