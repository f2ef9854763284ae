"""SIGKILL at random moments and before every change of a file, until the command has finished."""

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.survival.children import Child, Harm, Outcome, call
from tests.survival.workloads import Grounds, Workload, contents, differences, finished, remove_not_begun


@dataclass
class Survived:
    """What became of a workload that was killed.

    Attributes:
        kills: how many processes were killed.
        within_writes: how many of them left a temporary file.
        kept: how many finished levels' files a kill found, and the command that went on left as they were.
        lost: what is missing or has other bits in the end, in words; nothing, one hopes.
    """

    kills: int = 0
    within_writes: int = 0
    kept: int = 0
    lost: list[str] = field(default_factory=list)

    def add(self, other: "Survived") -> None:
        self.kills += other.kills
        self.within_writes += other.within_writes
        self.kept += other.kept
        self.lost += other.lost


class Killing:
    """A workload, and what it leaves when nobody kills it."""

    def __init__(self, workload: Workload, grounds: Grounds) -> None:
        self._workload, self._grounds = workload, grounds
        folder = grounds.copy(workload.begins)
        outcome = self._call(folder)
        assert not outcome.code, outcome.output
        self._clean(folder)
        self._expected = contents(folder)
        shutil.rmtree(folder.parent)
        self._seconds = outcome.seconds

    def at_random(self, draws: random.Random) -> Survived:
        """Kill once to three times, each at a random moment, and go on until it has finished."""
        folder, found = self._grounds.copy(self._workload.begins), Survived()
        for _ in range(draws.randint(1, 3)):
            child = Child(self._workload.words(folder), folder)
            outcome = child.end(draws.random() * self._seconds)
            self._seconds = outcome.seconds if not outcome.killed else self._seconds
            if not self._note(outcome, folder, found):
                break
        return self._finish(folder, found)

    def before_change(self, number: int) -> Survived | None:
        """Kill before so many changes of files; None if there are not as many."""
        folder, found = self._grounds.copy(self._workload.begins), Survived()
        outcome = call(self._workload.words(folder), folder, Harm(kill_at=number))
        if not outcome.killed:
            shutil.rmtree(folder.parent)
            return None
        self._note(outcome, folder, found)
        return self._finish(folder, found)

    def _note(self, outcome: Outcome, folder: Path, found: Survived) -> bool:
        """Record a kill; return whether it was one."""
        if outcome.killed:
            found.kills += 1
            found.within_writes += any(folder.rglob(".*.part"))
        elif outcome.code:
            found.lost.append(f"exit code {outcome.code}: {outcome.output[-2000:]}")
        return outcome.killed

    def _finish(self, folder: Path, found: Survived) -> Survived:
        before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in finished(folder)}
        outcome = self._call(folder)
        if outcome.code:
            found.lost.append(f"{self._workload.name} ended with {outcome.code}: {outcome.output[-2000:]}")
        for path, stat in before.items():
            if path.exists() and (path.stat().st_ino, path.stat().st_mtime_ns) == stat:
                found.kept += 1
            else:
                found.lost.append(f"{path} was finished, and was written again")
        self._clean(folder)
        found.lost += differences(contents(folder), self._expected)
        if not found.lost:
            shutil.rmtree(folder.parent)
        return found

    def _call(self, folder: Path) -> Outcome:
        return call(self._workload.words(folder), folder)

    def _clean(self, folder: Path) -> None:
        """Resume the run whose figures or exports were written: that removes what killed processes left."""
        if (folder / "run").is_dir():
            call(["resume", folder / "run"], folder)
        remove_not_begun(folder)
