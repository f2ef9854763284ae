"""Options and arguments that several verbs take."""

import sys
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

TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Import the functions of your own that the recipe on disk names."),
]


def make_importable(recipe: str) -> None:
    """Let Python find modules beside a recipe file: whoever names the file has chosen the code that it names."""
    folder = str(Path(recipe).expanduser().resolve().parent)
    if recipe.endswith(".toml") and folder not in sys.path:
        sys.path.append(folder)
