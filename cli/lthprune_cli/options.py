"""Options and arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Replace a setting, as in train.lr=3e-4. Repeatable."),
]

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="The data root: where data sets are, or are downloaded to. Else LTHPRUNE_DATA, else ~/.cache/lthprune."
    ),
]

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
