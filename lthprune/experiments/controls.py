"""Controls of a run: the same experiment with one thing replaced by chance, or by an alternative.

A control takes masks, data, data order and evaluation from the run that it controls. It is a run of its own in the
folder ``controls`` of that run, with the same trials and levels, so whatever reads runs reads controls.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from lthprune.arguments import check_word, whole_number
from lthprune.errors import RecipeError
from lthprune.experiments.before_training import masks_before_training
from lthprune.experiments.control_kinds import (
    BEFORE_TRAINING,
    CONTROLS,
    DENSITIES,
    EARLY_BIRDS,
    FROM_NOTHING,
    OWN_DENSE,
    WITHOUT_CHANCE,
    refuse_control,
)
from lthprune.experiments.early_birds import draw_early_birds
from lthprune.experiments.environment import find_device, warn_of_other_roundings
from lthprune.experiments.execution import (
    begin_inside,
    collect_levels,
    end_inside,
    of_every_trial,
    starts_inside,
)
from lthprune.experiments.experiment import Experiment, Place, Watcher, prepare_run, train_level
from lthprune.experiments.run import Run
from lthprune.experiments.threads import torch_threads
from lthprune.models import ModelSpec, build_model, narrow_to
from lthprune.pruning import (
    Candidate,
    Masks,
    Score,
    State,
    current_masks,
    name_of,
    score_named,
    snapshot,
)
from lthprune.search import (
    Diverged,
    Failure,
    Level,
    Metrics,
    Rewinder,
    Ticket,
    imp_levels,
    osp_levels,
    randomly_masked,
    reinitialised,
    retrain_levels,
    with_constant_magnitude,
    with_other_masks,
    with_signs_kept,
)


def run_control(
    run: Run,
    kind: str,
    repeat: int = 0,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    from_level: int | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Train a control of a run at each of its finished levels, or resume it after its own last finished level.

    Only the random stream ``control`` differs from the run: weights or masks are drawn from it or, for
    ``dense-longer``, the order of the samples after the first training. Level 0 is the run's, except where the control
    changes the dense network's weights, too.

    Args:
        run: the run to control.
        kind: a key of ``CONTROLS``.
        repeat: the number of the repetition, from 0. Each one draws anew.
        data_dir: the data root; by default that of the run, or of the control if it began before.
        device: ``cpu`` or ``cuda``; by default likewise.
        threads: the number of threads to compute with; by default likewise.
        from_level: a finished level of the control, to train it and those after it again.
        watcher: functions to call while the control is trained.

    Returns:
        The control, in the folder ``controls/KIND-REPEAT`` of the run.

    Raises:
        PruningError: the kind is unknown, or ``repeat`` is no number.
        RecipeError: the kind does not apply to this run.
        StorageError: the run is itself a control, no level of it is finished, or a file is damaged.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = run_recipe(recipe, "short", out=folder)
        ...     control = run_control(run, "reinitialised")
        ...     [level.left for level in control.summary()]
        [50200, 40260]
    """
    check_word("control", kind, CONTROLS)
    repeat = whole_number("repeat", repeat)
    refuse_control(run, kind)
    if kind in WITHOUT_CHANCE and repeat:
        raise RecipeError(f"the control {kind!r} draws nothing at random, so a repetition would equal the first.")
    folder = run.folder / "controls" / f"{kind}-{repeat}"
    before = Run(folder) if (folder / "manifest.json").is_file() else run
    place = Place.of(before, data_dir, device, threads)
    with torch_threads(place.threads):
        experiment = prepare_run(run, place)
        now = experiment.environment(find_device(place.device), place.threads)
        warn_of_other_roundings(run.recorded(), now)
        begun = run.tickets.manifest()["search"] | {"control": {"kind": kind, "repeat": repeat}}
        with begin_inside(run, folder, recipe=run.recipe(), begun=begun, environment=now) as control:
            if from_level is not None:
                control.tickets.go_back(from_level)
            job = _Control(experiment, run, control, kind, repeat, watcher or Watcher())
            job.watcher.on_begin(control)
            trained_on = find_device(place.device)
            if not control.tickets.finished and kind not in OWN_DENSE:
                collect_levels(iter([run.tickets.level(0)]), control, [], trained_on, job.watcher)
            missing = max(0, run.tickets.finished - control.tickets.finished)  # a run that went back may have fewer
            if control.tickets.ended is None:
                collect_levels(islice(job.levels(), missing), control, job.failures, trained_on, job.watcher)
            end_inside(run, control, "the run that it controls ended there")
    return control


