"""Verbs about recipes: ``ls`` and ``show``."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from lthprune_cli.consoles import Console
from lthprune_cli.options import (
    DataDir,
    Device,
    Engine,
    Method,
    RecipeArgument,
    Seed,
    Settings,
    Threads,
    Trials,
    make_importable,
    with_options,
)

if TYPE_CHECKING:
    from lthprune.analysis import SeparationBounds
    from lthprune.experiments import Extension, LayerRow, Preview, Recipe, TimeEstimate
    from lthprune.pruning import Trajectory


def ls() -> None:
    """List the bundled recipes."""
    from lthprune.experiments import bundled

    table = Table(title="Bundled recipes", title_justify="left")
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it is")
    for name, text in bundled().items():
        table.add_row(name, text.splitlines()[0].removeprefix("# "))
    Console().print(table)


def show(
    recipe: RecipeArgument,
    method: Method = None,
    trials: Trials = None,
    seed: Seed = None,
    engine: Engine = None,
    settings: Settings = None,
    time: Annotated[
        bool, typer.Option("--time", help="Time a few steps and evaluations, and estimate how long a run takes here.")
    ] = False,
    data_dir: DataDir = None,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Show a recipe: its settings, layers, trajectory, and the remaining weights at every level.

    Nothing is trained, except a few steps with --time; --device and --threads are used only then.
    """
    from lthprune.experiments import load_recipe, preview_recipe

    make_importable(recipe)
    loaded = load_recipe(recipe, with_options(settings, method=method, trials=trials, seed=seed, engine=engine))
    preview = preview_recipe(loaded, data_dir=data_dir)
    estimate = _timed(preview, data_dir, device, threads) if time else None
    console = Console()
    console.print(_settings_table(recipe, loaded, preview.recipe))
    console.print(_layer_table(preview.layers))
    trajectory = preview.trajectory
    if loaded.prune.scope == "global":
        rate = f" Every level prunes {100 * trajectory.rate:.3g}% of those that remain." if trajectory else ""
        console.print(f"The scope is global: all prunable weights compete.{rate}\n")
    if trajectory:
        console.print(_trajectory_table(trajectory))
        if preview.extensions:
            console.print(_extension_table(preview.extensions))
    for table in _level_tables(preview.counts, console.width):
        console.print(table)
    if preview.bounds is not None:
        _print_bounds(preview.bounds)
    if estimate is not None:
        _print_estimate(estimate)


def _timed(preview: "Preview", data_dir: Path | None, device: str, threads: int | None) -> "TimeEstimate":
    """Estimate the time of a run, with a note on the terminal while it is measured."""
    from lthprune.experiments import estimate_time

    errors = Console(stderr=True)
    with errors.status("Timing a few steps and evaluations") if errors.is_terminal else nullcontext():
        return estimate_time(preview, data_dir=data_dir, device=device, threads=threads)


