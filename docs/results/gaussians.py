"""Estimates the mutual information of Gaussians, whose truth is known, and prints a table.

PYTHONPATH=docs python -m results.gaussians --trials 2 --commit COMMIT

Two variables of 10 or 20 features are correlated feature by feature, so their mutual information is
``-features / 2 * log(1 - correlation ** 2)``. Every trial draws samples of its own. With ``--commit``, each finished
trial is written to docs/results/gaussians-mine.json, for the page on reproductions.
"""

import argparse
import json
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lthprune.analysis import PRECISE, Mine, mine, neighbour_information
from lthprune.experiments.environment import describe_environment
from lthprune.files import write_atomically
from results.record import processor

NAME = "gaussians-mine"
SAMPLES = 55_000  # of each case, a tenth of them held out
CASES = tuple((features, correlation) for features in (10, 20) for correlation in (0.3, 0.5, 0.7))
_ROW = "{:>8} {:>11} {:>5} {:>5} {:>10} {:>5} {:>10} {:>10}"

Case = tuple[int, float]  # features and correlation
Estimates = dict[str, float]


def truth(features: int, correlation: float) -> float:
    """Return the mutual information of a case, in nats."""
    return -features / 2 * math.log(1 - correlation**2)


def estimates(settings: Mine, trial: int, cases: Sequence[Case] = CASES, samples: int = SAMPLES) -> list[Estimates]:
    """Return the estimates of every case in nats: by MINE, and by nearest neighbours among 2,000 and 5,000 samples."""
    generators = [torch.Generator().manual_seed(1000 * trial + CASES.index(case)) for case in cases]
    pairs = []
    for (features, correlation), own in zip(cases, generators, strict=True):
        x, noise = torch.randn(2, samples, features, generator=own)
        pairs.append((x, correlation * x + math.sqrt(1 - correlation**2) * noise))
    found = []
    for (x, y), bounds in zip(pairs, mine(pairs, settings, generators=generators), strict=True):
        near, more = (neighbour_information(x[:size], y[:size]) for size in (2000, 5000))
        found.append(
            {"mine": bounds.held_out, "mine_trained": bounds.trained, "neighbours": near, "more_neighbours": more}
        )
    return found


def record(trials: Sequence[Sequence[Estimates]], seconds: float, commit: str) -> dict[str, Any]:
    """Return what the page needs to know."""
    environment = describe_environment(torch.device("cpu"), os.environ.get("LTHPRUNE_DATA"), None)
    return {
        "name": NAME,
        "commands": [f"python -m results.gaussians --commit {commit[:7]} --trials {len(trials)}"],
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit,
        "versions": {"python": environment["python"], **environment["packages"]},
        "processor": processor(),
        "cores": environment["cores"],
        "threads": environment["threads"],
        "seconds": round(seconds),
        "settings": {"mine": asdict(PRECISE), "samples": SAMPLES},
        "trials": len(trials),
        "steps": PRECISE.steps(SAMPLES),
        "controls": {},
        "cells": [
            {"features": case[0], "correlation": case[1], "truth": round(truth(*case), 6)}
            | {name: [round(own[place][name], 6) for own in trials] for name in trials[0][place]}
            for place, case in enumerate(CASES)
        ],
    }


def main() -> None:
    """Estimate, print a table, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--commit", help="of lthprune; writes the result")
    parser.add_argument("--published", type=int, metavar="EPOCHS", help="Mine() for so many epochs, on 10 features")
    given = parser.parse_args()
    settings, cases = (PRECISE, CASES) if given.published is None else (Mine(epochs=given.published), CASES[:3])
    found, began = [], time.process_time()
    print(f"{settings.steps(SAMPLES):,} steps. In nats: truth, MINE, trained on. Fractions of the truth: the others.")
    print(_ROW.format("features", "correlation", "truth", "MINE", "trained on", "MINE", "2,000 near", "5,000 near"))
    for trial in range(given.trials):
        found.append(estimates(settings, trial, cases))
        for case, own in zip(cases, found[-1], strict=True):
            fractions = [own[name] / truth(*case) for name in ("mine", "neighbours", "more_neighbours")]
            numbers = (truth(*case), own["mine"], own["mine_trained"], *fractions)
            print(_ROW.format(*case, *(f"{number:.2f}" for number in numbers)))
        seconds = time.process_time() - began
        print(f"trial {trial}: {seconds:.0f} s of a core since the beginning", flush=True)
        if given.commit and given.published is None:
            text = json.dumps(record(found, seconds, given.commit), indent=1)
            text = re.sub(r"\[[^\[\]{}]*\]", lambda each: " ".join(each[0].split()), text)
            write_atomically(Path(__file__).with_name(f"{NAME}.json"), f"{text}\n".encode())


if __name__ == "__main__":
    main()
