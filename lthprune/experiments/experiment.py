"""The objects of a recipe: data, models, search; and the training of a level."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lthprune.data import Dataset, Task, data_root, load_data
from lthprune.errors import DivergedWarning, RecipeError, StorageError, warn_caller
from lthprune.experiments.checkpoint_files import checkpoint_in
from lthprune.experiments.collapse import find_collapse
from lthprune.experiments.environment import describe_environment, find_device
from lthprune.experiments.memory_needed import check_training_memory
from lthprune.experiments.preview import LoadData, Preview, preview_recipe
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.experiments.run_folder import name_trials
from lthprune.search import LOWER_RATE, Diverged, Failure, Level, Metrics, Rewinder, Search, Ticket
from lthprune.training import (
    Evaluation,
    Training,
    check_batches,
    check_engine,
    train_population,
    warn_of_emulation,
)


def warn_of_divergence(failure: Failure) -> None:
    """Warn that a trial is not trained any further."""
    warn_caller(f"{failure}. This trial ends there. {LOWER_RATE}", DivergedWarning)


@dataclass(frozen=True)
class Watcher:
    """Functions to call while a recipe runs.

    Attributes:
        on_begin: called with the run, once its directory exists.
        on_evaluation: called with the level, the trial and the evaluation.
        on_diverged: called with each trial whose training diverged, as soon as that is found. By default it warns.
        on_level: called with the tickets of a finished level, one for each trial that goes on.
    """

    on_begin: Callable[[Run], object] = lambda run: None
    on_evaluation: Callable[[int, int, Evaluation], object] = lambda level, trial, evaluation: None
    on_diverged: Callable[[Failure], object] = warn_of_divergence
    on_level: Callable[[Sequence[Ticket]], object] = lambda tickets: None


@dataclass(frozen=True)
class Place:
    """Where the data are, and what is trained on.

    Attributes:
        data_dir: the data root.
        device: ``cpu`` or ``cuda``.
        threads: the number of threads that was asked for.
    """

    data_dir: str | Path | None
    device: str
    threads: int | None

    @classmethod
    def of(cls, run: Run, data_dir: str | Path | None, device: str | None, threads: int | None) -> "Place":
        """Return the given settings, and those that a run began with where they are None."""
        before = run.recorded()
        return cls(
            data_dir or before.get("data_dir"),
            device or str(before.get("device", "cpu")),
            before.get("threads_asked") if threads is None else threads,
        )


@dataclass(frozen=True)
class Experiment:
    """The objects of a recipe: the data, a model for every trial, the search.

    Attributes:
        recipe: with its lengths in steps and its levels worked out.
        data: on the device of the models.
        models: one for each trial.
        search: what the recipe's ``[prune]`` table declares.
        data_dir: the data root.
        trials: the number of each model's trial.
    """

    recipe: Recipe
    data: Dataset
    models: list[nn.Module]
    search: Search
    data_dir: str | Path | None
    trials: tuple[int, ...]

    def provenance(self, recipe_name: str) -> dict[str, Any]:
        """Return what must be the same when the run is resumed: the settings and the data."""
        return {
            "recipe": recipe_name,
            "settings": self.recipe.settings(),
            "data": self.data.fingerprint,
        }

    def models_of(self, run: Run, trials: Sequence[int]) -> list[nn.Module]:
        """Return the models of some trials of a run, by their numbers."""
        models = dict(zip(run.tickets.trials(), self.models, strict=True))
        return [models[trial] for trial in trials]

    def check_data(self, run: Run) -> None:
        """Check that the data are those that a run began with.

        Raises:
            StorageError: their files were changed or replaced.
        """
        if run.tickets.manifest()["search"]["data"] != self.data.fingerprint:
            where = "" if self.data_dir is None else f" The data root is {self.data_dir}."
            raise StorageError(
                f"the data of {run.folder}, {self.recipe.data.name}, are not those that it began with: their files "
                f"were changed or replaced. Put the original ones back, or start a new run.{where}"
            )

    def environment(self, device: torch.device, threads: int | None) -> dict[str, Any]:
        """Return the contents of ``environment.json`` for a run that begins now, with so many ``threads`` asked for."""
        described = describe_environment(device, self.data_dir, threads)
        return described | {"train_samples": len(self.data.x_train)}


def prepare(
    recipe: Recipe | Preview,
    *,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    trust_code: bool = True,
    load: LoadData | None = None,
    trials: Sequence[int] | None = None,
) -> Experiment:
    """Load the data and build the models of a recipe, or of its preview.

    Args:
        recipe: the recipe, or what ``preview_recipe`` returned for it.
        data_dir: the data root.
        device: ``cpu`` or ``cuda``.
        trust_code: whether functions of your own that the recipe names may be imported.
        load: replaces ``load_data``, for several recipes that share data.
        trials: the numbers of the trials to build models for; by default all of the recipe's.

    Raises:
        LthpruneError: the data are missing, the model does not fit them, the pruning does not fit the model, or the
            recipe has no such trials.
    """
    place, load = find_device(device), load or load_data
    if isinstance(recipe, Preview):
        if data_dir is not None and data_root(recipe.data_dir) != data_root(data_dir):
            raise RecipeError(
                f"the preview was made with data_dir = {recipe.data_dir}, not {data_dir}. Pass the same data_dir to "
                "preview_recipe, or leave it out here."
            )
        data_dir = recipe.data_dir
    words: dict[str, Any] = {"data_dir": data_dir, "trust_code": trust_code}
    preview = recipe if isinstance(recipe, Preview) else preview_recipe(recipe, **words, load=load)
    recipe, data = preview.recipe, preview.data
    chosen = chosen_trials(recipe, trials)
    if data is None:
        data = load(recipe.data, seed=recipe.run.first_seed, **words)
    check_batches(len(data.x_train), recipe.train.batch_size)
    models: list[nn.Module] = []
    for trial in chosen:
        models.append(recipe.build_model(data.input_shape, data.outputs, trial, trust_code=trust_code).to(place))
        if len(models) == 1 and place.type == "cpu":
            check_training_memory(recipe, len(chosen), models[0], data.input_shape)
    check_engine(models[0], recipe.train, place)
    warn_of_emulation(recipe.train.precision, place)
    return Experiment(recipe, data.to(place), models, preview.search, data_dir, chosen)


def chosen_trials(recipe: Recipe, trials: Sequence[int] | None) -> tuple[int, ...]:
    """Return the numbers of these trials of a recipe, ascending; by default of all.

    Raises:
        RecipeError: there is none, or the recipe has no trial of such a number.

    Examples:
        >>> from lthprune import load_recipe
        >>> chosen_trials(load_recipe("lenet-digits"), [3, 1])
        (1, 3)
    """
    known = range(recipe.run.trials)
    if trials is None:
        return tuple(known)
    unknown = next((trial for trial in trials if trial not in known), None)
    if unknown is not None or not len(trials):
        said = "there is no trial to train" if unknown is None else f"there is no trial {unknown} to train"
        raise RecipeError(
            f"{said}: the recipe has {name_trials(known)}. Choose from these, or set run.trials for more."
        )
    return tuple(sorted(set(trials)))


def prepare_run(run: Run, place: Place) -> Experiment:
    """Load the data and build the models of a run that has begun.

    Raises:
        LthpruneError: as ``prepare``.
        StorageError: the data or the settings are not those that the run began with.
    """
    experiment = prepare(
        run.recipe(),
        data_dir=place.data_dir,
        device=place.device,
        trust_code=run.trust_code,
        trials=run.tickets.trials(),
    )
    experiment.check_data(run)
    begun = run.tickets.manifest()["search"]
    run.tickets.check(begun | experiment.provenance(run.recipe_name) | {"settings": run.settings})
    return experiment


def train_level(
    experiment: Experiment,
    run: Run,
    models: Sequence[nn.Module],
    level: Level,
    watcher: Watcher,
    orders: Sequence[torch.Generator] | None = None,
) -> list[Metrics | Diverged]:
    """Train the trials of one level side by side, and return their metrics, or why a training diverged.

    Args:
        experiment: data and plan.
        run: the run that the level is of; its folder holds the checkpoints.
        models: one for each trial.
        level: its number, the step to start from, and the numbers of the trials.
        watcher: whose ``on_evaluation`` and ``on_diverged`` are called.
        orders: the order of the samples, for each trial; by default the recipe's.
    """
    recipe, rewind = experiment.recipe, experiment.search.rewind
    late, manifest = rewind if isinstance(rewind, Rewinder) else None, run.tickets.manifest()
    trained = train_population(
        models,
        experiment.data,
        recipe.train,
        orders or [recipe.run.generator("order", trial) for trial in level.trials],  # the same at every level
        noises=[recipe.run.generator("noise", trial) for trial in level.trials],
        augmenters=[recipe.run.generator("augment", trial) for trial in level.trials],
        start=level.start,
        no_stop_before=late.at if late is not None else 0,
        fine_tune=rewind == "none" and level.number > 0,
        keep_early_stop=recipe.run.keep_early_stop,
        on_steps=(lambda place, steps: late.step(models[place], steps)) if late is not None else None,
        on_evaluation=lambda place, measured: watcher.on_evaluation(level.number, level.trials[place], measured),
        checkpoints=lambda place, trainer: checkpoint_in(run.folder, manifest, level, place, trainer),
        on_diverged=lambda place, why: watcher.on_diverged(Failure.of(why, level.trials[place], level.number)),
    )
    return [
        done.diverged or _metrics(done, model, experiment.data) for model, done in zip(models, trained, strict=True)
    ]


def _metrics(done: Training, model: nn.Module, data: Dataset) -> Metrics:
    """Return the metrics of a training, with how the trained network has failed if it has."""
    failed = find_collapse(model, data)
    return (
        {
            "engine": done.engine,
            "early_stop_step": done.early_stop,
            "val_loss": done.at_early_stop("val_loss"),
            "val_acc": done.at_early_stop("val_acc"),
            "test_acc": done.at_early_stop("test_acc"),
            "history": done.history,
        }
        | _of_each_task(data.tasks, done)
        | ({"early_stop_state": done.early_stop_state} if done.early_stop_state is not None else {})
        | ({"failure": {"kind": failed[0], "reason": failed[1]}} if failed is not None else {})
    )


def _of_each_task(tasks: Sequence[Task], done: Training) -> Metrics:
    """Return every task's accuracies at the early-stopping step; nothing if there is only one task."""
    if len(tasks) == 1:
        return {}
    measured = {"val_acc": "task_val_acc", "test_acc": "task_test_acc"}
    return {
        "tasks": {
            task.name: {name: done.at_early_stop(history, place) for name, history in measured.items()}
            for place, task in enumerate(tasks)
        }
    }
