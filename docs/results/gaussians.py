"""Estimates the mutual information of Gaussians, whose truth is known, and prints a table.

PYTHONPATH=docs python -m results.gaussians --trials 2 --commit COMMIT

Two variables of 10 or 20 features are correlated feature by feature, so their mutual information is
``-features / 2 * log(1 - correlation ** 2)``. Every trial draws samples of its own. With ``--commit``, each finished
trial is written to docs/results/gaussians-mine.json, for the page on reproductions.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import torch

from lthprune.analysis import PRECISE, Mine, mine, neighbour_information
from results.record import origin_here, write

NAME = "gaussians-mine"
_ROW = "{:>8} {:>11} {:>5} {:>5} {:>10} {:>5} {:>10} {:>10}"

Estimates = dict[str, float]


class Case(NamedTuple):
    """Two Gaussian variables, and what their mutual information is estimated with."""

    features: int
    correlation: float
    samples: int = 55_000  # a tenth of them held out
    settings: Mine = PRECISE

    @property
    def truth(self) -> float:
        """The mutual information in nats."""
        return -self.features / 2 * math.log(1 - self.correlation**2)


CASES = (
    *(Case(features, correlation) for features, correlation in ((10, 0.3), (10, 0.5), (10, 0.7), (20, 0.3), (20, 0.5))),
    Case(
        20, 0.7, 440_000, replace(PRECISE, units=256, epochs=6, decay_steps=3600)
    ),  # so strong a one needs more of all
)


def estimate(case: Case, trial: int) -> Estimates:
    """Return estimates in nats: by MINE, and by nearest neighbours among 2,000 and 5,000 samples."""
    generator = torch.Generator().manual_seed(1000 * trial + CASES.index(case))
    x, noise = torch.randn(2, case.samples, case.features, generator=generator)
    y = case.correlation * x + math.sqrt(1 - case.correlation**2) * noise
    (bounds,) = mine([(x, y)], case.settings, generators=[generator])
    near, more = (neighbour_information(x[:size], y[:size]) for size in (2000, 5000))
    return {"mine": bounds.held_out, "mine_trained": bounds.trained, "neighbours": near, "more_neighbours": more}


def record(trials: Sequence[Sequence[Estimates]], seconds: float, commit: str) -> dict[str, Any]:
    """Return what the page needs to know."""
    return {
        **origin_here(NAME, commit, f"python -m results.gaussians --commit {commit[:7]} --trials {len(trials)}"),
        "seconds": round(seconds),
        "settings": {"mine": asdict(PRECISE)},
        "trials": len(trials),
        "steps": max(case.settings.steps(case.samples) for case in CASES),
        "controls": {},
        "cells": [
            {"features": case.features, "correlation": case.correlation, "truth": round(case.truth, 6)}
            | {"samples": case.samples, "units": case.settings.units, "epochs": case.settings.epochs}
            | {name: [round(own[place][name], 6) for own in trials] for name in trials[0][place]}
            for place, case in enumerate(CASES)
        ],
    }


def main() -> None:
    """Estimate, print a table, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--commit", help="of lthprune; writes the result")
    given = parser.parse_args()
    found: list[list[Estimates]] = []
    began = time.process_time()
    print("In nats: truth, MINE, trained on. Fractions of the truth: the others.")
    print(_ROW.format("features", "correlation", "truth", "MINE", "trained on", "MINE", "2,000 near", "5,000 near"))
    for trial in range(given.trials):
        found.append([])
        for case in CASES:
            own = estimate(case, trial)
            found[-1].append(own)
            fractions = [own[name] / case.truth for name in ("mine", "neighbours", "more_neighbours")]
            numbers = (case.truth, own["mine"], own["mine_trained"], *fractions)
            row = _ROW.format(case.features, case.correlation, *(f"{number:.2f}" for number in numbers))
            print(row, flush=True)
        seconds = time.process_time() - began
        print(f"trial {trial}: {seconds:.0f} s of a core since the beginning", flush=True)
        if given.commit:
            write(record(found, seconds, given.commit))


if __name__ == "__main__":
    main()
