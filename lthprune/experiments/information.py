"""The mutual information between layers, inputs and labels of a run's networks, level by level."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.analysis import (
    INPUT,
    LABELS,
    Information,
    LevelInformation,
    Mine,
    check_layers,
    check_neighbour_samples,
    default_pairs,
    estimate_information,
    layer_activations,
    weighted_layers,
)
from lthprune.arguments import whole_number
from lthprune.errors import PruningError, StorageError
from lthprune.experiments.experiment import Experiment, Place, prepare_run
from lthprune.experiments.figures import write_figure
from lthprune.experiments.run import Run
from lthprune.experiments.threads import torch_threads
from lthprune.files import write_atomically
from lthprune.pruning import State, restore, snapshot
from lthprune.search import Rewinder, Ticket
from lthprune.seeds import seeded_by
from lthprune.training import train
from lthprune.writing import only_writer

Pair = tuple[str, str]


@dataclass(frozen=True)
class InformationWatcher:
    """Functions to call while mutual information is estimated.

    Attributes:
        on_step: called after each training step of the statistics networks with the number of steps made at this level,
            and of all.
        on_level: called with the estimates of each level, or of each step of its training.
    """

    on_step: Callable[[int, int], object] = lambda made, steps: None
    on_level: Callable[[LevelInformation], object] = lambda found: None


def run_information(
    run: Run,
    pairs: Sequence[Pair] = (),
    *,
    levels: Sequence[int] | None = None,
    at: Sequence[int] = (),
    trial: int = 0,
    samples: int | None = None,
    neighbour_samples: int = 2000,
    settings: Mine | None = None,
    data_dir: str | Path | None = None,
    threads: int | None = None,
    watcher: InformationWatcher | None = None,
) -> list[LevelInformation]:
    """Estimate the mutual information of layers, inputs and labels of one trial's networks, or read what was estimated.

    Activations are those of the trained tickets for training samples, in evaluation mode; see ``layer_activations``.
    Each level is written to the folder ``information`` of the run when it is finished, and read from there if it is
    asked for again with the same settings.

    Args:
        run: the run; its finished levels.
        pairs: the names of two variables each: layers, ``"input"`` or ``"labels"``; a pair and its mirror are one, and
            are returned in the order of the network. By default each dense layer or convolution with the one before
            it, the inputs and the labels.
        levels: their numbers; by default all finished levels.
        at: steps of the training of each level at which activations are read as well. A run keeps no weights of them,
            so its tickets are trained again by the readable loop, with the same batches and up to rounding the same
            weights.
        trial: the trial.
        samples: how many training samples to take, at random; by default all.
        neighbour_samples: among how many of them to search nearest neighbours.
        settings: of MINE; by default ``Mine()``.
        data_dir: the data root; by default that of the run.
        threads: the number of threads to compute with; by default that of the run.
        watcher: functions to call meanwhile.

    Raises:
        PruningError: a layer is unknown, a step is not one of the training of every level, there are too few samples,
            activations are not finite, or an estimate diverged, which is then not stored.
        StorageError: a level is not finished, there is no such trial, or a file is damaged.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=1"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = run_recipe(recipe, "short", out=folder)
        ...     found = run_information(run, [("dense1", "labels")], settings=Mine(units=8, epochs=1))
        >>> [(own.level, round(own.density, 2), list(own.pairs)) for own in found]
        [(0, 1.0, [('dense1', 'labels')]), (1, 0.8, [('dense1', 'labels')])]
    """
    settings, chosen = settings or Mine(), _check_levels(run, levels)
    model, watcher = run.model(trial), watcher or InformationWatcher()
    pairs = _check_pairs(model, pairs)
    steps = _check_steps(run, at, chosen)
    check_neighbour_samples(neighbour_samples)
    place = Place.of(run, data_dir, "cpu", threads)
    with torch_threads(place.threads):
        experiment = prepare_run(run, place)
        available = len(experiment.data.x_train)
        if samples is not None and not 0 < whole_number("samples", samples) <= available:
            raise PruningError(f"samples = {samples:,}: the run has {available:,} training samples; take 1 to all.")
        settings.check_samples(samples or available)
        words = {"mine": asdict(settings), "samples": samples or available, "neighbour_samples": neighbour_samples}
        estimation = _Estimation(experiment, run, model, trial, pairs, settings, words, watcher)
        return [found for level in chosen for found in estimation.level(level, steps)]


@dataclass(frozen=True)
class _Estimation:
    """The estimates of one trial's networks."""

    experiment: Experiment
    run: Run
    model: nn.Module
    trial: int
    pairs: list[Pair]
    settings: Mine
    words: dict[str, Any]  # what estimates depend on, besides the run
    watcher: InformationWatcher

    def level(self, level: int, steps: Sequence[int]) -> Iterator[LevelInformation]:
        """Yield the estimates at each of some steps of the training of a level, and after it."""
        ticket = self.run.tickets.ticket(level, self.trial)
        places = [*steps, None]
        stored = {step: self._read(level, step) for step in places}
        missing = {step: [pair for pair in self.pairs if pair not in stored[step]] for step in places}
        if any(missing.values()):
            with only_writer(self._path(level, None).parent):
                states = self._states(ticket, [step for step in steps if missing[step]])
                for step in (step for step in places if missing[step]):
                    stored[step] |= self._estimate(ticket, step, missing[step], states[step])
                    self._write(level, step, stored[step])
        for step in places:
            found = LevelInformation(level, ticket.density, step, {pair: stored[step][pair] for pair in self.pairs})
            self.watcher.on_level(found)
            yield found

    def _states(self, ticket: Ticket, steps: Sequence[int]) -> dict[int | None, State]:
        """Return the network's state at some steps of the training of a ticket, and after it (None)."""
        states: dict[int | None, State] = {None: ticket.trained}
        if not steps:
            return states
        recipe, rewind, made = self.experiment.recipe, self.experiment.search.rewind, 0
        start = rewind.at if isinstance(rewind, Rewinder) and ticket.level else 0
        if not ticket.level:  # its weights are those of the step that a run rewinds to
            initial = self.run.tickets.load().initial[self.trial]
            ticket = Ticket(0, ticket.masks, initial, initial, late_buffers=ticket.late_buffers, tied=ticket.tied)
        ticket.apply(self.model)
        if start in steps:
            states[start] = snapshot(self.model)

        def keep() -> None:
            nonlocal made
            made += 1
            if start + made in steps:
                states[start + made] = snapshot(self.model)

        with seeded_by(recipe.run.generator("noise", self.trial)):
            train(
                self.model,
                self.experiment.data,
                recipe.train,
                recipe.run.generator("order", self.trial),
                start=start,
                no_stop_before=max(steps),
                fine_tune=rewind == "none" and ticket.level > 0,
                augmenter=recipe.run.generator("augment", self.trial),
                on_step=keep,
            )
        return states

    def _estimate(self, ticket: Ticket, step: int | None, pairs: list[Pair], state: State) -> dict[Pair, Information]:
        data, samples = self.experiment.data, self.words["samples"]
        x, y = data.x_train[:samples], data.y_train[:samples]  # the split has put them in random order
        ticket.apply(self.model, "trained")  # its masks
        restore(self.model, state)
        layers = {name for pair in pairs for name in pair} - {INPUT, LABELS}
        variables: dict[str, Tensor] = layer_activations(self.model, x, layers)
        variables |= {INPUT: x, LABELS: y if y.ndim == 1 else torch.unique(y, dim=0, return_inverse=True)[1]}
        total, made = self.settings.steps(samples), 0
        place = self.experiment.recipe.train.steps if step is None else step

        def count() -> None:
            nonlocal made
            made += 1
            self.watcher.on_step(made, total)

        draw = self.experiment.recipe.run.information_generator
        try:
            return estimate_information(
                variables,
                pairs,
                self.settings,
                generators=[draw(pair, self.trial, ticket.level, place) for pair in pairs],
                neighbour_samples=self.words["neighbour_samples"],
                on_step=count,
            )
        except PruningError as error:
            raise PruningError(f"level {ticket.level}, step {place:,}: {error}") from error

    def _path(self, level: int, step: int | None) -> Path:
        digest = hashlib.sha256(json.dumps(self.words, sort_keys=True).encode()).hexdigest()[:8]
        name = f"trial-{self.trial}-level-{level:02d}" + ("" if step is None else f"-step-{step:06d}")
        return self.run.folder / "information" / digest / f"{name}.json"

    def _read(self, level: int, step: int | None) -> dict[Pair, Information]:
        path = self._path(level, step)
        if not path.exists():
            return {}
        try:
            stored = json.loads(path.read_bytes())["nats"]
            return {_pair(name): Information(**own) for name, own in stored.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"cannot read {path}: {error}. Delete it, and it is estimated again.") from error

    def _write(self, level: int, step: int | None, found: dict[Pair, Information]) -> None:
        nats = {":".join(pair): own._asdict() for pair, own in found.items()}
        text = json.dumps({"settings": self.words, "nats": nats}, indent=1, allow_nan=False)
        write_atomically(self._path(level, step), text.encode())


