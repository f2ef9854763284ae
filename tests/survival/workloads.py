"""Commands to break off: what they start from, how they go on, and what they leave in the end."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lthprune.files import PART
from tests.survival.children import Harm, call
from tests.tiny import SETTINGS

Words = Sequence[str | Path]
Contents = dict[str, str]

_LATE = ("prune.rewind=60", "prune.score=random", "run.keep_early_stop=true", "train.optimizer=sgd")
_CONVOLUTIONAL = (
    'model.kind="plan"',
    'model.conv=["2B", "M"]',
    "train.steps=12",
    "train.evaluate_every=3",
    "prune.rate=0.3",
)
_OTHER = ("--set", 'model.kind="mlp"', "--set", "model.dense=[8]", "--set", "train.steps=100")
_STABILITY = ("--at", "0,40", "--points", "3", "--level", "1")
_INFORMATION = ("--pair", "dense1:labels", "--epochs", "1", "--samples", "400", "--levels", "0,1")
_PASSING = {".lock", ".writer", "environment.json"}  # the process, and the clock
_FIGURES = {".png", ".svg", ".pdf"}


@dataclass(frozen=True)
class Workload:
    """A command that is broken off, again and again, until it has finished.

    Attributes:
        name: of the command.
        words: returns the next command, given the folder with what is there by now.
        begins: what is there at first: nothing, a finished run, or one of which only the first level is finished.
        weight: how many kills at random moments it is worth, beside the others.
        step: it is killed before every change of a file, or before each of so many.
    """

    name: str
    words: Callable[[Path], Words]
    begins: str = "run"
    weight: int = 1
    step: int = 1


def sets(*settings: str) -> list[str]:
    """The options of ``lthprune run`` for the tiny recipe with trainings long enough to be broken off."""
    return [
        word
        for each in (*SETTINGS, "train.steps=120", "train.evaluate_every=30", *settings)
        for word in ("--set", each)
    ]


def _new_run(*settings: str) -> Callable[[Path], Words]:
    def words(folder: Path) -> Words:
        for path in sorted(folder.glob("runs/*/manifest.json")):
            return ["resume", path.parent]
        return ["run", "lenet-digits", *sets(*settings), "--out", folder / "runs"]

    return words


def _sweep(folder: Path) -> Words:
    for path in folder.glob("sweeps/*/sweep.toml"):
        return ["resume", path.parent]
    over = ["--over", "model.hidden=[6, 8]"]
    return ["sweep", "lenet-digits", *sets("prune.levels=1"), *over, "--out", folder / "sweeps"]


def _on_run(*words: str) -> Callable[[Path], Words]:
    return lambda folder: [words[0], folder / "run", *words[1:]]


def _analyze(folder: Path) -> Words:
    files = {"--json": folder / "analysis.json", "--graphml": folder / "network.graphml"}
    missing = [word for option in files.items() if not option[1].exists() for word in option]
    return ["analyze", folder / "run", "--level", "1", *missing]  # those that are there are whole, and refused


def _export(folder: Path) -> Words:
    exported = folder / "run" / "exports" / "level-02-trial-0"
    if not (exported / "architecture.json").exists():  # as the message about the file that is there says
        (exported / "model.safetensors").unlink(missing_ok=True)
    return ["summary" if (exported / "architecture.json").exists() else "export", folder / "run"]


WORKLOADS = {
    each.name: each
    for each in (
        Workload("run", _new_run(), "nothing", 6, step=4),
        Workload("run, late rewinding", _new_run(*_LATE), "nothing", 3, step=8),
        Workload("run, convolutions", _new_run(*_CONVOLUTIONAL), "nothing", 2, step=16),
        Workload("resume", _on_run("resume"), "half a run", 4, step=3),
        Workload("sweep", _sweep, "nothing", 4, step=4),
        Workload("control", _on_run("control", "--kind", "shuffled", "--kind", "dense-longer"), weight=4, step=6),
        Workload("transfer", _on_run("transfer", "lenet-digits", *_OTHER), weight=2, step=8),
        Workload("stability", _on_run("stability", *_STABILITY), step=5),
        Workload("information", _on_run("information", *_INFORMATION), step=5),
        Workload("imp with a store", lambda folder: ["imp", folder / "store"], "nothing", 4, step=4),
        Workload("plot", _on_run("plot"), step=40),
        Workload("analyze", _analyze, weight=2, step=2),
        Workload("export", _export, step=2),
    )
}


class Grounds:
    """Folders to break commands off in: copies of what each begins with.

    Args:
        folder: an empty folder for all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = 0
        for begins in ("nothing", "run", "half a run", "store"):
            self.first(begins).mkdir(parents=True)
        call(["imp", self.first("store") / "store"], self.first("store"))
        self._run(self.first("run"), Harm())
        self._run(self.first("half a run"), Harm(kill_before="trial-0/.level-01"))

    def copy(self, begins: str) -> Path:
        """A new folder with nothing, with a finished ``run``, with one of which a level is finished, or a ``store``."""
        self._made += 1
        folder = self.folder / str(self._made) / "here"
        shutil.copytree(self.first(begins), folder)
        return folder

    def first(self, begins: str) -> Path:
        """The folder that copies are made of."""
        return self.folder / begins.replace(" ", "-") / "here"

    def _run(self, folder: Path, harm: Harm) -> None:
        call(_new_run()(folder), folder, harm)
        (found,) = folder.glob("runs/*")
        found.rename(folder / "run")
        (folder / "runs").rmdir()


def finished(folder: Path) -> list[Path]:
    """All files of finished levels below a folder, as the manifests name them."""
    manifests = {path.parent: json.loads(path.read_bytes()) for path in folder.rglob("manifest.json")}
    return sorted(run / file for run, each in manifests.items() for level in each["finished"] for file in level)


def remove_not_begun(folder: Path) -> None:
    """Remove what was killed before it was a run or a sweep, and was started again in another folder."""
    for begun in (*folder.glob("runs/*"), *folder.glob("sweeps/*")):
        if not (begun / "manifest.json").exists() and not (begun / "sweep.toml").exists():
            shutil.rmtree(begun)


def contents(folder: Path) -> Contents:
    """The digest of every file that does not depend on the clock or the process; figures are only looked through."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = list(path.relative_to(folder).parts)
        if parts[0] in ("runs", "sweeps") and len(parts) > 1:
            parts[1] = "new"  # its name says when it began
        left = len(parts) == 1 and path.name.endswith(PART)  # outside of runs nobody but the user removes them
        if path.is_file() and path.name not in _PASSING and not left:
            whole = path.suffix in _FIGURES and not path.name.endswith(PART)
            found["/".join(parts)] = _looked_through(path) if whole else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(found: Contents, expected: Contents) -> list[str]:
    """The files that are not as expected, in words."""
    names = sorted(found.keys() | expected.keys())
    return [f"{name} differs" for name in names if found.get(name) != expected.get(name)]


def _looked_through(path: Path) -> str:
    """Whether a figure is whole: they contain the time."""
    data = path.read_bytes()
    ends = {".png": b"IEND\xaeB`\x82", ".svg": b"</svg>", ".pdf": b"%%EOF"}
    return "whole" if data.rstrip().endswith(ends[path.suffix]) else f"{len(data)} bytes of a figure"
