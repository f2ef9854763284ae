"""Two processes on one run: the second is refused, and goes on when the first has been killed."""

import os
import platform
import random
import re
import shutil
import time
from collections import Counter
from pathlib import Path

from tests.survival.children import Child, Outcome, call
from tests.survival.places import Tried
from tests.survival.workloads import Contents, Grounds, contents, differences


def two_at_once(grounds: Grounds, draws: random.Random, tries: int) -> Tried:
    """Resume a run, or a store, in two processes that start together; one of them is refused."""
    happened, lost = Counter[str](), list[str]()
    expected = {kind: _alone(kind, grounds) for kind in ("run", "store")}
    for attempt in range(tries):
        kind = ("run", "store")[attempt % 2]
        folder = _begun(kind, grounds)
        first = Child(_words(kind, folder), folder)
        time.sleep(draws.choice((0, 0, draws.random() / 4)))
        second = Child(_words(kind, folder), folder)
        ends = [first.end(), second.end()]
        done = [each for each in ends if not each.code]
        refused = [each for each in ends if each.code]
        for each in refused:
            lost += _checked(each, done[0].pid if done else 0)
        if len(refused) == 2:
            lost.append("both were refused")
        happened["the second refused" if refused else "one after the other"] += 1
        lost += differences(contents(folder), expected[kind])
        shutil.rmtree(folder.parent)
    return happened, lost


def first_killed(grounds: Grounds, draws: random.Random, tries: int) -> Tried:
    """Kill the first process after the second was refused; then the second goes on, whoever has the first's number."""
    happened, lost = Counter[str](), list[str]()
    expected = _alone("run", grounds)
    for attempt in range(tries):
        folder = _begun("run", grounds)
        first = Child(_words("run", folder), folder)
        while not (folder / "run" / ".writer").exists():
            time.sleep(0.005)
        second = call(_words("run", folder), folder)
        first.kill()
        killed = first.end()
        if attempt % 2:  # another process has its number by now
            (folder / "run" / ".writer").write_text(f"process {os.getpid()} on {platform.node()}, since long ago")
        third = call(_words("run", folder), folder)
        if second.code:
            lost += _checked(second, killed.pid)
        lost += [third.output] if third.code else []
        lost += differences(contents(folder), expected)
        happened["refused, then the same bits" if second.code and killed.killed else "the first was done"] += 1
        shutil.rmtree(folder.parent)
    return happened, lost


def _checked(refused: Outcome, other: int) -> list[str]:
    """Check that a refusal names the other process and its host."""
    named = re.search(r"process (\d+) on (\S+),", " ".join(refused.output.split()))
    if named is None or (int(named[1]), named[2]) != (other, platform.node()):
        return [f"the refusal does not name process {other}: {refused.output[-1500:]}"]
    return []


def _begun(kind: str, grounds: Grounds) -> Path:
    """A folder with an unfinished run, or an empty one for a store."""
    return grounds.copy("half a run" if kind == "run" else "nothing")


def _words(kind: str, folder: Path) -> list[str | Path]:
    return ["resume", folder / "run"] if kind == "run" else ["imp", folder / "store"]


def _alone(kind: str, grounds: Grounds) -> Contents:
    folder = _begun(kind, grounds)
    outcome = call(_words(kind, folder), folder)
    assert not outcome.code, outcome.output
    found = contents(folder)
    shutil.rmtree(folder.parent)
    return found
