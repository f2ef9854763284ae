"""From a recipe to a finished run."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lthprune.analysis import find_splitting, neuron_states
from lthprune.data import load_data
from lthprune.errors import StorageError
from lthprune.experiments.checkpoint_files import remove_checkpoints
from lthprune.experiments.environment import find_device, peak_memory_mb, warn_of_other_roundings
from lthprune.experiments.experiment import Experiment, Place, Watcher, prepare, train_level
from lthprune.experiments.folders import create_run, new_folder
from lthprune.experiments.pretraining import pretrain
from lthprune.experiments.preview import LoadData, Preview
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.experiments.threads import torch_threads
from lthprune.pruning import snapshot
from lthprune.search import ALL_DIVERGED, Failure, Ticket, imp_levels, osp_levels
from lthprune.training import stored_plan
from lthprune.writing import check_contents, only_writer


def run_recipe(
    recipe: Recipe | Preview,
    name: str,
    *,
    data_dir: str | Path | None = None,
    out: str | Path = "runs",
    device: str = "cpu",
    threads: int | None = None,
    trials: Sequence[int] | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Run a recipe from the beginning, in a new directory in ``out``.

    Functions of your own that the recipe names are imported.

    Args:
        recipe: the recipe, or what ``preview_recipe`` returned for it.
        name: of the recipe, from which the run's name follows.
        data_dir: the data root; by default the environment's ``LTHPRUNE_DATA``, else ``~/.cache/lthprune``.
        out: the folder that the run's directory is made in.
        device: ``cpu`` or ``cuda``.
        threads: the number of threads that torch computes with, from 1 to the number of cores; by default torch's
            present number, ``torch.get_num_threads()``, which stays as it is for the caller in both cases.
        trials: the numbers of the trials to run, as in ``range(2, 4)``; by default all of the recipe's. A run of some
            trials is a piece, and [`merge_runs`][lthprune.experiments.merge_runs] joins all pieces of a run.
        watcher: functions to call while the recipe runs.

    Raises:
        LthpruneError: the recipe, the data, the threads or the folder is refused, before a directory is made.
    """
    folder = new_folder(out, name)
    return run_in(
        folder, recipe, name, data_dir=data_dir, device=device, threads=threads, trials=trials, watcher=watcher
    )


def run_in(
    folder: Path,
    recipe: Recipe | Preview,
    name: str,
    *,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    trials: Sequence[int] | None = None,
    watcher: Watcher | None = None,
    load: LoadData | None = None,
) -> Run:
    """Run a recipe from the beginning, in this run directory; ``load`` is as for ``prepare``."""
    words: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}
    with begin_in(folder, recipe, name, trials=trials, load=load, **words) as (experiment, run):
        _descend(experiment, run, watcher or Watcher())
    return run


@contextmanager
def begin_in(
    folder: Path,
    recipe: Recipe | Preview,
    name: str,
    *,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    trials: Sequence[int] | None = None,
    load: LoadData | None = None,
) -> Iterator[tuple[Experiment, Run]]:
    """Begin a run in this directory, to write there alone; ``load`` is as for ``prepare``."""
    with torch_threads(threads):
        experiment = prepare(recipe, data_dir=data_dir, device=device, load=load, trials=trials)
        recipe, data_dir = experiment.recipe, experiment.data_dir
        if recipe.pretrain is not None:
            load, place = load or load_data, find_device(device)
            with deterministic_convolutions():
                models, numbers = experiment.models, experiment.trials
                pretrain(recipe, recipe.pretrain, models, numbers, place, load=load, data_dir=data_dir)
        with only_writer(folder):
            run = create_run(recipe, folder)
            run.write_environment(experiment.environment(find_device(device), threads))
            states = [snapshot(model) for model in experiment.models]
            run.tickets.begin(experiment.provenance(name), states, [{} for _ in states], experiment.trials)
            yield experiment, run


