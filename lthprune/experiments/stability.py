"""Stability of a run: copies of its networks, trained from one step with other orders, and the paths between them."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import torch
from torch import nn

from lthprune.analysis import LinearPath, Pair, Stability, angle_between, distance_between, follow_path
from lthprune.arguments import whole_number
from lthprune.errors import PruningError, RecipeError
from lthprune.experiments.environment import find_device, warn_of_other_roundings
from lthprune.experiments.execution import deterministic_convolutions
from lthprune.experiments.experiment import Experiment, Place, prepare_run
from lthprune.experiments.figures import write_figure
from lthprune.experiments.run import Run
from lthprune.experiments.stability_files import TrialStability, stability_files
from lthprune.experiments.threads import torch_threads
from lthprune.pruning import State, first_names, restore, snapshot
from lthprune.search import Level, Metrics, Ticket, retrain_levels
from lthprune.training import TrainingPlan, evaluate, train_population
from lthprune.writing import only_writer

OnMeasured = Callable[[int, int, Sequence[Pair]], object]
"""Called with a level, a step and the pairs of one trial."""


def run_stability(
    run: Run,
    at: Sequence[int],
    *,
    levels: Sequence[int] | None = None,
    copies: int = 2,
    points: int = 30,
    samples: int | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    on_measured: OnMeasured | None = None,
) -> tuple[Stability, ...]:
    """Measure from which step on copies of a run's networks end in one basin; what was measured before is kept.

    For each step k the dense network of every trial is trained to k, in the run's own order. Copies of it, with the
    masks of a level, are trained from there to the end, each with an order of its own, and the networks on the straight
    line between each two of them are measured (Frankle, Dziugaite, Roy & Carbin 2020). The copies of a trial have the
    same orders at every step and level. Their optimisers start afresh at step k, as after late rewinding, and nothing
    stops early.

    Args:
        run: the run; its trials are the replicates.
        at: the steps k, in ascending order, up to the last step of the training.
        levels: the levels whose masks the copies have; 0 is the dense network. By default 0 and the last finished one,
            but 0 alone for a run that keeps its trained weights.
        copies: how many copies are trained from each state; each two of them are a pair.
        points: how many networks are measured between the two copies of a pair.
        samples: how many training samples give training errors and batch-norm statistics; by default all.
        data_dir: the data root; by default that of the run.
        device: ``cpu`` or ``cuda``; by default that of the run.
        threads: the number of threads to compute with; by default that of the run.
        on_measured: called when the pairs of a level, step and trial are measured.

    Returns:
        The stability of each of these levels at these steps. ``run.stability()`` returns all that was measured.

    Raises:
        PruningError: steps, levels or numbers are not what they must be.
        RecipeError: levels above 0 of a run that keeps its trained weights.
        StorageError: the run is a control or a transfer, a level is not finished, what was measured before has other
            settings or is added to by another process, or a file is damaged.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=20", "prune.levels=1", "run.trials=1"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = run_recipe(recipe, "short", out=folder)
        ...     dense, ticket = run_stability(run, [10, 20], points=1)
        >>> ticket.level, ticket.steps, ticket.barriers().shape, float(ticket.barriers()[1, 0])
        (1, (10, 20), (2, 1), 0.0)
        >>> ticket.moving_steps()  # copies made at the last step are identical, and do not count
        (10,)
    """
    steps, chosen = _check_steps(run, at), _check_levels(run, levels)
    for name, number, least in (("copies", copies, 2), ("points", points, 1), ("samples", samples, 1)):
        if number is not None and whole_number(name, number) < least:
            raise PruningError(f"{name} = {number}: this must be {least} or more.")
    place = Place.of(run, data_dir, device, threads)
    with torch_threads(place.threads), deterministic_convolutions():
        experiment = prepare_run(run, place)
        _check_samples(samples, len(experiment.data.x_train))
        warn_of_other_roundings(run.recorded(), experiment.environment(find_device(place.device), place.threads))
        files, job = stability_files(run.folder), _Stability(experiment, run, copies, points, samples)
        keys = [(level, trial) for level in chosen for trial in run.tickets.trials(level)]
        with only_writer(files.folder):
            files.begin({"copies": copies, "points": points, "samples": samples})
            for step in steps:
                missing = [(level, trial) for level, trial in keys if not files.has(level, step, trial)]
                states = job.states_at(step) if missing else {}
                for level, trial in missing:
                    ticket = run.tickets.ticket(level, trial)
                    pairs = job.pairs(ticket, trial, step, states[trial])
                    files.write(level, step, trial, TrialStability(ticket.density, pairs))
                    if on_measured is not None:
                        on_measured(level, step, pairs)
    return tuple(each.only(steps) for each in run.stability() if each.level in chosen)


def save_stability(run: Run) -> list[Path]:
    """Write the figures ``stability`` and ``interpolation`` of a run into its folder ``figures``; return their paths.

    Raises:
        PruningError: its stability was not measured.
        StorageError: the folder cannot be written, or a file is damaged.
    """
    return [
        path
        for name in ("stability", "interpolation")
        for path in write_figure(run.plot(name), run.folder / "figures", name)
    ]


@dataclass(frozen=True)
class _Stability:
    """Trainings and measurements of one run."""

    experiment: Experiment
    run: Run
    copies: int
    points: int
    samples: int | None

    @property
    def _plan(self) -> TrainingPlan:
        """The run's plan without early stopping, so that all copies are trained to its last step."""
        plan = self.experiment.recipe.train
        return plan.model_copy(update={"patience": None, "loss_cutoff": None, "evaluate_every": plan.steps})

    def states_at(self, step: int) -> dict[int, State]:
        """Train the dense network of each trial to a step, and return their states by the trial's number."""
        spec, initial = self.experiment.recipe.run, self.run.tickets.initial()
        trials = self.run.tickets.trials(0)
        models = [self._fresh(trial) for trial in trials]
        for model, trial in zip(models, trials, strict=True):
            restore(model, initial[trial])
        if step:
            train_population(
                models,
                self.experiment.data,
                self._plan,
                [spec.generator("order", trial) for trial in trials],
                noises=[spec.generator("noise", trial) for trial in trials],
                augmenters=[spec.generator("augment", trial) for trial in trials],
                end=step,
            )
        return {trial: snapshot(model) for trial, model in zip(trials, models, strict=True)}

    def pairs(self, ticket: Ticket, trial: int, step: int, state: State) -> list[Pair]:
        """Train copies of a trial's network from a step on, with the masks of a ticket, and measure all pairs."""
        start = Ticket(ticket.level, ticket.masks, state, state, late_buffers=ticket.late_buffers, tied=ticket.tied)
        models = [start.apply(self._fresh(trial)) for _ in range(self.copies)]
        origin = snapshot(models[0])
        states = [origin] * self.copies
        if step < self._plan.steps:
            (trained,) = retrain_levels(
                models,
                lambda models, level: self._train(models, level, trial),
                [[start] * self.copies],
                levels=self.experiment.search.levels,
                start=step,
                pruning=self.experiment.search.pruning,
            )
            states = [each.trained for each in trained]
        parameters = {*first_names(models[0]).values()}
        return [
            Pair(
                trial,
                (one, other),
                self._path(models[0], states[one], states[other]),
                distance_between(states[one], states[other], parameters),
                angle_between(states[one], states[other], origin, parameters),
            )
            for one, other in combinations(range(self.copies), 2)
        ]

    def _fresh(self, trial: int) -> nn.Module:
        (model,) = self.experiment.models_of(self.run, [trial])
        return copy.deepcopy(model)

    def _train(self, models: Sequence[nn.Module], level: Level, trial: int) -> list[Metrics]:
        draw, copies = self.experiment.recipe.run.stability_generator, range(len(models))
        train_population(
            models,
            self.experiment.data,
            self._plan,
            [draw("order", trial, copy) for copy in copies],
            noises=[draw("noise", trial, copy) for copy in copies],
            augmenters=[draw("augment", trial, copy) for copy in copies],
            start=level.start,
        )
        return [{} for _ in models]

    def _path(self, model: nn.Module, one: State, other: State) -> LinearPath:
        data, plan = self.experiment.data, self._plan
        x, y = data.x_train[: self.samples], data.y_train[: self.samples]
        size = min(plan.batch_size, len(x))

        def measure(model: nn.Module) -> dict[str, tuple[float, float]]:
            splits = {"train": (x, y), "test": (data.x_test, data.y_test)}
            measured = {name: evaluate(model, *split, data.tasks) for name, split in splits.items()}
            return {name: (1 - each.acc, each.loss) for name, each in measured.items()}

        with plan.autocast(x.device):
            batches = [batch for batch in torch.split(x, size) if len(batch) == size]
            return follow_path(model, one, other, measure, batches=batches, points=self.points)


