"""Estimates mutual information of Gaussians, whose truth is known, and writes docs/results/gaussians-mine.json.

PYTHONPATH=docs python -m results.gaussians --commit COMMIT

Two variables of 10 or 20 features are correlated feature by feature, so their mutual information is
``-features / 2 * log(1 - correlation ** 2)``. Every trial draws samples of its own.
"""

import argparse
import json
import math
import os
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lthprune.analysis import PRECISE, mine, neighbour_information
from lthprune.experiments.environment import describe_environment
from lthprune.files import write_atomically
from results.record import processor

NAME = "gaussians-mine"
CASES = [(features, correlation) for features in (10, 20) for correlation in (0.3, 0.5, 0.7)]
NEAR = 2000  # samples that nearest neighbours are searched among


def record(commit: str, trials: int, samples: int) -> dict[str, Any]:
    """Estimate, and return what the page needs to know."""
    environment = describe_environment(torch.device("cpu"), os.environ.get("LTHPRUNE_DATA"), None)
    began = time.perf_counter()
    found = [_estimates(samples, 1000 + trial) for trial in range(trials)]
    return {
        "name": NAME,
        "commands": [f"python -m results.gaussians --commit {commit[:7]} --trials {trials} --samples {samples}"],
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit,
        "versions": {"python": environment["python"], **environment["packages"]},
        "processor": processor(),
        "cores": environment["cores"],
        "threads": environment["threads"],
        "seconds": round(time.perf_counter() - began),
        "settings": {"mine": asdict(PRECISE), "samples": samples, "neighbour_samples": NEAR},
        "trials": trials,
        "steps": PRECISE.steps(samples),
        "controls": {},
        "cells": [
            {
                "features": features,
                "correlation": correlation,
                "truth": round(-features / 2 * math.log(1 - correlation**2), 6),
                **{name: [round(own[place][name], 6) for own in found] for name in found[0][place]},
            }
            for place, (features, correlation) in enumerate(CASES)
        ],
    }


def _estimates(samples: int, seed: int) -> list[dict[str, float]]:
    """Return the estimates of every case on samples of one seed, in nats."""
    generators = [torch.Generator().manual_seed(1000 * seed + place) for place in range(len(CASES))]
    pairs = []
    for (features, correlation), own in zip(CASES, generators, strict=True):
        x, noise = torch.randn(2, samples, features, generator=own)
        pairs.append((x, correlation * x + math.sqrt(1 - correlation**2) * noise))
    bounds = mine(pairs, PRECISE, generators=generators)
    near = [neighbour_information(x[:NEAR], y[:NEAR]) for x, y in pairs]
    return [
        {"mine": own.held_out, "mine_trained": own.trained, "neighbours": estimate}
        for own, estimate in zip(bounds, near, strict=True)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commit", required=True, help="of lthprune")
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--samples", type=int, default=55_000, help="of each pair, a tenth of them held out")
    given = parser.parse_args()
    text = json.dumps(record(given.commit, given.trials, given.samples), indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda each: " ".join(each[0].split()), text)
    write_atomically(Path(__file__).with_name(f"{NAME}.json"), f"{text}\n".encode())
