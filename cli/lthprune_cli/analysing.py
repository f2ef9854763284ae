"""The verb ``analyze``: the states of a run's neurons and parameters."""

import json
from collections.abc import Iterable, Iterator, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from lthprune_cli.options import RunsArgument, TrustCode

if TYPE_CHECKING:
    from lthprune.analysis import NeuronState
    from lthprune.experiments import LevelSplitting, LevelStructure, Structure

_MOST_COMPONENTS = 10  # rows of a table


def analyze(
    runs: RunsArgument,
    level: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Show this level alone, layer by layer.")
    ] = None,
    trial: Annotated[int, typer.Option(min=0, metavar="N", help="The trial to analyze.")] = 0,
    functional: Annotated[
        bool,
        typer.Option("--functional/--structural", help="Take biases and activations into account, or the masks alone."),
    ] = False,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write everything as JSON. With - print only that."),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Show the states of the neurons and parameters of one trial at every level, or at one of them."""
    from lthprune.errors import LthpruneError
    from lthprune.experiments import Run

    if json_file is not None and len(runs) > 1:
        raise LthpruneError(f"--json writes one run, and {len(runs)} are named. Analyze them one after the other.")
    for folder in runs:
        if level is None:
            structure = Run(folder, trust_code=trust_code).structure(trial, functional=functional)
            described, shown = structure.describe(), _over_levels(structure)
        else:
            at_level = Run(folder, trust_code=trust_code).structure_at(level, trial, functional=functional)
            described, shown = at_level.describe(), _at_level(at_level)
        if json_file == "-":
            typer.echo(json.dumps(described, indent=1))
            return
        if json_file is not None:
            _write(Path(json_file), described)
        console = Console()
        for part in shown:
            console.print(part, highlight=False)
        if json_file is not None:
            console.print(f"Written to {json_file}", highlight=False, soft_wrap=True)


def _over_levels(structure: "Structure") -> Iterator[Table | str]:
    """Yield neurons and parameters by state, a row for each level, and observations on biases."""
    yield _heading(structure)
    levels = [(str(level.level), f"{level.density:.2%}") for level in structure.levels]
    horizons = [_number(level.smallest_kept) for level in structure.levels]
    for what, own, more in (("Neurons", structure.neurons, []), ("Parameters", structure.parameters, ["horizon"])):
        table = _table(what, ["level", "density", *_names(own.states), *more])
        for place, level in enumerate(levels):
            table.add_row(*level, *_counts(own.counts[place]), *(horizons[place] for _ in more))
        yield table
    yield "Inputs are not counted as neurons. The horizon is the smallest magnitude that a\npruning kept."
    yield from _bias_observations(structure)
    if structure.splittings:
        names = structure.splittings[0].splitting.tasks
        table = _table("Splitting", ["level", "weights", "status", "metric", "distance", *(f"{n} %" for n in names)])
        for (number, _), split in zip(levels, structure.splittings, strict=True):
            table.add_row(number, f"{split.left:,}", *_splitting(split))
        yield table
        yield (
            "The metric counts the splits still needed, and is below zero once a task is\ndegraded; the distance is "
            "that of the coverage to the identity. Accuracies are\non test data."
        )


def _splitting(level: "LevelSplitting") -> list[str]:
    split = level.splitting
    accuracies = [f"{100 * level.test_acc[task]:.2f}" for task in split.tasks]
    return [split.status, f"{split.metric:.3g}", f"{split.distance:.2f}", *accuracies]