@dataclass(frozen=True)
class _Control:
    """A control in training: the tickets of its levels, from the first that it lacks."""

    experiment: Experiment
    run: Run
    control: Run
    kind: str
    repeat: int
    watcher: Watcher
    failures: list[Failure] = field(default_factory=list)

    def levels(self) -> Iterator[tuple[Ticket, ...]]:
        """Train and yield level after level."""
        if self.kind in ("one-shot", "inverted"):
            return self._search()
        if self.kind == "small-dense":
            return self._narrower()
        if self.kind in EARLY_BIRDS:
            return self._early_birds()
        starts = (of_every_trial(self.run, self._starts(level)) for level in self._missing())
        return self._retrain(self.experiment.models, starts)

    def _missing(self) -> range:
        return range(self.control.tickets.finished, self.run.tickets.finished)

    def _search(self) -> Iterator[tuple[Ticket, ...]]:
        """Prune the run's dense network once more, in one shot or by inverted scores."""
        search, driver = self.experiment.search, self.experiment.recipe.prune.method
        if self.kind == "one-shot":
            driver = "osp"
        else:
            search = replace(search, pruning=replace(search.pruning, score=_Inverted(search.pruning.score)))
        stored = self.control.tickets.load()
        found = (imp_levels if driver == "imp" else osp_levels)(
            self.experiment.models_of(self.control, stored.trials),
            lambda models, level: train_level(self.experiment, self.control, models, level, self.watcher),
            search,
            stored,
            self.failures.append,
        )
        return found

    def _retrain(
        self, models: Sequence[nn.Module], starts: Iterable[Sequence[Ticket | None]]
    ) -> Iterator[tuple[Ticket, ...]]:
        rewind, search = self.experiment.search.rewind, self.experiment.search
        late = rewind.at if isinstance(rewind, Rewinder) and self.kind not in FROM_NOTHING else 0
        fine_tuned = rewind == "none" and self.kind not in FROM_NOTHING  # at the last learning rate, as the run is
        experiment = replace(self.experiment, search=replace(search, rewind="none" if fine_tuned else "init"))
        return retrain_levels(
            models,
            lambda models, level: train_level(
                experiment, self.control, models, level, self.watcher, self._orders(level)
            ),
            starts,
            levels=search.levels,
            start=late,
            pruning=search.pruning,
            on_failure=self.failures.append,
        )

    def _orders(self, level: Level) -> list[torch.Generator] | None:
        return self._generators(level.trials, level.number) if self.kind == "dense-longer" else None

    def _generators(self, trials: Iterable[int], level: int = 0) -> list[torch.Generator]:
        return [self.experiment.recipe.run.control_generator(trial, self.repeat, level) for trial in trials]

    def _starts(self, level: int) -> list[Ticket]:
        """Return what the remaining trials of a level start from."""
        tickets = starts_inside(self.run, self.control, level)
        trials = [ticket.trial for ticket in tickets]
        dense = [ticket for ticket in self.run.tickets.open(0) if ticket.trial in trials]
        if self.kind == "dense-longer":
            before = [ticket for ticket in self.control.tickets.open(level - 1) if ticket.trial in trials]
            return [_dense(level, first.masks, last.trained, first) for first, last in zip(dense, before, strict=True)]
        if self.kind == "constant":
            return [with_constant_magnitude(ticket, first) for ticket, first in zip(tickets, dense, strict=True)]
        if self.kind in DENSITIES:  # the same draws at every level, so that masks are nested as the run's are
            return [
                randomly_masked(ticket, first, DENSITIES[self.kind], generator)
                for ticket, first, generator in zip(tickets, dense, self._generators(trials), strict=True)
            ]
        if self.kind in BEFORE_TRAINING:
            return [self._masked(*each) for each in zip(tickets, dense, self._generators(trials), strict=True)]
        redraw = reinitialised if self.kind == "reinitialised" else with_signs_kept
        spec = self.experiment.recipe.model
        return [
            redraw(ticket, self._build(spec, generator))
            for ticket, generator in zip(tickets, self._generators(trials, level), strict=True)
        ]

    def _masked(self, ticket: Ticket, first: Ticket, generator: torch.Generator) -> Ticket:
        """Return the weights that the ticket rewinds to, with masks that a criterion chooses from them."""
        experiment = self.experiment
        model = first.apply(self._build(experiment.recipe.model, torch.Generator()).to(self._device))
        pruning, data = experiment.search.pruning, experiment.data
        masks = masks_before_training(BEFORE_TRAINING[self.kind], model, ticket, pruning, data, generator)
        return with_other_masks(ticket, first, {name: masks[name] for name in ticket.masks}, self.kind)

    def _narrower(self) -> Iterator[tuple[Ticket, ...]]:
        """Train narrower networks, each level's with about as many weights as its tickets have."""
        pruning, spec = self.experiment.search.pruning, self.experiment.recipe.model

        @functools.cache
        def count(spec: ModelSpec) -> int:
            return sum(tensor.parameter.numel() for tensor in pruning.tensors(self._build(spec, torch.Generator())))

        for level in self._missing():
            (left,) = {ticket.left for ticket in self.run.tickets.open(level)}
            small = narrow_to(spec, left, count)
            trials = [ticket.trial for ticket in starts_inside(self.run, self.control, level)]
            models = [self._build(small, generator) for generator in self._generators(trials, level)]
            starts = []
            dense = [ticket for ticket in self.run.tickets.open(0) if ticket.trial in trials]
            for model, ticket in zip(models, dense, strict=True):
                masks = current_masks(pruning.tensors(model))
                starts.append(_dense(level, masks, snapshot(model), ticket))
            yield from self._retrain([model.to(self._device) for model in models], [starts])

    def _early_birds(self) -> Iterator[tuple[Ticket, ...]]:
        """Draw tickets from the first epochs of dense trainings, and train each on from the step it was drawn at."""
        search, initial = self.experiment.search, self.run.tickets.initial()
        from_nothing = replace(search, rewind="init")  # no rewind point of the run counts
        experiment = replace(self.experiment, search=from_nothing)
        for number in self._missing():
            layerwise, tickets = EARLY_BIRDS[self.kind], starts_inside(self.run, self.control, number)
            drawn = draw_early_birds(experiment, tickets, initial, layerwise=layerwise, trust_code=self.run.trust_code)
            steps = [ticket.provenance["early_bird"]["step"] for ticket in drawn]

            def train_on(
                models: Sequence[nn.Module], level: Level, steps: Sequence[int] = steps
            ) -> list[Metrics | Diverged]:
                return [
                    train_level(
                        experiment, self.control, [model], replace(level, start=step, trials=(trial,)), self.watcher
                    )[0]
                    for model, step, trial in zip(models, steps, level.trials, strict=True)
                ]

            yield from retrain_levels(
                experiment.models,
                train_on,
                [of_every_trial(self.run, drawn)],
                levels=search.levels,
                pruning=search.pruning,
                on_failure=self.failures.append,
            )

    @property
    def _device(self) -> torch.device:
        return self.experiment.data.x_train.device

    def _build(self, spec: ModelSpec, generator: torch.Generator) -> nn.Module:
        data, recipe = self.experiment.data, self.experiment.recipe
        return build_model(
            spec,
            data.input_shape,
            data.outputs,
            generator,
            samples=min(2, recipe.train.batch_size),
            trust_code=self.run.trust_code,
        )


def _dense(level: int, masks: Masks, weights: State, like: Ticket) -> Ticket:
    """Return the starting point of a dense network."""
    return Ticket(level, masks, weights, weights, provenance=like.provenance, late_buffers=like.late_buffers)


class _Inverted:
    """A score that prunes what another one keeps."""

    def __init__(self, score: Score | str) -> None:
        self._score = score_named(score)
        self.__qualname__ = f"inverted({name_of(score)})"

    def __call__(self, candidate: Candidate) -> Tensor:
        return -self._score(candidate)
