"""What is fuzzed: real files of every kind, and the functions that read them."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lthprune import LthpruneError, load_ticket
from lthprune.analysis import Information, LinearPath, Pair
from lthprune.compaction import load_export
from lthprune.data.npz import load_npz
from lthprune.experiments import Run, Sweep, begin_sweep, load_recipe, preview_recipe, resume_run, run_recipe
from lthprune.experiments.information_files import TrialInformation, information_files
from lthprune.experiments.stability_files import TrialStability, stability_files
from lthprune.files import read_tensors
from lthprune.training import Checkpoint
from tests.tiny import OFFLINE, SETTINGS, tiny, write_npz

MEMORY = 200_000_000  # bytes that are said to be available while a target runs


@dataclass(frozen=True)
class Target:
    """A file in a folder of originals, its format, and what reads it."""

    file: str
    kind: str
    read: Callable[[Path], object]
    changes_files: bool = False


def make_originals(folder: Path) -> Path:
    """Write a file of every kind into a folder: a run, one that was stopped, a ticket, an export and others."""
    run = run_recipe(tiny("data.validation=1317", "train.batch_size=60"), "tiny", out=folder / "runs")
    finished = run.folder.rename(folder / "run")
    run = Run(finished)
    ticket = run.tickets.ticket(2)
    ticket.save(folder / "ticket.safetensors")
    run.export(2, compact=True, out=folder / "export")
    path = LinearPath(np.array([0, 0.5, 1]), *({name: np.ones(3) for name in ("train", "test")} for _ in range(2)))
    for trial in range(2):
        stability_files(finished).write(0, 2, trial, TrialStability(1.0, [Pair(trial, (0, 1), path, 1.0, 90.0)]))
        pairs = {("input", "dense1"): Information(1.0, 1.1, 0.9)}
        information_files(finished).write(0, None, trial, TrialInformation(1.0, pairs))
    stopped = folder / "stopped"
    shutil.copytree(finished, stopped)
    manifest = json.loads((stopped / "manifest.json").read_bytes())
    del manifest["finished"][2:]
    (stopped / "manifest.json").write_text(json.dumps(manifest))
    write_npz(folder / "own.npz")
    (folder / "recipe.toml").write_text(tiny("train.lr_milestones=[3]", "prune.rate.dense=0.3").to_toml())
    (folder / "setting").write_text("prune.rate={dense=0.2, output=0.1}")
    Checkpoint(folder / "checkpoint.safetensors", "level 0").write({"weight": torch.ones(3, 2)})
    settings = [*SETTINGS, "run.trials=1"]
    begin_sweep("lenet-digits", {"model.hidden": [4, 5], "run.seed": [0]}, settings, out=folder / "sweeps")
    next((folder / "sweeps").iterdir()).rename(folder / "sweep")
    return folder


@contextmanager
def small_machine(folder: Path) -> Iterator[None]:
    """Let lthprune see little memory, no network and no data sets, and restore what it saw."""
    import lthprune.array_files
    import lthprune.memory

    names = {**OFFLINE, "LTHPRUNE_DATA": str(folder / "no-data")}
    before, seen = {name: os.environ.get(name) for name in names}, lthprune.memory.available_memory
    os.environ.update(names)
    for module in (lthprune.memory, lthprune.array_files):
        module.available_memory = lambda: MEMORY  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in (lthprune.memory, lthprune.array_files):
            module.available_memory = seen  # type: ignore[attr-defined]
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def refused(read: Callable[[Path], object], path: Path) -> LthpruneError | None:
    """Read something, and return lthprune's refusal; None if it was read. Other errors are faults, and are raised."""
    try:
        read(path)
    except LthpruneError as error:
        refusal = error
    else:
        return None
    assert 0 < len(str(refusal)) < 10_000, f"a message of {len(str(refusal)):,} characters"
    return refusal


def read_ticket(folder: Path) -> None:
    """Load a ticket, apply it, and save it again: what was read has a meaning."""
    ticket = load_ticket(folder / "ticket.safetensors")
    again = load_ticket(ticket.save(folder / "again.safetensors"))
    (folder / "again.safetensors").unlink()
    assert (again.level, again.left, again.counts) == (ticket.level, ticket.left, ticket.counts)
    assert all(mask.equal(again.masks[name]) for name, mask in ticket.masks.items())
    refused(lambda _: ticket.apply(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8))), folder)


def read_export(folder: Path) -> None:
    """Load an export; only a network that can compute is one."""
    load_export(folder / "export")