def _print_estimate(estimate: "TimeEstimate") -> None:
    """Print how long a run takes, and the timed steps and evaluations that the estimate is based on."""
    console = Console()
    table = Table(title="Time", title_justify="left")
    for column in ("level", "density", "engine", "a step", "an evaluation"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for timed in estimate.timed:
        costs = (_cost(timed.step), _cost(timed.evaluation))
        table.add_row(str(timed.level), f"{timed.density:.2%}", timed.engine, *costs)
    console.print(table)
    work = (
        f"{_number_of(estimate.levels, 'level')} of {_number_of(estimate.steps, 'step')} and "
        f"{_number_of(estimate.evaluations, 'evaluation')}, {_number_of(estimate.trials, 'trial')}"
    )
    console.print(f"A run takes about {duration(estimate.seconds)}: {work}.", style="bold")
    scaled = "One trial and a part of the samples were timed and scaled up. " if estimate.scaled else ""
    others = "Other levels are interpolated." if len(estimate.timed) > 1 else "Pruned levels are taken to be as slow."
    console.print(
        f"Basis: the times of all trials in the table, measured just now with {_number_of(estimate.threads, 'thread')}"
        f". {scaled}{others} Early stopping shortens a run; other programs on this machine lengthen it. Pruning and "
        "saving are not included.",
    )


def duration(seconds: float) -> str:
    """Return a duration with two digits, in the largest unit that it fills."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            number = seconds / size
            return f"{number:.1f} {unit}" if number < 9.95 else f"{number:,.0f} {unit}"
    return f"{max(1, seconds):.0f} seconds" if seconds >= 1.5 else "a second"


def _number_of(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _cost(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:,.1f} s"
    return f"{1000 * seconds:.2f} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"


def _settings_table(name: str, given: "Recipe", recipe: "Recipe") -> Table:
    """Return the settings as ``--set`` takes them; lengths in steps, and as they were given."""
    from lthprune.experiments import in_toml

    table = Table(title=f"{name}: settings", title_justify="left", show_header=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value")
    said = given.model_dump(mode="json", exclude_none=True)
    for section, values in recipe.model_dump(mode="json", exclude_none=True).items():
        for key, value in values.items():
            other = said[section].get(key, value)
            words = f"{in_toml(value)} # {in_toml(other)}" if other != value else in_toml(value)
            table.add_row(f"{section}.{key}", Text(words))
        table.add_section()
    return table


def _layer_table(rows: "Sequence[LayerRow]") -> Table:
    table = Table(title="Layers", title_justify="left", box=box.SIMPLE, padding=0, show_footer=True)
    table.add_column("layer", "all", overflow="fold")  # other libraries' names may be longer than a line
    table.add_column("kind", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    table.add_column("weights", f"{sum(row.weights for row in rows):,}", justify="right", no_wrap=True)
    table.add_column("biases", f"{sum(row.biases for row in rows):,}", justify="right", no_wrap=True)
    table.add_column("parameters", f"{sum(row.weights + row.biases for row in rows):,}", justify="right", no_wrap=True)
    rates = any(row.rate is not None for row in rows)
    if rates:
        table.add_column("rate", justify="right", no_wrap=True)
    for row in rows:
        shape = "x".join(map(str, row.shape))
        counts = (f"{row.weights:,}", f"{row.biases:,}", f"{row.weights + row.biases:,}")
        rate = "" if row.rate is None else f"{row.rate:.3g}"
        table.add_row(row.layer, row.kind, shape, *counts, *([rate] if rates else []))
    return table


def _trajectory_table(trajectory: "Trajectory") -> Table:
    table = Table(title="Trajectory", title_justify="left")
    for column in ("weights", "levels", "rate", "target"):
        table.add_column(column, justify="right")
    rate = f"{trajectory.rate:.3g}"
    table.add_row(f"{trajectory.weights:,}", str(trajectory.levels), rate, f"{trajectory.target:,}")
    return table


def _extension_table(rows: "Sequence[Extension]") -> Table:
    """Return the larger networks that lead to the recipe's own; ``model.hidden`` and ``prune.levels`` set one."""
    table = Table(title="Extensions of the network", title_justify="left")
    for column in ("times", "hidden", "weights", "levels"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(str(row.times), f"{row.hidden:,}", f"{row.weights:,}", str(row.levels))
    return table


def _print_bounds(bounds: "SeparationBounds") -> None:
    """Print with how many weights the network can consist of a separate network for each task."""
    table = Table(title="Active weights of a separated network", title_justify="left")
    for column in ("at most", "with equal shares of hidden units", "at least"):
        table.add_column(column, justify="right")
    table.add_row(f"{bounds.most:,}", f"{bounds.equal:,}", f"{bounds.fewest:,}")
    console = Console()
    console.print(table)
    console.print(
        f"{bounds.weights - bounds.most:,} of {bounds.weights:,} weights or more must be pruned or inactive before the "
        "network can be separated into its tasks. It never has to be: an interconnected network needs only "
        f"{bounds.fewest_interconnected:,} weights.",
    )


def _level_tables(left: Mapping[str, Sequence[int]], width: int) -> list[Table]:
    """Return the remaining weights per level, in as many tables as the width of the console needs."""
    per_table = max(1, (width - 34) // 12)
    names = list(left) if len(left) > 1 else []
    totals = [sum(counts) for counts in zip(*left.values(), strict=True)]
    tables = []
    for start in range(0, max(1, len(names)), per_table):
        shown = names[start : start + per_table]
        table = Table(title="Remaining weights per level", title_justify="left")
        for column in ("level", "density", "all", *shown):
            table.add_column(column, justify="right", overflow="fold")
        for level, total in enumerate(totals):
            own = [f"{left[name][level]:,}" for name in shown]
            table.add_row(str(level), f"{total / totals[0]:.2%}", f"{total:,}", *own)
        tables.append(table)
    return tables