def _check_steps(run: Run, at: Sequence[int]) -> tuple[int, ...]:
    """Return the steps at which copies are made, or raise an error."""
    last = run.recipe().train.steps
    steps = tuple(whole_number("a step of at", step) for step in at)
    listed = ", ".join(map(str, steps)) or "nothing"
    if not steps or any(step >= after for step, after in pairwise(steps)):
        raise PruningError(
            f"at = {listed}: list the steps in ascending order, each once, as in 0, 100, 500; at least one."
        )
    assert isinstance(last, int)  # the stored recipe's lengths are in steps
    if steps[-1] > last:
        raise PruningError(f"at = {listed}: the training of {run.folder} ends at step {last:,}. Leave out later steps.")
    return steps


def _check_levels(run: Run, levels: Sequence[int] | None) -> tuple[int, ...]:
    """Return the levels whose masks the copies have, or raise an error."""
    run.check_searched("Measure the stability")
    run.check_whole("Measure the stability")
    run.check_started()
    rewind = run.recipe().prune.rewind
    keeps = rewind in ("lr", "none")
    if levels is None:
        return tuple(sorted({0, 0 if keeps else run.tickets.finished - 1}))
    chosen = tuple(whole_number("a level", level) for level in levels)
    if not chosen or len(set(chosen)) < len(chosen):
        raise PruningError(f"levels = {', '.join(map(str, chosen)) or 'none'}: list at least one level, and each once.")
    run.check_level(max(chosen))
    if keeps and max(chosen):
        raise RecipeError(
            f"the tickets of {run.folder} keep their trained weights (prune.rewind = {rewind!r}), so they do not start "
            "from a step of the dense training. Measure level 0 alone, or a run that rewinds."
        )
    return tuple(sorted(chosen))


def _check_samples(samples: int | None, there: int) -> None:
    if samples is not None and samples > there:
        raise PruningError(f"samples = {samples:,}: there are {there:,} training samples. Give at most as many.")