def ask(*questions: Callable[[Run], object]) -> Callable[[Path], None]:
    """Return a function that asks the run in a folder questions; each is answered or refused."""

    def read(folder: Path) -> None:
        run = Run(folder / "run")
        repr(run)
        for question in questions:
            refused(lambda _, question=question: question(run), folder)  # type: ignore[misc]

    return read


def state(run: Run) -> object:
    """Return what a list of runs shows of one."""
    return run.state, run.started, run.recipe_name, run.resume_command, run.control, run.transfer, run.steps_per_epoch


def measured(run: Run) -> object:
    """Return what follows from the histories."""
    return run.summary(), run.to_frame(), run.to_frame("level"), run.comparisons()


def tickets(run: Run) -> object:
    """Return what follows from the tickets."""
    found = [ticket for level in range(3) for ticket in (*run.tickets.level(level), *run.tickets.open(level))]
    return [(each.weights, each.trained, each.masks, each.density) for each in found]


def continued(run: Run) -> object:
    """Return what a resumed run reads."""
    return run.recipe(), run.tickets.load(), run.gather_histories()


def forged(read: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a function that reads a run whose manifest has the hashes of its files, as a forger would write it."""

    def read_with_hashes(folder: Path) -> None:
        path = folder / "run" / "manifest.json"
        before = path.read_bytes()
        manifest = json.loads(before)
        for files in (manifest["initial"], *manifest["finished"]):
            for file in files:
                files[file] = hashlib.sha256((folder / "run" / file).read_bytes()).hexdigest()
        path.write_text(json.dumps(manifest))
        try:
            read(folder)
        finally:
            path.write_bytes(before)

    return read_with_hashes


def resume(folder: Path) -> None:
    """Resume a run."""
    resume_run(Run(folder / "stopped"))


def read_recipe(folder: Path) -> None:
    """Load a recipe and preview it."""
    preview_recipe(load_recipe(folder / "recipe.toml"), trust_code=False)


def read_setting(folder: Path) -> None:
    """Load a recipe with a setting of the command line."""
    load_recipe("lenet-digits", [(folder / "setting").read_bytes().decode("utf-8", "surrogateescape")])


def read_sweep(folder: Path) -> None:
    """Ask a sweep for its cells."""
    sweep = Sweep(folder / "sweep")
    refused(lambda _: [(str(cell), cell.finished) for cell in sweep.cells()], folder)
    refused(lambda _: sweep.resume_command, folder)


TARGETS = {
    "ticket": Target("ticket.safetensors", "safetensors", read_ticket),
    "tensors": Target("ticket.safetensors", "safetensors", lambda folder: read_tensors(folder / "ticket.safetensors")),
    "architecture": Target("export/architecture.json", "json", read_export),
    "export weights": Target("export/model.safetensors", "safetensors", read_export),
    "manifest": Target("run/manifest.json", "json", ask(state, measured, tickets, continued)),
    "run's recipe": Target("run/recipe.toml", "toml", ask(Run.recipe)),
    "environment": Target("run/environment.json", "json", ask(state, Run.environment)),
    "histories": Target("run/histories.npz", "npz", ask(measured)),
    "stability": Target(
        "run/stability/level-00-step-2-trial-0.json",
        "json",
        ask(lambda run: [(each.mean_barriers(), each.distances()) for each in run.stability()]),
    ),
    "information": Target("run/information/level-00-trial-1.json", "json", ask(Run.information)),
    "level": Target("run/trial-0/level-01.safetensors", "safetensors", ask(tickets)),
    "forged level": Target(
        "run/trial-0/level-01.safetensors", "safetensors", forged(ask(measured, tickets, continued, Run.structure))
    ),
    "forged initial weights": Target("run/trial-0/initial.safetensors", "safetensors", forged(ask(tickets, continued))),
    "resumed manifest": Target("stopped/manifest.json", "json", resume, changes_files=True),
    "resumed environment": Target("stopped/environment.json", "json", resume, changes_files=True),
    "checkpoint": Target(
        "checkpoint.safetensors",
        "safetensors",
        lambda folder: Checkpoint(folder / "checkpoint.safetensors", "level 0").read(),
    ),
    "recipe": Target("recipe.toml", "toml", read_recipe),
    "setting": Target("setting", "bytes", read_setting),
    "sweep": Target("sweep/sweep.toml", "toml", read_sweep),
    "npz": Target("own.npz", "npz", lambda folder: load_npz(folder / "own.npz")),
}
