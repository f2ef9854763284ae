"""The tables of the page on reproductions, from the claims and the stored results."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from results.claims import CLAIMS, Claim
from results.measures import Figure, Result

FOLDER = Path(__file__).parent
CLAIMS_HEAD = ("claim", "source", "reported", "ours (95 % interval)", "trials, steps", "holds")
RESULTS_HEAD = ("result", "commands", "date", "time without controls", "lthprune", "versions", "processor")


def rows(folder: Path = FOLDER, claims: Sequence[Claim] = CLAIMS) -> Iterator[tuple[str, ...]]:
    """Yield a row for each claim, given the folder of the result files."""
    for claim in claims:
        path = folder / f"{claim.result}.json"
        result = Result.load(path) if path.is_file() else None
        figure = None if result is None or claim.measure is None else claim.measure(result)
        if result is None or figure is None:
            yield claim.text, claim.source, claim.reported, f"cost: {claim.cost}", "", "not run"
        else:
            made = f"[{result.stored['trials']}, {result.stored['steps']:,}](results/{path.name})"
            yield claim.text, claim.source, claim.reported, ours(claim, figure), made, verdict(claim, figure)


def verdict(claim: Claim, figure: Figure) -> str:
    """Return whether a claim holds by the interval of our figure."""
    mean, low, high, _ = figure.over_trials
    if claim.sense == "all":  # one trial that does not reach it refutes it
        return "yes" if mean >= claim.bound else "no"
    if np.isnan(low):
        return "one trial: no interval"
    if claim.sense == "equal":
        return "yes" if low <= claim.bound <= high else "no"
    if low >= claim.bound:
        return "yes"
    return "no" if high < claim.bound else "within the interval"


def ours(claim: Claim, figure: Figure) -> str:
    """Return our figure with its interval, and what it was read at."""
    mean, low, high, _ = figure.over_trials
    scale, form, unit = {
        "points": (100, "+.2f", "points"),
        "%": (100, ".2f", "%"),
        "times": (1, ".2f", "times"),
        "weights": (1, "+.1f", "weights"),
        "nats": (1, "+.2f", "nats"),
    }[claim.unit]
    interval = "" if np.isnan(low) else f" ({scale * low:{form}} to {scale * high:{form}})"
    return f"{scale * mean:{form}}{interval} {unit}, at {figure.at}"


def results(folder: Path = FOLDER) -> Iterator[tuple[str, ...]]:
    """Yield a row for each result file: where its figures come from."""
    for path in sorted(folder.glob("*.json")):
        stored = Result.load(path).stored
        controls = [
            f"{kind}-{number}: {len(levels)}"
            for kind, repetitions in stored["controls"].items()
            for number, levels in enumerate(repetitions)
        ]
        versions = stored["versions"]
        yield (
            f"[{stored['name']}](results/{path.name}), "
            + (f"cells: {len(stored['cells'])}" if "cells" in stored else f"levels: {len(stored['levels'])}")
            + (f"; of its controls: {', '.join(controls)}" if controls else ""),
            "; ".join(f"`{command}`" for command in stored["commands"]),
            stored["date"],
            f"{round(stored['seconds'] / 60)} min",
            stored["commit"][:7],
            ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "numba", "numpy")),
            f"{stored['processor']}, {stored['threads']} of {stored['cores']} cores",
        )
