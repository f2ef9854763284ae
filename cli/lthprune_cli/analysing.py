"""The verb ``analyze``: the states of a run's neurons and parameters."""

import json
from collections.abc import Iterable, Iterator, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.table import Table

from lthprune_cli.consoles import Console
from lthprune_cli.failures import describe_failures
from lthprune_cli.options import RunsArgument, TrustCode

if TYPE_CHECKING:
    from lthprune.analysis import NeuronState
    from lthprune.experiments import LayerCounts, LevelSplitting, LevelStructure, Spread, Structure

_MOST_COMPONENTS = 10  # rows of a table


def analyze(
    runs: RunsArgument,
    level: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Show this level alone, layer by layer.")
    ] = None,
    trial: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="The trial to analyze. Without it the first.")
    ] = None,
    functional: Annotated[
        bool,
        typer.Option("--functional/--structural", help="Take biases and activations into account, or the masks alone."),
    ] = False,
    by_layer: Annotated[
        bool, typer.Option("--by-layer", help="Show the neurons of every layer at every level, over all trials.")
    ] = False,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write everything as JSON. With - print only that."),
    ] = None,
    graphml: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the neurons and weights of the level as a graph, in GraphML."),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Show the states of the neurons and parameters of one trial at every level, or at one of them.

    With --by-layer, show the neurons of all trials layer by layer.
    """
    from lthprune.analysis import to_graphml
    from lthprune.errors import LthpruneError
    from lthprune.experiments import Run, count_by_layer
    from lthprune.files import write_atomically

    if by_layer and (level is not None or trial is not None):
        raise LthpruneError("--by-layer shows all levels of all trials. Leave out --level and --trial, or --by-layer.")
    if (json_file or graphml) and len(runs) > 1:
        option = "--json" if json_file else "--graphml"
        raise LthpruneError(f"{option} writes one run, and {len(runs)} are named. Analyze them one after the other.")
    if graphml is not None and level is None:
        raise LthpruneError("--graphml writes the network of one level. Name it: --level N")
    written = [path for path in (json_file and Path(json_file), graphml) if path and str(path) != "-"]
    _check_new(written)
    for folder in runs:
        if by_layer:
            by_layers = count_by_layer(Run(folder, trust_code=trust_code), functional=functional)
            described, shown = by_layers.describe(), _by_layer(by_layers)
        elif level is None:
            structure = Run(folder, trust_code=trust_code).structure(trial, functional=functional)
            described, shown = structure.describe(), _over_levels(structure)
        else:
            at_level = Run(folder, trust_code=trust_code).structure_at(level, trial, functional=functional)
            described, shown = at_level.describe(), _at_level(at_level)
            if graphml is not None:
                write_atomically(graphml, to_graphml(at_level.network, at_level.structure.trained))
        if json_file == "-":
            typer.echo(json.dumps(described, indent=1))
            return
        if json_file is not None:
            write_atomically(Path(json_file), json.dumps(described, indent=1).encode())
        console = Console()
        for part in shown:
            console.print(part)
        for path in written:
            console.print(f"Written to {path}", soft_wrap=True)


def _over_levels(structure: "Structure") -> Iterator[Table | str]:
    """Yield neurons and parameters by state, a row for each level, and observations on biases."""
    yield _heading(structure)
    yield from describe_failures(structure.failures)
    table = _table("Neurons", ["level", "density", *_names(structure.neurons.states)])
    for level, counts in zip(structure.levels, structure.neurons.counts, strict=True):
        table.add_row(str(level.level), f"{level.density:.2%}", *_counts(counts))
    yield table
    states = (name.replace("unpro", "unpro-\n") for name in _names(structure.parameters.states))
    table = _table("Parameters", ["level", "weights", "active", *states, "horizon"])
    for level, counts in zip(structure.levels, structure.parameters.counts, strict=True):
        table.add_row(*_counts((level.level, level.left, level.active, *counts)), _number(level.smallest_kept))
    yield table
    yield (
        "Inputs are not counted as neurons. Weights are those that pruning left, active\nones lead from an input to an "
        "output; the states are those of all parameters.\nThe horizon is the smallest magnitude that a pruning kept."
    )
    yield from _bias_observations(structure)
    if structure.splittings:
        names = structure.splittings[0].splitting.tasks
        table = _table("Splitting", ["level", "weights", "status", "metric", "distance", *(f"{n} %" for n in names)])
        for level, split in zip(structure.levels, structure.splittings, strict=True):
            table.add_row(str(level.level), f"{split.left:,}", *_splitting(split))
        yield table
        yield (
            "The metric counts the splits still needed, and is below zero once a task is\ndegraded; the distance is "
            "that of the coverage to the identity. Accuracies are\non test data."
        )


def _by_layer(counts: "LayerCounts") -> Iterator[Table | str]:
    """Yield the neurons by state of every layer, a row for each level, with means and ranges over the trials."""
    from lthprune.analysis import NeuronState

    trials = len(counts.active)
    kind = "functional" if counts.functional else "structural"
    yield f"{counts.run}: {kind} states of the neurons of {trials} trial{'' if trials == 1 else 's'}"
    yield from describe_failures(counts.failures)
    for layer in counts.layers:
        table = _table(layer, ["level", "weights", "active", *_names(NeuronState)], vertical="top")
        for level, left in enumerate(counts.left):
            spreads = [counts.active_spread(level), *(counts.spread(layer, level, state) for state in NeuronState)]
            table.add_row(str(level), f"{left:,}", *map(_mean_and_range, spreads))
        yield table
    yield (
        "Weights and active weights are those of the whole network. Numbers are means\n"
        "over the trials, with ranges below."
    )


def _mean_and_range(spread: "Spread") -> str:
    """Return the mean, and the range below it where the trials differ."""
    if spread.low == spread.high:
        return f"{spread.mean:,.0f}"
    return f"{spread.mean:,.1f}\n{spread.low:,.0f}-{spread.high:,.0f}"


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
    yield f"{level.active:,} of {level.left:,} weights are active."
    yield from describe_failures([failure for failure in structure.failures if failure.level == level.level])
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


def _table(title: str, columns: Sequence[str], vertical: Literal["top", "bottom"] = "bottom") -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=0)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", vertical=vertical, overflow="fold")
    return table


def _names(states: "Iterable[NeuronState]") -> list[str]:
    return [state.name.lower() for state in states]


def _counts(numbers: Iterable[int]) -> list[str]:
    return [f"{number:,}" for number in numbers]


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:.4f}"


def _percent(fraction: float) -> str:
    return "None" if isnan(fraction) else f"{fraction:.0%}"


def _check_new(paths: Sequence[Path]) -> None:
    """Raise a StorageError, before anything is analyzed, for a file that is there already or named twice."""
    from lthprune.errors import StorageError

    for path in paths:
        if path.is_dir():
            raise StorageError(f"{path} is a folder. Name a file in it, as in {path / 'structure.json'}")
        if path.exists():
            raise StorageError(f"{path} already exists. Remove it, or choose another file.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise StorageError(f"--json and --graphml both name {paths[0]}. Choose another file for one of them.")
