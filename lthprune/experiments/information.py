"""The mutual information between layers, inputs and labels of a run's networks, level by level."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
from lthprune.errors import PruningError
from lthprune.experiments.experiment import Experiment, Place, prepare_run
from lthprune.experiments.figures import write_figure
from lthprune.experiments.information_files import TrialInformation, information_files, level_information
from lthprune.experiments.run import Run
from lthprune.experiments.threads import torch_threads
from lthprune.experiments.training_states import training_states
from lthprune.memory import available_memory
from lthprune.pruning import restore
from lthprune.search import Ticket
from lthprune.writing import only_writer

Pair = tuple[str, str]
Step = int | None  # of the training of a level; None after it
Nats = dict[Pair, Information]
_BYTES = 12  # per value of an activation at the peak: as computed, standardised, and in between


@dataclass(frozen=True)
class InformationWatcher:
    """Functions to call while mutual information is estimated.

    Attributes:
        on_step: called after each training step of the statistics networks with the number of steps made for a trial's
            network, and of all.
        on_level: called with the estimates of each level, or of each step of its training, when those of all trials are
            there.
    """

    on_step: Callable[[int, int], object] = lambda made, steps: None
    on_level: Callable[[LevelInformation], object] = lambda found: None


def run_information(
    run: Run,
    pairs: Sequence[Pair] = (),
    *,
    levels: Sequence[int] | None = None,
    at: Sequence[int] = (),
    samples: int | None = None,
    neighbour_samples: int = 2000,
    settings: Mine | None = None,
    data_dir: str | Path | None = None,
    threads: int | None = None,
    watcher: InformationWatcher | None = None,
) -> tuple[LevelInformation, ...]:
    """Estimate the mutual information of layers, inputs and labels of a run's networks; what was estimated is kept.

    Activations are those of the trained tickets of all trials for training samples, in evaluation mode; see
    ``layer_activations``. The estimates of a level are written to the folder ``information`` of the run trial by trial.

    Args:
        run: the run; its finished levels. Its trials are the replicates.
        pairs: the names of two variables each: layers, ``"input"`` or ``"labels"``; a pair and its mirror are one, and
            are returned in the order of the network. By default each dense layer or convolution with the one before
            it, the inputs and the labels.
        levels: their numbers; by default all finished levels.
        at: steps of the training of each level at which activations are read as well. A run keeps no weights of them,
            so its tickets are trained again by the readable loop, with the same batches and up to rounding the same
            weights.
        samples: how many training samples to take, at random; by default all.
        neighbour_samples: among how many of them to search nearest neighbours.
        settings: of MINE; by default ``Mine()``.
        data_dir: the data root; by default that of the run.
        threads: the number of threads to compute with; by default that of the run.
        watcher: functions to call meanwhile.

    Returns:
        The estimates of these pairs at these levels and steps. ``run.information()`` returns all that was estimated.

    Raises:
        PruningError: a layer is unknown, a step is not one of the training of every level, there are too few samples,
            activations do not fit into memory or are not finite, or an estimate diverged, which is then not stored.
        StorageError: a level is not finished, what was estimated before has other settings or is added to by another
            process, or a file is damaged.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = run_recipe(recipe, "short", out=folder)
        ...     found = run_information(run, [("dense1", "labels")], settings=Mine(units=8, epochs=1))
        >>> [(own.level, round(own.density, 2), own.nats(("dense1", "labels"), "mine").shape) for own in found]
        [(0, 1.0, (2,)), (1, 0.8, (2,))]
    """
    settings, watcher, chosen = settings or Mine(), watcher or InformationWatcher(), _check_levels(run, levels)
    pairs = _check_pairs(run.model(), pairs)
    places = [*_check_steps(run, at, chosen), None]
    check_neighbour_samples(neighbour_samples)
    place = Place.of(run, data_dir, "cpu", threads)
    files, found = information_files(run.folder), []
    with torch_threads(place.threads):
        experiment = prepare_run(run, place)
        available = len(experiment.data.x_train)
        if samples is not None and not 0 < whole_number("samples", samples) <= available:
            raise PruningError(f"samples = {samples:,}: the run has {available:,} training samples; take 1 to all.")
        samples = samples or available
        settings.check_samples(samples)
        job = _Estimation(experiment, run, settings, samples, neighbour_samples, watcher)
        job.check_memory(pairs)
        with only_writer(files.folder):
            files.begin({**asdict(settings), "samples": samples, "neighbour_samples": neighbour_samples})
            for level in chosen:
                trials = run.tickets.trials(level)
                for trial in trials:
                    kept = {step: files.read(level, step, trial) for step in places if files.has(level, step, trial)}
                    known = {step: own.pairs for step, own in kept.items()}
                    missing = {step: [pair for pair in pairs if pair not in known.get(step, {})] for step in places}
                    ticket = run.tickets.ticket(level, trial)
                    for step, own in job.estimates(ticket, trial, missing):
                        merged = {**known.get(step, {}), **own}
                        files.write(level, step, trial, TrialInformation(ticket.density, merged))
                for step in places:
                    found.append(level_information(files, level, step, trials).only(pairs))
                    watcher.on_level(found[-1])
    return tuple(found)


def save_information(run: Run) -> list[Path]:
    """Write the figure ``information`` of a run as PNG, SVG and PDF into its folder ``figures``; return their paths.

    Raises:
        PruningError: nothing was estimated.
        StorageError: the folder cannot be written, or a file is damaged.
    """
    return write_figure(run.plot("information"), run.folder / "figures", "information")


@dataclass(frozen=True)
class _Estimation:
    """The estimates of one run."""

    experiment: Experiment
    run: Run
    settings: Mine
    samples: int
    neighbour_samples: int
    watcher: InformationWatcher

    def check_memory(self, pairs: Sequence[Pair]) -> None:
        """Raise a PruningError if the variables of some pairs do not fit into the available memory together."""
        found = self._variables(self.run.model(), pairs, 1)
        values, available = sum(each.numel() for each in found.values()), available_memory()
        needed = self.samples * values * _BYTES
        if available is not None and needed > available:
            raise PruningError(
                f"{', '.join(found)} have {values:,} values for each sample. For {self.samples:,} samples they take "
                f"about {needed / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are available. Take fewer "
                f"samples, as in --samples {int(0.8 * available / (values * _BYTES))}, or fewer pairs at a time."
            )

    def estimates(self, ticket: Ticket, trial: int, pairs: Mapping[Step, list[Pair]]) -> Iterator[tuple[Step, Nats]]:
        """Yield the estimates of some pairs at each step of a ticket's training (None: after it) that has any."""
        model, missing = self.run.model(trial), [step for step, own in pairs.items() if own]
        within = [step for step in missing if step is not None]
        states = training_states(self.experiment, self.run, model, ticket, trial, within)
        for step in missing:
            ticket.apply(model, "trained")
            restore(model, ticket.trained if step is None else states[step])
            yield step, self._estimate(model, pairs[step], trial, ticket.level, step)

    def _estimate(self, model: nn.Module, pairs: Sequence[Pair], trial: int, level: int, step: Step) -> Nats:
        total, made = self.settings.steps(self.samples), 0
        place = self.experiment.recipe.train.steps if step is None else step

        def count() -> None:
            nonlocal made
            made += 1
            self.watcher.on_step(made, total)

        draw = self.experiment.recipe.run.information_generator
        try:
            return estimate_information(
                self._variables(model, pairs, self.samples),
                pairs,
                self.settings,
                generators=[draw(pair, trial, level, place) for pair in pairs],
                neighbour_samples=self.neighbour_samples,
                on_step=count,
            )
        except PruningError as error:
            raise PruningError(f"level {level}, step {place:,}, trial {trial}: {error}") from error

    def _variables(self, model: nn.Module, pairs: Sequence[Pair], samples: int) -> dict[str, Tensor]:
        """Return the variables of some pairs for the first samples, which the split has put in random order."""
        x, y = self.experiment.data.x_train[:samples], self.experiment.data.y_train[:samples]
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        variables = {INPUT: x, LABELS: y if y.ndim == 1 else torch.unique(y, dim=0, return_inverse=True)[1]}
        variables |= layer_activations(model, x, [name for name in names if name not in variables])
        return {name: variables[name] for name in names}


def _check_levels(run: Run, levels: Sequence[int] | None) -> Sequence[int]:
    run.check_whole("Estimate the mutual information")
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
