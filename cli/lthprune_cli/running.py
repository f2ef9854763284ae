"""Verbs that train: ``run`` and ``resume``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lthprune_cli.options import DataDir, Settings, TrustCode, make_importable

if TYPE_CHECKING:
    from lthprune.experiments import Recipe, Run, Watcher


def run(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe's name, or the path of a .toml file.")],
    method: Annotated[str | None, typer.Option(help="imp (iterative) or osp (one-shot).")] = None,
    trials: Annotated[int | None, typer.Option(help="How many seeds.")] = None,
    seed: Annotated[int | None, typer.Option(help="The root seed.")] = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="The folder that run directories are made in.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    engine: Annotated[str | None, typer.Option(help="auto, reference, stacked, sparse, unhooked.")] = None,
    settings: Settings = None,
) -> None:
    """Run a recipe: train, prune and rewind, level by level; kept in a run directory."""
    from lthprune.experiments import load_recipe, preview_recipe, run_recipe

    options = {"prune.method": method, "run.trials": trials, "run.seed": seed, "train.engine": engine}
    overrides = [*(settings or []), *(f"{key}={value}" for key, value in options.items() if value is not None)]
    make_importable(recipe)
    preview = preview_recipe(load_recipe(recipe, overrides), data_dir=data_dir)
    name = Path(recipe).stem if recipe.endswith(".toml") else recipe
    _watched(
        preview.recipe,
        0,
        lambda watcher: run_recipe(preview, name, data_dir=data_dir, out=out, device=device, watcher=watcher),
    )


def resume(
    run: Annotated[Path, typer.Argument(help="A run directory, or the folder of a sweep.")],
    data_dir: DataDir = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; else the run's own.")] = None,
    trust_code: TrustCode = False,
) -> None:
    """Go on with a run or a sweep that was broken off, after its last finished level."""
    from lthprune.experiments import Run, Sweep, resume_run
    from lthprune_cli.sweeping import run_watched

    if Sweep(run).exists:
        run_watched(Sweep(run, trust_code=trust_code), data_dir=data_dir, device=device)
        return
    begun = Run(run, trust_code=trust_code)
    finished = begun.tickets.finished
    _watched(
        begun.recipe(), finished, lambda watcher: resume_run(begun, data_dir=data_dir, device=device, watcher=watcher)
    )


def _watched(recipe: "Recipe", finished: int, go: "Callable[[Watcher], Run]") -> None:
    """Run with progress shown, then print the summary; an interruption says how to go on."""
    from lthprune_cli.progress import RunProgress
    from lthprune_cli.results import print_summary

    progress = RunProgress(recipe, finished)
    try:
        with progress:
            done = go(progress.watcher())
    except KeyboardInterrupt:
        console = Console(stderr=True)
        if progress.run is None:
            console.print("Stopped before anything was written.")
        else:
            console.print("Stopped. Finished levels are kept; go on with:")
            console.print(f"  lthprune resume {progress.run.folder}", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    print_summary(done)
    console = Console()
    console.print(f"Run directory: {done.folder}", highlight=False, soft_wrap=True)
    console.print(f"Its plots:     lthprune plot {done.folder}", highlight=False, soft_wrap=True)