def save_information(run: Run, found: Sequence[LevelInformation], trial: int = 0) -> list[Path]:
    """Write the figure ``information-trial-N`` as PNG, SVG and PDF into the run's figures, and return the paths.

    Args:
        run: the run.
        found: what ``run_information`` returned.
        trial: the trial that it was estimated for.

    Raises:
        StorageError: the folder cannot be written.
    """
    from lthprune.plots import plot_information

    figure = plot_information(found, f"{run.recipe_name}, mutual information, trial {trial}")
    return write_figure(figure, run.folder / "figures", f"information-trial-{trial}")


def _pair(text: str) -> Pair:
    one, _, other = text.partition(":")
    return one, other


def _check_levels(run: Run, levels: Sequence[int] | None) -> Sequence[int]:
    run.check_started()
    if levels is None:
        return range(run.tickets.finished)
    if not len(levels):
        raise PruningError("levels is empty: list at least one level, or leave it out for all finished ones.")
    for level in levels:
        run.check_level(whole_number("a level", level))
    return list(dict.fromkeys(levels))


def _check_pairs(model: nn.Module, pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs, each once and in the order of the network, by default those of all layers."""
    if not pairs:
        return default_pairs(weighted_layers(model))
    check_layers(model, [name for pair in pairs for name in pair if name not in (INPUT, LABELS)])
    for pair in pairs:
        if pair == (LABELS, LABELS) or pair == (INPUT, INPUT):
            raise PruningError(f"the pair {':'.join(pair)} names no layer. Name two variables, as in dense1:labels.")
    places = {name: place for place, name in enumerate([INPUT, *(name for name, _ in model.named_modules()), LABELS])}
    return list(dict.fromkeys((x, y) if places[x] <= places[y] else (y, x) for x, y in pairs))


def _check_steps(run: Run, at: Sequence[int], levels: Sequence[int]) -> list[int]:
    """Return the steps in order, each once, or raise an error if one is in no training of some level."""
    recipe = run.recipe()
    steps, rewind = recipe.train.steps, recipe.prune.rewind
    for step in at:
        if whole_number("step", step) > steps:
            raise PruningError(f"step {step:,}: the training of a level has {steps:,} steps.")
        late = [level for level in levels if level and isinstance(rewind, int) and step < rewind]
        if late:
            raise PruningError(
                f"step {step} of level {late[0]}: its training starts at step {rewind}. Leave out earlier steps, or "
                "take level 0 alone."
            )
    if at and run.control is not None:
        raise PruningError(
            f"{run.folder} is a control, whose training is not repeated. Leave out the steps, or name a run of its own."
        )
    return sorted(set(at))
