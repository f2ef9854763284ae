"""The verb ``merge``: pieces of a run, each with some of its trials, as one run."""

from pathlib import Path
from typing import Annotated

import typer

from lthprune_cli.consoles import Console
from lthprune_cli.options import TrustCode


def merge(
    pieces: Annotated[
        list[Path], typer.Argument(metavar="PIECE", help="The run directories that lthprune run --trials A..B made.")
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="The new run directory.")],
    trust_code: TrustCode = False,
) -> None:
    """Merge pieces of a run, each with some of its trials, into one run, as if it had trained all of them.

    The pieces must be finished, of one recipe, settings and data, and have each trial once. They stay as they are.
    """
    from lthprune.experiments import Run, merge_runs
    from lthprune_cli.results import print_summary

    done = merge_runs([Run(piece, trust_code=trust_code) for piece in pieces], out)
    print_summary(done)
    Console().print(f"Run directory: {done.folder}", soft_wrap=True)
