"""Writes the measurements of a run and its controls into ``docs/results/NAME.json``, for the page on reproductions.

python docs/results/record.py RUN NAME --commit COMMIT --command 'lthprune run ...'

In place of a run, sweeps of several tasks can be recorded together: their folders, joined by commas. A run directory
names neither the commit of lthprune nor the command, so both are given. Use it on the run's machine.
"""

import argparse
import json
import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lthprune import Run
from lthprune.analysis import Information, outcome
from lthprune.experiments import Sweep, summarise_sweep, untrained_accuracies
from lthprune.experiments.environment import describe_environment
from lthprune.files import write_atomically


def record(run: Run, *, name: str, commit: str, commands: list[str], untrained: bool = False) -> dict[str, Any]:
    """Return what the page needs to know of a run: all finished levels, and those of each control.

    With ``untrained``, levels also hold the test accuracies of their masked networks before training. Levels whose
    stability was measured hold each trial's mean error barrier on test data, by step; those whose mutual information
    was estimated hold each trial's estimates after the training, in nats, by pair.
    """
    controls: dict[str, list[list[dict[str, Any]]]] = {}
    for (kind, _), control in sorted(run.controls().items()):
        if control.tickets.finished:
            controls.setdefault(kind, []).append(levels(control))
    own_levels = levels(run)
    if untrained:
        for (masks, weights), accuracies in untrained_accuracies(run).accuracies.items():
            for level, each in enumerate(own_levels):
                each.setdefault("untrained", {})[f"{masks} {weights}"] = [
                    round(float(acc), 6) for acc in accuracies[:, level]
                ]
    for measured in run.stability():
        own_levels[measured.level]["barriers"] = {
            str(step): [
                round(float(np.mean([pair.path.barrier("test") for pair in pairs if pair.trial == trial])), 6)
                for trial in sorted({pair.trial for pair in pairs})
            ]
            for step, pairs in zip(measured.steps, measured.pairs, strict=True)
        }
    for each in run.information():
        if each.step is None:
            own_levels[each.level]["information"] = {
                ":".join(pair): {name: each.nats(pair, name).round(6).tolist() for name in Information._fields}
                for pair in each.pairs
            }
    return origin(run, name, commit, commands) | {"levels": own_levels, "controls": controls}


def record_sweeps(sweeps: list[Sweep], *, name: str, commit: str, commands: list[str]) -> dict[str, Any]:
    """Return what the page needs to know of sweeps of several tasks: what became of the networks of each cell.

    A cell names its settings, and holds for each trial the outcome and, of the first separated level, the remaining
    weights, the active ones, and the lowest test accuracy of a task; None where the network did not separate.
    """
    cells, seconds = [], 0.0
    for sweep in sweeps:
        settings = dict(setting.split("=", 1) for setting in sweep.declaration()["settings"])
        for row in summarise_sweep(sweep):
            first = [next((at for at in trial if at.splitting.status == "separated"), None) for trial in row.splittings]
            lowest = [at and round(min(at.test_acc.values()), 6) for at in first]
            cells.append(
                {"settings": settings | row.cell.values, "weights": row.levels[0].left}
                | {"outcome": [outcome([at.splitting.status for at in trial]) for trial in row.splittings]}
                | {"separated_at": [at and at.left for at in first], "active": [at and at.active for at in first]}
                | {"lowest_test_acc": lowest}
            )
            seconds += row.seconds or 0
    first_run = sweeps[0].cells()[0].run
    return origin(first_run, name, commit, commands) | {"seconds": round(seconds), "cells": cells, "controls": {}}


def origin(run: Run, name: str, commit: str, commands: list[str]) -> dict[str, Any]:
    """Return where the figures of a run come from."""
    environment, settings = run.environment(), run.settings
    return {
        "name": name,
        "recipe": run.recipe_name,
        "commands": commands,
        "date": environment["started"][:10],
        "commit": commit,
        **machine(environment),
        "seconds": round(sum(environment["seconds_per_level"].values())),
        "settings": settings,
        "trials": settings["run"]["trials"],
        "steps": settings["train"]["steps"],
    }


def origin_here(name: str, commit: str, command: str) -> dict[str, Any]:
    """Return where the figures of a script come from that runs now."""
    environment = describe_environment(torch.device("cpu"), os.environ.get("LTHPRUNE_DATA"), None)
    started = f"{datetime.now(UTC):%Y-%m-%d}"
    return {"name": name, "commands": [command], "date": started, "commit": commit, **machine(environment)}


def machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions and the machine of an environment."""
    return {
        "versions": {"python": environment["python"], **environment["packages"]},
        "processor": processor() if environment["device"] == "cpu" else environment["device_name"],
        "cores": environment["cores"],
        "threads": environment["threads"],
    }


def levels(run: Run) -> list[dict[str, Any]]:
    """Return each finished level's density, and the measurements of its trials at early stopping."""
    histories = run.histories()
    measured = {name: histories.at_early_stop(name) for name in ("test_acc", "val_acc")}
    steps = histories.early_stop_steps()
    found: list[dict[str, Any]] = [
        {"density": round(float(histories.density[level]), 6)}
        | {name: [round(float(value), 6) for value in values[:, level]] for name, values in measured.items()}
        | {"early_stop": [int(step) for step in steps[:, level]]}
        for level in range(histories.finished)
    ]
    if run.control is None and len(run.recipe().data.parts) > 1:
        networks = [run.splittings(trial) for trial in range(run.recipe().run.trials)]
        for place, level in enumerate(found):
            level["split"] = [network[place].splitting.status for network in networks]
    return found


def processor() -> str:
    """Return the name of this machine's processor, as Linux gives it."""
    known = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.*)$", known.read_text() if known.exists() else "", re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def write(result: Mapping[str, Any]) -> None:
    """Write a result beside this file, under its name; lists of numbers are on one line."""
    text = re.sub(r"\[[^\[\]{}]*\]", lambda each: " ".join(each[0].split()), json.dumps(result, indent=1))
    write_atomically(Path(__file__).with_name(f"{result['name']}.json"), f"{text}\n".encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="the run directory, or the folders of sweeps, joined by commas")
    parser.add_argument("name", help="of the result")
    parser.add_argument("--commit", required=True, help="of lthprune, with which the run was made")
    parser.add_argument("--command", action="append", required=True, help="that made the run or its controls")
    parser.add_argument("--untrained", action="store_true", help="test the masked networks before training, too")
    given = parser.parse_args()
    words: dict[str, Any] = {"name": given.name, "commit": given.commit, "commands": given.command}
    sweeps = [Sweep(folder) for folder in given.run.split(",")]
    if sweeps[0].exists:
        result = record_sweeps(sweeps, **words)
    else:
        result = record(Run(given.run), **words, untrained=given.untrained)
    write(result)
