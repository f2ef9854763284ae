"""Verbs that train: ``run``, ``resume`` and ``transfer``."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lthprune_cli.clusters import Address, OnCluster, check_cluster, connected, words_again
from lthprune_cli.consoles import Console
from lthprune_cli.options import (
    RUNS,
    DataDir,
    Device,
    Engine,
    EngineOrRay,
    Method,
    RecipeArgument,
    RunArgument,
    RunDevice,
    RunOrSweepArgument,
    Seed,
    Settings,
    Threads,
    TrialsOrSome,
    TrustCode,
    make_importable,
    read_trials,
    with_options,
)

if TYPE_CHECKING:
    from lthprune.experiments import Recipe, Run, Watcher


def run(
    recipe: RecipeArgument,
    method: Method = None,
    trials: TrialsOrSome = None,
    seed: Seed = None,
    engine: EngineOrRay = None,
    address: Address = None,
    settings: Settings = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder for the run's directory.")] = RUNS,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Run a recipe: train, prune and rewind, level by level. Everything is saved in a run directory."""
    from lthprune.experiments import load_recipe, preview_recipe, run_recipe, run_recipe_on

    on_cluster, (number, some) = check_cluster(engine, address, also=True), read_trials(trials)
    engine = None if on_cluster else engine
    make_importable(recipe)
    loaded = load_recipe(recipe, with_options(settings, method=method, trials=number, seed=seed, engine=engine))
    preview = preview_recipe(loaded, data_dir=data_dir)
    if preview.recipe.pretrain is not None:
        before = preview.recipe.pretrain
        length = f"{before.steps:,} steps" if isinstance(before.steps, int) else before.steps
        Console().print(f"Pretraining on {before.data.name} ({length}) comes first.")
    words: dict[str, Any] = {"data_dir": data_dir, "out": out, "device": device, "threads": threads, "trials": some}

    def go(watcher: "Watcher") -> "Run":
        if not on_cluster:
            return run_recipe(preview, _name(recipe), watcher=watcher, **words)
        with connected(address) as cluster:
            return run_recipe_on(cluster, preview, _name(recipe), watcher=watcher, **words)

    _watched(preview.recipe, 0, some, go, words_again(address) if on_cluster else "")


def resume(
    run: RunOrSweepArgument,
    data_dir: DataDir = None,
    device: RunDevice = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The number of threads to compute with. Without it what the run or sweep was begun with."
        ),
    ] = None,
    engine: OnCluster = None,
    address: Address = None,
    from_level: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Train level N and those after it again, if their files are damaged, for instance."
        ),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Resume an interrupted run, sweep, control or transfer after its last finished level."""
    from lthprune.errors import LthpruneError, RecipeError
    from lthprune.experiments import Run, Sweep, resume_run, resume_run_on, resume_transfer, run_control
    from lthprune_cli.sweeping import run_watched

    on_cluster = check_cluster(engine, address)
    words: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}
    if Sweep(run).exists:
        if from_level is not None:
            raise RecipeError(f"--from-level: {run} is a sweep. Resume one of the runs in it from that level.")
        run_watched(Sweep(run, trust_code=trust_code), on_cluster, address, **words)
        return
    begun = Run(run, trust_code=trust_code)
    finished = begun.tickets.finished if from_level is None else min(from_level, begun.tickets.finished)
    if on_cluster:
        if begun.control is not None or begun.transfer is not None:
            raise LthpruneError(
                f"{run} is a control or a transfer. Resume it without --engine ray, or controls with: lthprune control "
                f"{quote(str(run.resolve().parents[1]))} --kind KIND --engine ray"
            )

        def spread(watcher: "Watcher") -> "Run":
            with connected(address) as cluster:
                return resume_run_on(cluster, begun, watcher=watcher, from_level=from_level, **words)

        _watched(begun.recipe(), finished, begun.trials, spread, words_again(address))
        return
    if begun.control is not None:
        go = partial(run_control, Run(run.resolve().parents[1], trust_code=trust_code), **begun.control)
    elif begun.transfer is not None:
        go = partial(resume_transfer, begun)
    else:
        go = partial(resume_run, begun)
    go = partial(go, from_level=from_level, **words)
    _watched(begun.recipe(), finished, begun.trials, lambda watcher: go(watcher=watcher))


def transfer(
    run: RunArgument,
    recipe: RecipeArgument,
    engine: Engine = None,
    settings: Settings = None,
    data_dir: DataDir = None,
    device: RunDevice = None,
    threads: Threads = None,
    trust_code: TrustCode = False,
) -> None:
    """Train the tickets of a run by another recipe with the same layers, as for other data.

    Trials, seeds and pruning are those of the run, in whose directory the new run is kept.
    """
    from lthprune.errors import RecipeError
    from lthprune.experiments import Run, load_recipe, preview_recipe, recipe_of_transfer, transfer_run

    taken = [each for each in settings or [] if re.match(r"\s*(prune|run\s*\.\s*(seed|trials))\b", each)]
    if taken:
        raise RecipeError(
            f"--set {taken[0]}: trials, seeds and pruning of a transfer are those of the run whose tickets it trains. "
            "Leave the setting out."
        )
    make_importable(recipe)
    source = Run(run, trust_code=trust_code)
    loaded = load_recipe(recipe, with_options(settings, engine=engine))
    adopted = recipe_of_transfer(source, loaded, data_dir=data_dir)
    preview = preview_recipe(adopted, data_dir=data_dir or source.data_dir, trust_code=trust_code)
    go = partial(transfer_run, source, preview.recipe, _name(recipe))
    _watched(
        preview.recipe,
        0,
        source.trials,
        lambda watcher: go(data_dir=data_dir, device=device, threads=threads, watcher=watcher),
    )


def _name(recipe: str) -> str:
    return Path(recipe).stem if recipe.endswith(".toml") else recipe


def _watched(
    recipe: "Recipe", finished: int, trials: Sequence[int] | None, go: "Callable[[Watcher], Run]", again: str = ""
) -> None:
    """Run with progress shown, then print the summary; after an interruption how to resume, with ``again``.

    Raises:
        LthpruneError: the training of every trial has diverged.
    """
    from lthprune.errors import LthpruneError
    from lthprune.search import ALL_DIVERGED, LOWER_RATE
    from lthprune_cli.progress import RunProgress
    from lthprune_cli.results import print_summary

    progress = RunProgress(recipe, finished, trials)
    try:
        with progress:
            done = go(progress.watcher())
    except KeyboardInterrupt:
        console = Console(stderr=True)
        if progress.run is None:
            console.print("Stopped before anything was written.")
        else:
            console.print("Stopped. Finished levels are saved; resume with:")
            console.print(f"  {progress.run.resume_command}{again}", soft_wrap=True)
        raise typer.Exit(130) from None
    print_summary(done)
    console = Console()
    console.print(f"Run directory: {done.folder}", soft_wrap=True)
    if done.tickets.ended == ALL_DIVERGED:
        rate = done.settings["train"]["lr"]
        raise LthpruneError(
            f"{ALL_DIVERGED}, so the run ended. {LOWER_RATE} It was {rate:g}: start a new run, "
            f"as with --set train.lr={rate / 10:g}"
        )
    console.print(f"Its plots:     lthprune plot {quote(str(done.folder))}", soft_wrap=True)
