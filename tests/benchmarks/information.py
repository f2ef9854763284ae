"""Estimates of mutual information on Gaussians, whose truth is known: python tests/benchmarks/information.py

Two variables of 10 or 20 features are correlated feature by feature, so their mutual information is
``-features / 2 * log(1 - correlation ** 2)``. Beside MINE, with the precise settings or those of the paper
(``--published``), are nearest neighbours among 2,000 and 5,000 of the samples.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune.analysis import PRECISE, Mine, mine, neighbour_information
from tests.analysis.test_mine import gaussians, generator, truth
from tests.benchmarks.machine import Machine, add_busy


def main() -> None:
    """Estimate, and print a table."""
    parser = argparse.ArgumentParser(description="Estimates of mutual information on Gaussians.")
    parser.add_argument("--published", action="store_true", help="the settings of the paper")
    parser.add_argument("--epochs", type=int, help="other epochs than those of the settings")
    parser.add_argument("--samples", type=int, default=55_000, help="of each pair, a tenth of them held out")
    parser.add_argument("--features", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--correlations", type=float, nargs="+", default=[0.3, 0.5, 0.7])
    add_busy(parser)
    given = parser.parse_args()
    machine = Machine(busy=given.busy)
    settings = Mine() if given.published else PRECISE
    settings = settings if given.epochs is None else replace(settings, epochs=given.epochs)
    cases = [(features, correlation) for features in given.features for correlation in given.correlations]
    pairs = [gaussians(*case, given.samples, seed) for seed, case in enumerate(cases)]
    begun = time.process_time()
    found = mine(pairs, settings, generators=[generator(50 + place) for place in range(len(cases))])
    seconds = time.process_time() - begun
    table = Table()
    for column in (
        "features",
        "correlation",
        "truth",
        "MINE",
        "of the truth",
        "trained on",
        "2,000 near",
        "5,000 near",
    ):
        table.add_column(column, justify="right")
    for case, pair, own in zip(cases, pairs, found, strict=True):
        near = (neighbour_information(*(each[:size] for each in pair)) for size in (2000, 5000))
        numbers = (truth(*case), own.held_out, own.held_out / truth(*case), own.trained, *near)
        table.add_row(f"{case[0]}", f"{case[1]}", *(f"{number:.3f}" for number in numbers))
    console = Console()
    console.print(table)
    console.print(f"{settings}\n{settings.steps(given.samples):,} steps, {seconds:,.0f} s of one core for all pairs")
    console.print(machine.describe())


if __name__ == "__main__":
    main()
