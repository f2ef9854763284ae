"""The table of ``docs/survival.md``: faults, how often they were tried, what happened, what was lost.

python -m tests.survival.page --commit COMMIT                 # everything: as root, most of an hour of a core
python -m tests.survival.page --commit COMMIT damage "kill run"   # some faults; the other rows stay
"""

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lthprune.experiments import Watcher, run_recipe
from lthprune.files import write_atomically
from results.faults import FILE
from results.record import origin_here
from tests.survival.children import call
from tests.survival.damage import damage
from tests.survival.kills import Killing, Survived
from tests.survival.places import Tried, full_disks, moved, read_only, wrong_clocks
from tests.survival.power import power_cuts
from tests.survival.workloads import WORKLOADS, Grounds, Workload, contents, differences
from tests.survival.writers import first_killed, two_at_once
from tests.tiny import tiny

Row = tuple[str, int, Counter[str], list[str]]
"""A fault, how often it was tried, what happened how often, and what was lost."""


def kills(workload: Workload, grounds: Grounds, draws: random.Random) -> Iterator[Row]:
    """Kill a command at random moments, and before its changes of files."""
    killing, at_random, at_changes = Killing(workload, grounds), Survived(), Survived()
    for _ in range(5 * workload.weight):
        at_random.add(killing.at_random(draws))
    yield _killed(f"`kill -9` of `{workload.name}` at random moments", at_random)
    number = draws.randint(1, workload.step)
    while (found := killing.before_change(number)) is not None:
        at_changes.add(found)
        number += workload.step
    yield _killed(f"`kill -9` of `{workload.name}` before a change of a file", at_changes)


def _killed(fault: str, found: Survived) -> Row:
    happened = Counter({"temporary files removed": found.within_writes, "finished files kept": found.kept})
    return fault, found.kills, Counter({"the same bits": found.kills}) + happened, found.lost


def power(grounds: Grounds, draws: random.Random, step: int = 1) -> Iterator[Row]:
    """Cut the power between any two flushes of a run's files to the disk."""
    folder = Path(tempfile.mkdtemp(dir=grounds.folder))
    root = folder / "here"
    root.mkdir()
    told: dict[int, int] = {}
    with power_cuts(root, folder / "states") as states:
        watcher = Watcher(on_level=lambda tickets: told.update({len(states) - 1: tickets[0].level + 1}))
        run = run_recipe(tiny(), "tiny", out=root, watcher=watcher)
    expected, happened, lost = contents(run.folder), Counter[str](), list[str]()
    for number, state in list(enumerate(states))[::step]:
        here = state / run.name
        promised = max((levels for moment, levels in told.items() if moment <= number), default=0)
        if not (here / "manifest.json").exists():
            lost += [f"power cut {number}: {promised} levels"] if promised else []
            happened["not begun yet"] += 1
            continue
        if len(json.loads((here / "manifest.json").read_bytes())["finished"]) < promised:
            lost.append(f"power cut {number}: a finished level")
        outcome = call(["resume", here], state)
        lost += [f"power cut {number}: {outcome.output[-1500:]}"] if outcome.code else []
        lost += [f"power cut {number}: {each}" for each in differences(contents(here), expected)]
        happened["the same bits"] += 1
    shutil.rmtree(folder)
    yield "power cut between two flushes to the disk", happened.total(), happened, lost


def damages(grounds: Grounds, draws: random.Random) -> Iterator[Row]:
    """Damage every file."""
    names = {"half a run": "an unfinished run", "run": "a finished run", "store": "a store of `imp`"}
    for begins, name in names.items():
        yield _tried(f"a file of {name} cut, zeroed, changed, old or missing", damage(grounds, draws, begins))


def disks(grounds: Grounds, draws: random.Random) -> Iterator[Row]:
    """Fill disks."""
    for name, spare in {"run": range(8, 200, 6), "control": range(4, 200, 14), "plot": range(40, 400, 180)}.items():
        yield _tried(f"full disk during `{name}`", full_disks(grounds, name, spare))


def folders(grounds: Grounds, draws: random.Random) -> Iterator[Row]:
    """Read runs that cannot be written to, and move them."""
    yield _tried("run that cannot be written to", read_only(grounds))
    yield _tried("run that was moved", moved(grounds, draws, 30))


def clocks(grounds: Grounds, draws: random.Random) -> Iterator[Row]:
    """Set clocks wrong."""
    yield _tried("clock up to 20 years off, between kill and `resume` too", wrong_clocks(grounds, draws, 20))


def writers(grounds: Grounds, draws: random.Random) -> Iterator[Row]:
    """Start a second process."""
    yield _tried("two processes on one run or store", two_at_once(grounds, draws, 40))
    yield _tried("first of two processes killed, its number taken by another", first_killed(grounds, draws, 20))


def _tried(fault: str, tried: Tried) -> Row:
    happened, lost = tried
    return fault, happened.total(), happened, lost


FAULTS: dict[str, Callable[[Grounds, random.Random], Iterator[Row]]] = {
    **{f"kill {name}": partial(kills, workload) for name, workload in WORKLOADS.items()},
    "power": power,
    "damage": damages,
    "disk": disks,
    "folder": folders,
    "clock": clocks,
    "writer": writers,
}


def main() -> None:
    """Try the faults, print each row, and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(FAULTS)}; without them all")
    parser.add_argument("--commit", required=True, help="of lthprune")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and damages")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "4000"}
    command = f"python -m tests.survival.page --commit {given.commit[:7]} --seed {given.seed}"
    rows: dict[str, list[Any]] = json.loads(FILE.read_bytes())["rows"] if given.faults and FILE.exists() else {}
    with tempfile.TemporaryDirectory(prefix="survival-") as folder:
        Path(folder).chmod(0o755)  # for the processes of another user
        grounds = Grounds(Path(folder) / "grounds")
        for name in given.faults or FAULTS:
            began, found = time.monotonic(), []
            for fault, tries, happened, lost in FAULTS[name](grounds, random.Random(f"{given.seed} {name}")):
                print(f"{fault}: {tries} times, {dict(happened)}, lost: {lost or 'nothing'}", flush=True)
                found.append({"fault": fault, "tries": tries, "happened": dict(happened), "lost": lost})
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
            rows = {key: (rows | {name: found})[key] for key in FAULTS if key in {*rows, name}}
            result = origin_here("survival", given.commit, command) | {"rows": rows}
            write_atomically(FILE, f"{json.dumps(result, indent=1)}\n".encode())


if __name__ == "__main__":
    main()
