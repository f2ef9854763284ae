"""From a recipe to a finished run."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lthprune.analysis import find_splitting, neuron_states
from lthprune.data import load_data
from lthprune.errors import StorageError
from lthprune.experiments.environment import find_device, peak_memory_mb, warn_of_other_roundings
from lthprune.experiments.experiment import Experiment, Place, Watcher, prepare, train_level
from lthprune.experiments.folders import create_run, new_folder
from lthprune.experiments.pretraining import pretrain
from lthprune.experiments.preview import LoadData, Preview
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.experiments.threads import torch_threads
from lthprune.pruning import snapshot
from lthprune.search import Ticket, imp_levels, osp_levels
from lthprune.training import stored_plan
from lthprune.writing import check_links, only_writer


def run_recipe(
    recipe: Recipe | Preview,
    name: str,
    *,
    data_dir: str | Path | None = None,
    out: str | Path = "runs",
    device: str = "cpu",
    threads: int | None = None,
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
        watcher: functions to call while the recipe runs.

    Raises:
        LthpruneError: the recipe, the data, the threads or the folder is refused, before a directory is made.
    """
    folder = new_folder(out, name)
    return run_in(folder, recipe, name, data_dir=data_dir, device=device, threads=threads, watcher=watcher)


def run_in(
    folder: Path,
    recipe: Recipe | Preview,
    name: str,
    *,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    watcher: Watcher | None = None,
    load: LoadData | None = None,
) -> Run:
    """Run a recipe from the beginning, in this run directory; ``load`` is as for ``prepare``."""
    with torch_threads(threads):
        experiment = prepare(recipe, data_dir=data_dir, device=device, load=load)
        recipe, data_dir = experiment.recipe, experiment.data_dir
        if recipe.pretrain is not None:
            load, place = load or load_data, find_device(device)
            with deterministic_convolutions():
                pretrain(recipe, recipe.pretrain, experiment.models, place, load=load, data_dir=data_dir)
        with only_writer(folder):
            run = create_run(recipe, folder)
            run.write_environment(experiment.environment(find_device(device), threads))
            states = [snapshot(model) for model in experiment.models]
            run.tickets.begin(experiment.provenance(name), states, [{} for _ in states])
            _descend(experiment, run, watcher or Watcher())
    return run


def resume_run(
    run: Run,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Resume a run after its last finished level; it ends with the same bits as an uninterrupted one.

    Data, device and the number of threads that was asked for are those of the run by default. Another device, or
    another number of threads, rounds differently.
    Functions of your own that the run's recipe names are imported only for a ``Run(folder, trust_code=True)``.

    Raises:
        StorageError: the folder is not a run, or a file in it is damaged or was changed.
        RecipeError: the recipe names functions of your own, and the run was opened without ``trust_code``.
        LthpruneError: the device or the number of threads is not available here.
    """
    place = Place.of(run, data_dir, device, threads)
    if run.control is not None:
        raise StorageError(f"{run.folder} is a control. Resume it with run_control(run, {run.control['kind']!r}, ...).")
    if run.transfer is not None:
        raise StorageError(f"{run.folder} trains the tickets of another run. Resume it with resume_transfer(run).")
    recipe = run.recipe()
    if recipe.train.engine == "stacked":  # in runs of earlier versions this may stand for unhooked
        recipe = recipe.model_copy(update={"train": stored_plan(recipe.train, run.model())})
    with only_writer(run.folder), torch_threads(place.threads):
        experiment = prepare(recipe, data_dir=place.data_dir, device=place.device, trust_code=run.trust_code)
        experiment.check_data(run)
        run.tickets.check(experiment.provenance(run.recipe_name) | {"settings": run.settings})  # the recipe's
        before, now = run.recorded(), experiment.environment(find_device(place.device), place.threads)
        warn_of_other_roundings(before, now)
        run.write_environment(before or now)
        _descend(experiment, run, watcher or Watcher())
    return run


def _descend(experiment: Experiment, run: Run, watcher: Watcher) -> None:
    watcher.on_begin(run)
    levels = imp_levels if experiment.recipe.prune.method == "imp" else osp_levels
    stored = run.tickets.load()
    if _ended(experiment, run, stored.last):
        run.gather_histories().save(run.folder / "histories.npz")
        return
    found = levels(
        experiment.models,
        lambda models, level: train_level(experiment, models, level, watcher),
        experiment.search,
        stored,
    )
    del stored  # its initial weights, which the models have now
    collect_levels(
        found, run, experiment.data.x_train.device, watcher, lambda tickets: _ended(experiment, run, tickets)
    )


@contextmanager
def begin_inside(
    run: Run, folder: Path, *, recipe: Recipe, begun: Mapping[str, Any], environment: Mapping[str, Any]
) -> Iterator[Run]:
    """Write, alone, to a run inside the folder of another, whose initial weights it has; made if it has not begun yet.

    Raises:
        StorageError: the folder holds a run that began with something else, or another process writes to it.
    """
    check_links(run.folder)
    with only_writer(folder):
        inside = Run(folder, trust_code=run.trust_code)
        if inside.tickets.exists:
            inside.tickets.check(begun)
            inside.write_environment(inside.recorded() or environment)
        else:
            create_run(recipe, folder)
            inside.write_environment(environment)
            initial = run.tickets.load().initial
            inside.tickets.begin(begun, initial, [{} for _ in initial])
        yield inside


def collect_levels(
    found: Iterator[tuple[Ticket, ...]],
    run: Run,
    device: torch.device,
    watcher: Watcher,
    ends: Callable[[Sequence[Ticket]], bool] = lambda tickets: False,
) -> None:
    """Keep the tickets of each level in a run as they are found, until there are no more or a level ends the run."""
    histories = run.gather_histories()
    with deterministic_convolutions():
        started = time.perf_counter()
        for tickets in found:
            histories.record(tickets)
            run.append(tickets, histories)
            _account_for_level(run, tickets[0].level, device, time.perf_counter() - started)
            watcher.on_level(tickets)
            if ends(tickets):
                break
            started = time.perf_counter()
    histories.save(run.folder / "histories.npz")


def _account_for_level(run: Run, level: int, device: torch.device, seconds: float) -> None:
    """Record how long a level took, and the peak memory so far, in the run's environment."""
    environment = run.environment()
    environment.setdefault("seconds_per_level", {})[str(level)] = round(seconds, 3)
    peaks = (environment.get("peak_memory_mb"), peak_memory_mb(device))
    environment["peak_memory_mb"] = max((peak for peak in peaks if peak is not None), default=None)
    run.write_environment(environment)


def _ended(experiment: Experiment, run: Run, tickets: Sequence[Ticket]) -> bool:
    """Return whether a level fulfils the recipe's ``stop_when``, and record that in the manifest."""
    condition = experiment.recipe.run.stop_when
    if condition is None or not tickets:
        return False
    model, data, coverage = experiment.models[0], experiment.data, experiment.recipe.run.coverage
    statuses = [
        find_splitting(neuron_states(model, data.x_train[:1], masks=each.masks), data.tasks, coverage=coverage).status
        for each in tickets
    ]
    fulfilled = all(status in (condition, "degraded") for status in statuses)
    if fulfilled and run.tickets.ended is None:
        words = "separated or degraded" if "separated" in statuses else "degraded"
        run.tickets.end(f"the networks of all trials are {words}")
    return fulfilled


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
