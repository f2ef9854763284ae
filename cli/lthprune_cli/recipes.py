"""Verbs about recipes: ``ls`` and ``show``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from lthprune_cli.options import Settings, make_importable

if TYPE_CHECKING:
    from lthprune.experiments import Extension, LayerRow, Recipe
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
    recipe: Annotated[str, typer.Argument(help="A bundled recipe's name, or the path of a .toml file.")],
    settings: Settings = None,
) -> None:
    """Show a recipe: its settings, layers, trajectory, and what every level leaves. Nothing is run."""
    from lthprune.experiments import load_recipe, preview_recipe

    make_importable(recipe)
    preview = preview_recipe(load_recipe(recipe, settings or []))
    console = Console()
    console.print(_settings_table(recipe, preview.recipe))
    console.print(_layer_table(preview.layers))
    if preview.trajectory:
        console.print(_trajectory_table(preview.trajectory))
        if preview.extensions:
            console.print(_extension_table(preview.extensions))
    for table in _level_tables(preview.counts, console.width):
        console.print(table)


def _settings_table(name: str, recipe: "Recipe") -> Table:
    table = Table(title=f"{name}: settings", title_justify="left", show_header=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value")
    for section, values in recipe.model_dump(mode="json", exclude_none=True).items():
        for key, value in values.items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            table.add_row(f"{section}.{key}", str(shown))
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
    table.add_column("rate", justify="right", no_wrap=True)
    for row in rows:
        shape = "x".join(map(str, row.shape))
        counts = (f"{row.weights:,}", f"{row.biases:,}", f"{row.weights + row.biases:,}")
        table.add_row(row.layer, row.kind, shape, *counts, "" if row.rate is None else f"{row.rate:.3g}")
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


def _level_tables(left: Mapping[str, Sequence[int]], width: int) -> list[Table]:
    """Return the counts left per level, in as many tables as the console's width asks for."""
    per_table = max(1, (width - 34) // 12)
    names = list(left) if len(left) > 1 else []
    totals = [sum(counts) for counts in zip(*left.values(), strict=True)]
    tables = []
    for start in range(0, max(1, len(names)), per_table):
        shown = names[start : start + per_table]
        table = Table(title="Prunable weights left per level", title_justify="left")
        for column in ("level", "density", "all", *shown):
            table.add_column(column, justify="right", overflow="fold")
        for level, total in enumerate(totals):
            own = [f"{left[name][level]:,}" for name in shown]
            table.add_row(str(level), f"{total / totals[0]:.2%}", f"{total:,}", *own)
        tables.append(table)
    return tables
