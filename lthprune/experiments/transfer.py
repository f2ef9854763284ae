"""Transfer: the tickets of a run, trained by another recipe."""

import hashlib
import json
from pathlib import Path
from typing import Any

from lthprune.data import shape_of_data
from lthprune.errors import RecipeError, StorageError
from lthprune.experiments.environment import find_device, warn_of_other_roundings
from lthprune.experiments.execution import (
    begin_inside,
    collect_levels,
    end_inside,
    of_every_trial,
    starts_inside,
)
from lthprune.experiments.experiment import Place, Watcher, prepare, train_level
from lthprune.experiments.folders import fit_for_a_file
from lthprune.experiments.recipe import Recipe, parse_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.threads import torch_threads
from lthprune.pruning import check_fit
from lthprune.search import Failure, retrain_levels


def transfer_run(
    run: Run,
    recipe: Recipe,
    name: str,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Train the tickets of a run by another recipe; what was begun before is resumed after its last finished level.

    Do tickets carry over to other data or another optimiser (Morcos et al. 2019)? Each level starts from the masks and
    the rewound weights of the run's ticket and is trained from step 0 to the end, as the recipe says. Trials, seeds and
    the ``[prune]`` table, which describes the tickets, are those of the run.

    Args:
        run: the run whose tickets are trained; its finished levels.
        recipe: the data, network and training; its network needs the layers of the run's, with the same sizes.
        name: of the recipe.
        data_dir: the data root; by default that of the run.
        device: ``cpu`` or ``cuda``; by default that of the run.
        threads: the number of threads to compute with; by default that of the run.
        watcher: functions to call while the tickets are trained.

    Returns:
        A run, in the folder ``transfers/NAME-DIGEST`` of the run; the digest is that of all settings.

    Raises:
        RecipeError: the recipe pretrains, or stops when tasks are separated.
        StorageError: the tickets do not fit the recipe's network, the run is a control, no level of it is finished, or
            a file is damaged.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = run_recipe(recipe, "short", out=folder)
        ...     with_sgd = load_recipe("lenet-digits", ["train.steps=5", "train.optimizer=sgd"])
        ...     transferred = transfer_run(run, with_sgd, "sgd")
        ...     [level.left for level in transferred.summary()]
        [50200, 40260]
    """
    run.check_whole("Transfer the tickets")
    recipe = recipe_of_transfer(run, recipe, data_dir=data_dir)
    return _trained(run, recipe, name, None, Place.of(run, data_dir, device, threads), watcher or Watcher())


def resume_transfer(
    transferred: Run,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    from_level: int | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Resume what ``transfer_run`` began; it ends with the same bits as an uninterrupted one.

    Data, device and the number of threads are by default those that it began with. With ``from_level``, this level and
    those after it are trained again.

    Raises:
        StorageError: the folder is no transfer, or not in the folder ``transfers`` of the run that its tickets come
            from, or a file is damaged.
    """
    run = Run(transferred.folder.resolve().parents[1], trust_code=transferred.trust_code)
    if transferred.transfer is None or not run.tickets.exists or _origin(run) != transferred.transfer:
        raise StorageError(
            f"{transferred.folder} is not in the folder transfers of the run that its tickets come from. "
            "Move it there, and resume it there."
        )
    place = Place.of(transferred, data_dir, device, threads)
    recipe, name = transferred.recipe(), transferred.recipe_name
    return _trained(run, recipe, name, transferred, place, watcher or Watcher(), from_level)


def _trained(
    run: Run,
    recipe: Recipe,
    name: str,
    begun: Run | None,
    place: Place,
    watcher: Watcher,
    from_level: int | None = None,
) -> Run:
    """Train the tickets of a run by a recipe that describes them, in a new folder or in the one that was begun."""
    with torch_threads(place.threads):
        experiment = prepare(recipe, data_dir=place.data_dir, device=place.device, trust_code=run.trust_code)
        now = experiment.environment(find_device(place.device), place.threads)
        search = experiment.provenance(name) | {"transfer": _origin(run)}
        if begun is None:
            digest = hashlib.sha256(json.dumps(search, sort_keys=True).encode()).hexdigest()[:8]
            folder = run.folder / "transfers" / f"{fit_for_a_file(name)}-{digest}"
        else:  # the settings as they were stored, which may lack keys that are newer
            folder, search = begun.folder, search | {"settings": begun.settings}
        with begin_inside(run, folder, recipe=experiment.recipe, begun=search, environment=now) as transferred:
            warn_of_other_roundings(transferred.recorded(), now)
            if from_level is not None:
                transferred.tickets.go_back(from_level)
            watcher.on_begin(transferred)
            missing = range(transferred.tickets.finished, run.tickets.finished)
            failures: list[Failure] = []
            found = retrain_levels(
                experiment.models,
                lambda models, level: train_level(experiment, transferred, models, level, watcher),
                (of_every_trial(run, starts_inside(run, transferred, level)) for level in missing),
                levels=experiment.search.levels,
                pruning=experiment.search.pruning,
                on_failure=failures.append,
            )
            if transferred.tickets.ended is None:
                collect_levels(found, transferred, failures, find_device(place.device), watcher)
            end_inside(run, transferred, "the run that its tickets come from ended there")
    return transferred


def _origin(run: Run) -> dict[str, Any]:
    """Return what tells the tickets of a run from those of another: its dense networks, and how it rewinds."""
    return {"dense": run.tickets.manifest()["finished"][0], "rewind": run.settings["prune"]["rewind"]}


def recipe_of_transfer(run: Run, recipe: Recipe, *, data_dir: str | Path | None = None) -> Recipe:
    """Return a recipe with what describes the tickets of a run: its trials, seeds and pruning.

    The arguments and errors are those of ``transfer_run``.
    """
    if run.control is not None:
        raise StorageError(f"{run.folder} is a control, which has no tickets of its own. Name a run that searched.")
    run.check_started()
    own = run.recipe()
    if recipe.pretrain is not None or recipe.run.stop_when is not None:
        table = "[pretrain]" if recipe.pretrain is not None else "run.stop_when"
        raise RecipeError(
            f"{table} cannot be transferred to: every level starts from the weights of a ticket of {run.name}, and all "
            "its levels are trained. Leave it out of the recipe."
        )
    data_dir, dense = data_dir or run.data_dir, run.tickets.open(0)[0]
    shape = shape_of_data(recipe.data, data_dir=data_dir, trust_code=run.trust_code)
    model = recipe.build_model(*shape, trust_code=run.trust_code)
    check_fit(model, dense.weights, what=f"the run {run.name}", may_bring=dense.late_buffers)
    tables = {
        "prune": own.prune.model_copy(update={"rewind": "init"}),  # every level is trained from step 0
        "run": recipe.run.model_copy(update={"trials": own.run.trials, "seed": own.run.seed}),
    }
    settings = recipe.model_copy(update=tables).model_dump(mode="json", exclude_none=True)
    return parse_recipe(settings, "the recipe, with the pruning of the run,")
