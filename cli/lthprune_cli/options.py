"""Options and arguments that several verbs take."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

RUNS = Path("runs")  # the default folder of runs
SWEEPS = Path("sweeps")  # the default folder of sweeps
LATEST = "latest"


def _folder(name: str) -> Path:
    """Return the folder that an argument names; ``latest`` is the newest run in ``runs``."""
    path = Path(name)
    if name != LATEST or path.exists():
        return path
    from lthprune.errors import StorageError
    from lthprune.experiments import find_runs

    found = find_runs(RUNS) if RUNS.is_dir() else []
    if not found:
        raise StorageError(
            f"there is no run in {RUNS}, so {LATEST!r} names none. Name a run directory, or start a run: "
            "lthprune run lenet-digits"
        )
    return found[-1].folder


_ONE = f"A run directory, or {LATEST}: the newest in {RUNS}."

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help=_ONE, parser=_folder)]
RunsArgument = Annotated[
    list[Path], typer.Argument(metavar="RUN", help=f"One or more run directories, or {LATEST}.", parser=_folder)
]
RunOrSweepArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help=f"{_ONE} The folder of a sweep works too.", parser=_folder)
]
RunsOrSweepsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN", help=f"One or more run directories or folders of sweeps, or {LATEST}.", parser=_folder
    ),
]

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="The name of a bundled recipe, or the path of a .toml file.")
]
Method = Annotated[
    str | None,
    typer.Option(metavar="imp|osp", help="Iterative or one-shot pruning. Short for --set prune.method=METHOD"),
]
Trials = Annotated[
    int | None, typer.Option(metavar="N", help="Number of trials, one seed each. Short for --set run.trials=N")
]
TrialsOrSome = Annotated[
    str | None,
    typer.Option(
        metavar="N|A..B",
        help="Number of trials, one seed each: short for --set run.trials=N. Or the numbers of some trials of the "
        "recipe, as in 2..3: the run is then a piece; see lthprune merge.",
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Root seed. Short for --set run.seed=N")]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The engine: auto, reference, compiled, stacked or unhooked. Short for --set train.engine=NAME",
    ),
]
EngineOrRay = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The engine: auto, reference, compiled, stacked or unhooked. Short for --set train.engine=NAME. Or ray, "
        "which trains on a Ray cluster, each trial by the engine of the recipe.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Replace a setting, as in train.lr=3e-4. Repeatable."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The data root: the folder that data sets are read from and downloaded to. Without it LTHPRUNE_DATA, "
        "else ~/.cache/lthprune.",
    ),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Import your own functions that the stored recipe names.")
]
RunDevice = Annotated[
    str | None, typer.Option(metavar="cpu|cuda", help="The device to train on. Without it that of the run.")
]
Device = Annotated[str, typer.Option(metavar="cpu|cuda", help="The device to train on.")]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="The number of threads to compute with, at most one per core. Without it PyTorch's choice. 1 is the best "
        "choice while other programs use the cores.",
    ),
]


def with_options(
    settings: Sequence[str] | None,
    *,
    method: str | None = None,
    trials: int | None = None,
    seed: int | None = None,
    engine: str | None = None,
) -> list[str]:
    """Return the settings of ``--set`` followed by those of the other options."""
    options = {"prune.method": method, "run.trials": trials, "run.seed": seed, "train.engine": engine}
    return [*(settings or []), *(f"{key}={value}" for key, value in options.items() if value is not None)]


def read_trials(text: str | None) -> tuple[int | None, range | None]:
    """Return the number of trials, and the numbers of those to run; None for what the option does not say.

    Raises:
        RecipeError: the text is neither ``N`` nor ``A..B``.

    Examples:
        >>> read_trials("5"), read_trials("2..3")
        ((5, None), (None, range(2, 4)))
    """
    from lthprune.errors import RecipeError

    if text is None:
        return None, None
    words = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
    if words is None or (words[2] is not None and int(words[1]) > int(words[2])):
        raise RecipeError(
            f"--trials {text}: give the number of trials, as in --trials 5, or the first and the last of those to run, "
            "as in --trials 2..3."
        )
    if words[2] is None:
        return int(words[1]), None
    return None, range(int(words[1]), int(words[2]) + 1)


def make_importable(recipe: str) -> None:
    """Let Python find modules beside a recipe file: the person who names the file has chosen the code that it names."""
    if not recipe.endswith(".toml"):
        return
    from lthprune.reading import expanded

    folder = expanded(recipe).resolve().parent
    if (folder / "manifest.json").exists():  # a run directory, perhaps somebody else's
        return
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
