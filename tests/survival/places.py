"""Full disks, folders that cannot be written to, wrong clocks, and runs that are moved. The disks need root."""

import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.survival.children import Child, Harm, Outcome, call
from tests.survival.workloads import WORKLOADS, Contents, Grounds, Workload, contents, differences, remove_not_begun

Tried = tuple[Counter[str], list[str]]
"""What happened how often, and what was lost."""

NOBODY = 65534  # a user who may write nowhere


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A disk of this size in place of a folder, with what is in the folder."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], check=True)
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
        shutil.rmtree(aside)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def full_disks(grounds: Grounds, name: str, spare: range) -> Tried:
    """Run a command on disks with so many spare kilobytes, and again when there is space.

    A refusal names the file and says that there has to be enough space; it leaves no temporary file.
    """
    workload = WORKLOADS[name]
    expected = _expected(workload, grounds)
    used = sum(-(-path.stat().st_size // 4096) * 4 + 4 for path in grounds.first(workload.begins).rglob("*"))
    happened, lost = Counter[str](), list[str]()
    for kilobytes in spare:
        folder = grounds.copy(workload.begins)
        with disk(folder, used + kilobytes):
            outcome = call(workload.words(folder), folder)
            words = " ".join(outcome.output.split())
            if outcome.code:
                if outcome.code != 2 or not re.search(r"cannot write.*enough space", words):
                    lost.append(f"{name}, {kilobytes} KB: exit code {outcome.code}: {words[-1500:]}")
                lost += [f"{path} was left" for path in folder.rglob(".*.part")]
                happened["refused, then the same bits"] += 1
                remount(folder, "size=64m")
                remove_not_begun(folder)
                outcome = call(workload.words(folder), folder)
            else:
                happened["enough space"] += 1
            lost += _compared(f"{name}, {kilobytes} KB", outcome, folder, expected)
        shutil.rmtree(folder.parent)
    return happened, lost


def read_only(grounds: Grounds) -> Tried:
    """A run that cannot be written to is read as ever, and writing is refused before anything is trained."""
    happened, lost = Counter[str](), list[str]()
    for begins in ("half a run", "run"):
        folder = grounds.copy(begins)
        run, elsewhere = folder / "run", folder.parent / "elsewhere"
        reads = [["summary", run], ["runs", "--out", folder], ["analyze", run], ["plot", run, "--out", elsewhere]]
        reads += [["export", run, "--out", elsewhere / "export"]]
        writes = [["resume", run], ["control", run, "--kind", "shuffled"], ["plot", run], ["export", run]]
        writes += [["run", "lenet-digits", "--out", folder], ["imp", folder / "store"]]
        with disk(folder, 65536):
            before = contents(folder)
            for how, harm in {"a read-only disk": Harm(), "a folder of somebody else's": Harm(user=NOBODY)}.items():
                shutil.rmtree(elsewhere, ignore_errors=True)
                elsewhere.mkdir()
                elsewhere.chmod(0o777)
                remount(folder, "rw" if harm.user else "ro")
                for words, wanted in [*((each, 0) for each in reads), *((each, 2) for each in writes)]:
                    outcome = call(words, elsewhere, harm)
                    own = words[0] == "imp" and wanted  # the error reaches a program of one's own as an exception
                    if outcome.code != (1 if own else wanted) or (wanted and "cannot write" not in outcome.output):
                        lost.append(f"{how}, {words[0]}: exit code {outcome.code}: {outcome.output[-1500:]}")
                    happened["refused" if wanted else "read"] += 1
            lost += [f"{begins}: {each}" for each in differences(contents(folder), before)]
        shutil.rmtree(folder.parent)
    return happened, lost


def wrong_clocks(grounds: Grounds, draws: random.Random, tries: int) -> Tried:
    """Runs that are begun, killed and resumed by clocks that are wrong, each time by other years."""
    workload = WORKLOADS["run"]
    expected = _expected(workload, grounds)
    happened, lost = Counter[str](), list[str]()
    for _ in range(tries):
        folder = grounds.copy(workload.begins)
        years = [draws.uniform(-20, 20) * 365 * 86400 for _ in range(3)]
        call(workload.words(folder), folder, Harm(clock=years[0], kill_at=draws.randint(45, 90)))
        outcome = call(workload.words(folder), folder, Harm(clock=years[1]))
        remove_not_begun(folder)
        lost += _compared("clock", outcome, folder, expected)
        outcome = call(["runs", "--out", folder / "runs"], folder, Harm(clock=years[2]))
        lost += [f"runs: {outcome.output}"] if outcome.code else []
        happened["same bits"] += 1
        shutil.rmtree(folder.parent)
    return happened, lost


def moved(grounds: Grounds, draws: random.Random, tries: int) -> Tried:
    """Unfinished runs that are renamed, copied, linked to or on another host when they are resumed."""
    expected = _expected(WORKLOADS["resume"], grounds)
    happened, lost = Counter[str](), list[str]()
    for attempt in range(tries):
        folder, harm = grounds.copy("half a run"), Harm()
        run, other = folder / "run", folder.parent / f"über {attempt} [copy]" / "here" / "run"
        other.parent.mkdir(parents=True)
        how = ("renamed", "copied", "linked to", "on another host", "copied and written in the meantime")[attempt % 5]
        if how == "renamed":
            run.rename(other)
        elif how == "linked to":
            other.symlink_to(run)
        elif how == "on another host":
            harm, other = Harm(host=f"node-{draws.randrange(1000)}"), run
        else:
            copied_while = Child(["resume", run], folder) if "meantime" in how else None
            if copied_while is not None:
                copied_while.end(draws.random())
            shutil.copytree(run, other)
        outcome = call(["resume", other], other.parent, harm)
        lost += _compared(how, outcome, folder if how == "linked to" else other.parent, expected)
        happened[f"{how}: same bits"] += 1
        shutil.rmtree(folder.parent)
    return happened, lost


def _expected(workload: Workload, grounds: Grounds) -> Contents:
    folder = grounds.copy(workload.begins)
    outcome = call(workload.words(folder), folder)
    assert not outcome.code, outcome.output
    found = contents(folder)
    shutil.rmtree(folder.parent)
    return found


def _compared(what: str, outcome: Outcome, folder: Path, expected: Contents) -> list[str]:
    if outcome.code:
        return [f"{what}: exit code {outcome.code}: {outcome.output[-1500:]}"]
    return [f"{what}: {each}" for each in differences(contents(folder), expected)]