def _at_level(at_level: "LevelStructure") -> Iterator[Table | str]:
    """Yield neurons by layer, parameters by tensor and biases by state."""
    from lthprune.analysis import PARAMETER_STATES, NeuronState

    structure, network = at_level.structure, at_level.network
    (level,) = structure.levels
    yield f"{_heading(structure)} of level {level.level}, density {level.density:.2%}"
    table = _table("Neurons", ["layer", *_names(NeuronState), "frozen"])
    counts = network.count_neurons(functional=structure.functional)
    for layer in network.layers:
        table.add_row(layer.name, *_counts(counts[layer.name].values()), f"{layer.frozen.sum():,}")
    yield table
    table = _table("Parameters", ["tensor", *_names(PARAMETER_STATES), "horizon"])
    for name, own in network.count_parameters(functional=structure.functional).items():
        horizon = _number(level.horizon.get(name, float("nan")))
        table.add_row(name, *_counts(own[state] for state in PARAMETER_STATES), horizon)
    yield table
    table = _table("Biases", ["of neurons", "biases", "pruned", "negative", "mean", "deviation"])
    biases = structure.biases
    for state in NeuronState:
        if biases.count[0, state]:
            numbers = (biases.count, biases.count - biases.left, biases.negative)
            moments = (biases.mean, biases.deviation)
            shown = (_number(each[0, state]) for each in moments)
            table.add_row(state.name.lower(), *_counts(each[0, state] for each in numbers), *shown)
    yield table
    for splitting in structure.splittings:
        yield from _split_at_level(splitting)


def _split_at_level(level: "LevelSplitting") -> Iterator[Table | str]:
    """Yield the share of every task that each component covers, and the share of neurons of one task alone."""
    split = level.splitting
    yield f"{split.status.capitalize()}: metric {split.metric:.3g}, distance to the identity {split.distance:.2f}."
    table = _table("Coverage of the tasks", ["component", "neurons", *split.tasks])
    for component, (size, covered) in enumerate(zip(split.sizes, split.coverage, strict=True)):
        if component < _MOST_COMPONENTS:
            table.add_row(str(component), f"{size:,}", *(f"{each:.0%}" for each in covered))
    yield table
    if split.strays:
        yield f"{split.strays:,} alive inputs are read only by components of other tasks."
    if len(split.coverage) > _MOST_COMPONENTS:
        yield f"{len(split.coverage) - _MOST_COMPONENTS:,} smaller components are not shown."
    table = _table("Neurons of one task alone", ["layer", "by their inputs", "by their outputs"])
    for layer in split.decidedness:
        table.add_row(
            layer.layer, *("" if isnan(each) else f"{each:.0%}" for each in (layer.by_inputs, layer.by_outputs))
        )
    yield table


def _bias_observations(structure: "Structure") -> Iterator[str]:
    first, last = structure.biases.fraction_negative[[0, -1]]
    yield f"{_percent(first)} of the biases are negative at the first level, {_percent(last)} at the last."
    zombies = structure.zombies
    text = f"Zombies at some level: {len(zombies.bias):,}; at the last: {(~zombies.ended).sum():,}."
    if not isnan(zombies.correlation):
        text += f" Rank correlation of bias and life: {zombies.correlation:.2f}."
    elif len(zombies.bias):
        text += " They are too few, or their biases too similar, for a rank correlation."
    yield text
    lost = structure.comatose_biases
    if lost is None:
        yield "No bias is pruned."
    else:
        yield (
            f"Comatose neurons: {sum(lost):,}. {lost.early:,} had lost their biases before; {lost.before:,} lost them "
            f"before their last weights, {lost.together:,} with them, {lost.after:,} after them or not yet; "
            f"{lost.neither:,} have both."
        )


def _heading(structure: "Structure") -> str:
    kind = "functional" if structure.functional else "structural"
    return f"{structure.run}, trial {structure.trial}: {kind} states"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=0)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", vertical="bottom", overflow="fold")
    return table


def _names(states: "Iterable[NeuronState]") -> list[str]:
    return [state.name.lower() for state in states]


def _counts(numbers: Iterable[int]) -> list[str]:
    return [f"{number:,}" for number in numbers]


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:.4f}"


def _percent(fraction: float) -> str:
    return "None" if isnan(fraction) else f"{fraction:.0%}"


def _write(path: Path, described: dict[str, Any]) -> None:
    from lthprune.errors import StorageError
    from lthprune.files import write_atomically

    if path.is_dir():
        raise StorageError(f"{path} is a folder. Name a file for the JSON: --json {path / 'structure.json'}")
    if path.exists():
        raise StorageError(f"{path} already exists. Remove it, or choose another file.")
    write_atomically(path, json.dumps(described, indent=1).encode())