def resume_run(
    run: Run,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    from_level: int | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Resume a run after its last finished level, and within a level from its last checkpoint, to the same bits.

    Data, device and the number of threads that was asked for are those of the run by default. Another device, or
    another number of threads, rounds differently.
    Functions of your own that the run's recipe names are imported only for a ``Run(folder, trust_code=True)``.
    With ``from_level``, this level and those after it are trained again, as after damage to their files.

    Raises:
        StorageError: the folder is not a run, or a file in it is damaged or was changed.
        RecipeError: the recipe names functions of your own, and the run was opened without ``trust_code``.
        LthpruneError: the device or the number of threads is not available here.
    """
    with begin_again(run, Place.of(run, data_dir, device, threads), from_level) as experiment:
        _descend(experiment, run, watcher or Watcher())
        shutil.rmtree(run.pieces_folder, ignore_errors=True)  # what an interrupted cluster left
    return run


@contextmanager
def begin_again(run: Run, place: Place, from_level: int | None = None) -> Iterator[Experiment]:
    """Load what the run of a recipe is resumed with, to write to it alone; the errors are those of ``resume_run``."""
    if run.control is not None:
        raise StorageError(f"{run.folder} is a control. Resume it with run_control(run, {run.control['kind']!r}, ...).")
    if run.transfer is not None:
        raise StorageError(f"{run.folder} trains the tickets of another run. Resume it with resume_transfer(run).")
    recipe = run.recipe()
    if recipe.train.engine == "stacked":  # in runs of earlier versions this may stand for unhooked
        recipe = recipe.model_copy(update={"train": stored_plan(recipe.train, run.model())})
    with only_writer(run.folder), torch_threads(place.threads):
        experiment = prepare(
            recipe,
            data_dir=place.data_dir,
            device=place.device,
            trust_code=run.trust_code,
            trials=run.tickets.trials(),
        )
        experiment.check_data(run)
        run.tickets.check(experiment.provenance(run.recipe_name) | {"settings": run.settings})  # the recipe's
        before, now = run.recorded(), experiment.environment(find_device(place.device), place.threads)
        warn_of_other_roundings(before, now)
        if from_level is not None:  # forgotten only now that they can be trained again
            run.tickets.go_back(from_level)
        run.write_environment(before or now)
        run.write_missing_recipe()
        yield experiment


def _descend(experiment: Experiment, run: Run, watcher: Watcher) -> None:
    watcher.on_begin(run)
    levels = imp_levels if experiment.recipe.prune.method == "imp" else osp_levels
    stored, last = run.tickets.load(), last_pruning_level(experiment)
    failures: list[Failure] = []
    if run.tickets.ended is not None or ends(experiment, run, last, stored.last):
        found: Iterator[tuple[Ticket, ...]] = iter(())
    else:
        found = levels(
            experiment.models_of(run, stored.trials),
            lambda models, level: train_level(experiment, run, models, level, watcher),
            experiment.search,
            stored,
            failures.append,
        )
    del stored  # its initial weights, which the models have now
    device = experiment.data.x_train.device
    collect_levels(found, run, failures, device, watcher, lambda tickets: ends(experiment, run, last, tickets))


@contextmanager
def begin_inside(
    run: Run, folder: Path, *, recipe: Recipe, begun: Mapping[str, Any], environment: Mapping[str, Any]
) -> Iterator[Run]:
    """Write, alone, to a run inside the folder of another, whose initial weights it has; made if it has not begun yet.

    Raises:
        StorageError: the folder holds a run that began with something else, or another process writes to it.
    """
    check_contents(run.folder)
    with only_writer(folder):
        inside = Run(folder, trust_code=run.trust_code)
        if inside.tickets.exists:
            inside.tickets.check(begun)
            inside.write_environment(inside.recorded() or environment)
            inside.write_missing_recipe()
        else:
            create_run(recipe, folder)
            inside.write_environment(environment)
            initial = run.tickets.initial()
            inside.tickets.begin(begun, [*initial.values()], [{} for _ in initial], [*initial])
        yield inside


def starts_inside(run: Run, inside: Run, level: int) -> list[Ticket]:
    """Return the tickets of a level of the trials that a run inside another still trains."""
    finished = inside.tickets.finished
    trials = inside.tickets.trials(finished - 1 if finished else None)
    return [ticket for ticket in run.tickets.open(level) if ticket.trial in trials]


def of_every_trial(run: Run, tickets: Iterable[Ticket]) -> list[Ticket | None]:
    """Return the ticket of each trial that began, None for those that have none."""
    by_trial = {ticket.trial: ticket for ticket in tickets}
    return [by_trial.get(trial) for trial in run.tickets.trials()]


def end_inside(run: Run, inside: Run, reason: str) -> None:
    """Mark a run inside another as ended, if that has ended or none of its trials is left."""
    if inside.tickets.ended is not None:
        return
    if inside.tickets.finished < run.tickets.finished:
        inside.tickets.end("none of its trials is left")
    elif run.tickets.ended is not None:
        inside.tickets.end(reason)


def collect_levels(
    found: Iterator[tuple[Ticket, ...]],
    run: Run,
    failures: list[Failure],
    device: torch.device,
    watcher: Watcher,
    ends: Callable[[Sequence[Ticket]], bool] = lambda tickets: False,
) -> None:
    """Keep the tickets of each level in a run as they are found, until there are no more or a level ends the run.

    ``failures`` are those that were found while the next level was trained; each level takes its own from the list. If
    there are some after the last level, all trials have diverged.
    """
    histories = run.gather_histories()
    with deterministic_convolutions():
        started = time.perf_counter()
        for tickets in found:
            histories.record(tickets)
            failures += [ticket.failure for ticket in tickets if ticket.failure is not None]
            run.append(tickets, histories, failures)
            failures.clear()
            _account_for_level(run, tickets[0].level, device, time.perf_counter() - started)
            watcher.on_level(tickets)
            if ends(tickets):
                break
            started = time.perf_counter()
    histories.save(run.folder / "histories.npz")
    if failures:
        run.tickets.end(ALL_DIVERGED, failures)
    remove_checkpoints(run.folder)


def _account_for_level(run: Run, level: int, device: torch.device, seconds: float) -> None:
    """Record how long a level took, and the peak memory so far, in the run's environment."""
    environment = run.environment()
    environment.setdefault("seconds_per_level", {})[str(level)] = round(seconds, 3)
    peaks = (environment.get("peak_memory_mb"), peak_memory_mb(device))
    environment["peak_memory_mb"] = max((peak for peak in peaks if peak is not None), default=None)
    run.write_environment(environment)


def last_pruning_level(experiment: Experiment) -> int:
    """Return the last level that prunes; the models are dense."""
    search = experiment.search
    counts = search.pruning.counts(experiment.models[0], search.schedule, search.levels)
    return max((level for level in range(1, len(counts)) if counts[level] != counts[level - 1]), default=0)


def ends(experiment: Experiment, run: Run, last_pruning: int, tickets: Sequence[Ticket]) -> bool:
    """Return whether a level ends the run, and record that in the manifest.

    It does so if no later level prunes, or if it fulfils the recipe's ``stop_when``.
    """
    if not tickets:
        return False
    if last_pruning <= tickets[0].level < experiment.search.levels:
        left = f"{tickets[0].left:,} weight{'' if tickets[0].left == 1 else 's'}"
        run.tickets.end(f"no later level prunes any of the remaining {left}")
        return True
    condition = experiment.recipe.run.stop_when
    if condition is None or run.piece:  # the other trials of a piece decide as well
        return False
    model, data, coverage = experiment.models[0], experiment.data, experiment.recipe.run.coverage
    statuses = [
        find_splitting(neuron_states(model, data.x_train[:1], masks=each.masks), data.tasks, coverage=coverage).status
        for each in tickets
    ]
    reason = reason_to_end(condition, statuses)
    if reason is not None and run.tickets.ended is None:
        run.tickets.end(reason)
    return reason is not None


def reason_to_end(condition: str, statuses: Sequence[str]) -> str | None:
    """Return why a run ends at a level, given its ``stop_when`` and the splitting of each trial; None if it goes on.

    Examples:
        >>> reason_to_end("separated", ["separated", "degraded"])
        'the networks of all trials are separated or degraded'
    """
    if not all(status in (condition, "degraded") for status in statuses):
        return None
    words = "separated or degraded" if "separated" in statuses else "degraded"
    return f"the networks of all trials are {words}"


@contextmanager
def deterministic_convolutions() -> Iterator[None]:
    """Make cuDNN choose deterministic algorithms, and restore the caller's choice afterwards."""
    cudnn = torch.backends.cudnn
    before = (cudnn.benchmark, cudnn.deterministic)
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
