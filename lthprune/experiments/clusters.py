"""Runs, controls and sweeps whose trials, controls and cells are jobs of a cluster."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from lthprune.data import data_root
from lthprune.experiments.control_kinds import refuse_control
from lthprune.experiments.controls import run_control
from lthprune.experiments.execution import begin_again, begin_in, ends, last_pruning_level, resume_run
from lthprune.experiments.experiment import Experiment, Place, Watcher
from lthprune.experiments.folders import new_folder
from lthprune.experiments.jobs import Cluster, Job, read_files, write_files
from lthprune.experiments.merging import end_of_pieces, join_level, joined_environment, warn_of_mixed_roundings
from lthprune.experiments.preview import Preview, preview_recipe
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.experiments.spec import ResourceSpec
from lthprune.experiments.spreading import Task, spread
from lthprune.experiments.sweep import Cell, Sweep, keeping_the_last
from lthprune.search import end_joined, split_off
from lthprune.writing import only_writer


def run_recipe_on(
    cluster: Cluster,
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
    """Run a recipe as ``run_recipe`` does, each trial as a job of a cluster; the result has the same bits.

    Data are read, and networks initialised and pretrained, on this machine too.

    Args:
        cluster: the machines, as in ``RayCluster()``.
        recipe: the recipe, or what ``preview_recipe`` returned for it.
        name: of the recipe, from which the run's name follows.
        data_dir: the data root, on this machine and on all others; by default that of each machine.
        out: the folder that the run's directory is made in.
        device: what workers train on: ``cpu`` or ``cuda``.
        threads: the number of threads of each job; by default its number of CPUs, ``resources.cpus`` of the recipe.
        trials: the numbers of the trials to run; by default all of the recipe's.
        watcher: functions to call while the recipe runs.

    Raises:
        LthpruneError: the recipe, the data or the folder is refused, here or by a worker; or workers are lost again and
            again.
    """
    with begin_in(new_folder(out, name), recipe, name, data_dir=data_dir, trials=trials) as (experiment, run):
        place = Place(data_dir, device, threads)
        _Trials(cluster, experiment, run, place, watcher or Watcher()).train()
    return run


def resume_run_on(
    cluster: Cluster,
    run: Run,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    from_level: int | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Resume a run as ``resume_run`` does, each trial as a job of a cluster; it ends with the same bits.

    Trials that were interrupted on a cluster continue after their own last finished levels. The arguments are those of
    ``run_recipe_on`` and ``resume_run``; the device is by default that of the run.
    """
    device = device or str(run.recorded().get("device", "cpu"))
    with begin_again(run, Place(data_dir or run.data_dir, "cpu", None), from_level) as experiment:
        if from_level is not None:
            shutil.rmtree(run.pieces_folder, ignore_errors=True)  # which have the levels that the run has forgotten
        _Trials(cluster, experiment, run, Place(data_dir, device, threads), watcher or Watcher()).train()
    return run


def run_controls_on(
    cluster: Cluster,
    run: Run,
    controls: Sequence[tuple[str, int]],
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    watch: Callable[[str, int], Watcher] = lambda kind, repeat: Watcher(),
) -> list[Run]:
    """Train controls of a run as ``run_control`` does, each as a job of a cluster; they have the same bits.

    Args:
        cluster: the machines.
        run: the run to control.
        controls: kinds and repetitions, as ``plan_controls`` returns them.
        data_dir: the data root, on all machines; by default that of each machine.
        device: what workers train on; by default the device of the run.
        threads: the number of threads of each job; by default its number of CPUs.
        watch: returns the watcher of a kind and repetition.

    Raises:
        LthpruneError: as of ``run_control`` and ``run_recipe_on``.
    """
    for kind, _ in controls:
        refuse_control(run, kind)
    resources = run.recipe().resources
    place = Place(data_dir, device or str(run.recorded().get("device", "cpu")), _threads(threads, resources))
    base, done = _files_of(run.folder), []
    with ExitStack() as locks:

        def task(kind: str, repeat: int) -> Task:
            inside = f"controls/{kind}-{repeat}"
            folder = run.folder / inside
            locks.enter_context(only_writer(folder))
            done.append(Run(folder, trust_code=run.trust_code))
            work = partial(_control, kind=kind, repeat=repeat, place=place, trust_code=run.trust_code)

            def job() -> Job:
                begun = {f"{inside}/{path}": data for path, data in _files_of(folder).items()}
                return Job(f"{kind}-{repeat}", (base, begun), work, inside, str(run.folder))

            return Task(job, folder, watch(kind, repeat))

        spread(cluster, (task(*each) for each in controls), resources)
    return done


def run_sweep_on(
    cluster: Cluster,
    sweep: Sweep,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    watch: Callable[[Cell], Watcher] = lambda cell: Watcher(),
) -> Sweep:
    """Run the unfinished cells of a sweep as ``run_sweep`` does, each as a job of a cluster, with the same bits.

    Args:
        cluster: the machines.
        sweep: what ``begin_sweep`` returned, or ``Sweep(folder)``.
        data_dir: the data root, on all machines; by default that of each machine.
        device: what workers train on; by default the device of the sweep.
        threads: the number of threads of each job; by default its number of CPUs.
        watch: returns the watcher of a cell.

    Raises:
        LthpruneError: as of ``run_sweep`` and ``run_recipe_on``.
    """
    declared, load, cells = sweep.declaration(), keeping_the_last(), sweep.cells()
    here = data_dir or declared["data_dir"]
    with ExitStack() as locks:

        def task(cell: Cell) -> Task:
            run, resources = cell.run, cell.recipe.resources
            if not run.tickets.exists:
                preview = preview_recipe(cell.recipe, data_dir=here, trust_code=sweep.trust_code, load=load)
                with begin_in(run.folder, preview, declared["recipe"], data_dir=here, load=load):
                    pass
            locks.enter_context(only_writer(run.folder))
            place = Place(data_dir, device or declared["device"], _threads(threads, resources))
            return Task(partial(_job, run, place), run.folder, watch(cell))

        spread(cluster, (task(cell) for cell in cells if not cell.finished), cells[0].recipe.resources)
    return sweep


class _Trials:
    """The trials of a run as jobs; a level of the run is finished when all of them have sent it."""

    def __init__(self, cluster: Cluster, experiment: Experiment, run: Run, place: Place, watcher: Watcher) -> None:
        self._cluster, self._experiment, self._run, self._watcher = cluster, experiment, run, watcher
        self._resources = experiment.recipe.resources
        self._place = Place(place.data_dir, place.device, _threads(place.threads, self._resources))
        self._histories, self._last_pruning = run.gather_histories(), last_pruning_level(experiment)
        self._pieces = [self._piece(trial) for trial in run.trials]

    def train(self) -> None:
        """Train the trials to the end of the run."""
        run = self._run
        self._watcher.on_begin(run)
        self._join()
        alone = Watcher(on_evaluation=self._watcher.on_evaluation, on_diverged=self._watcher.on_diverged)
        tasks = (
            Task(partial(_job, piece, self._place), piece.folder, alone, self._join)
            for piece in self._pieces
            if not piece.complete
        )
        if not run.complete:
            spread(self._cluster, tasks, self._resources, lambda: run.complete)
        warn_of_mixed_roundings([piece.environment() for piece in self._pieces])
        shutil.rmtree(run.pieces_folder)

    def _piece(self, trial: int) -> Run:
        """Return the piece of a trial: as it was left, or split off from the run if that has more levels."""
        piece = Run(self._run.pieces_folder / f"trial-{trial}", trust_code=self._run.trust_code)
        if piece.tickets.finished < self._run.tickets.finished or not piece.tickets.exists:
            shutil.rmtree(piece.folder, ignore_errors=True)
            for name in ("recipe.toml", "environment.json"):
                write_files(piece.folder, {name: (self._run.folder / name).read_bytes()})
            split_off(self._run.tickets, trial, piece.tickets)
        return piece

    def _join(self) -> None:
        """Add the levels to the run that all pieces have by now; those whose trial diverged have no more."""
        run, pieces = self._run, self._pieces
        while not run.complete and all(
            piece.tickets.finished > run.tickets.finished or piece.complete for piece in pieces
        ):
            if run.tickets.finished == max(piece.tickets.finished for piece in pieces):
                end_joined([piece.tickets for piece in pieces], run.tickets, end_of_pieces(pieces))
                return
            join_level(pieces, run, self._histories)
            run.write_environment(joined_environment([piece.environment() for piece in pieces]))
            tickets = run.tickets.open(run.tickets.finished - 1)
            self._watcher.on_level(tickets)
            ends(self._experiment, run, self._last_pruning, tickets)


def _job(run: Run, place: Place) -> Job:
    """Return the job that resumes a run; before its first level, its environment is that of the worker."""
    files = _files_of(run.folder)
    if not run.tickets.finished:
        files.pop("environment.json", None)
    work = partial(_resume, place=place, trust_code=run.trust_code)
    return Job(run.name, (files,), work, ".", str(run.folder))


def _files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a run, without controls, figures and the like."""
    return {path: data for path, data in read_files(folder).items() if "/" not in path or path.startswith("trial-")}


def _resume(folder: Path, watcher: Watcher, *, place: Place, trust_code: bool) -> None:
    resume_run(Run(folder, trust_code=trust_code), watcher=watcher, **_words(place))


def _control(folder: Path, watcher: Watcher, *, kind: str, repeat: int, place: Place, trust_code: bool) -> None:
    run_control(Run(folder, trust_code=trust_code), kind, repeat, watcher=watcher, **_words(place))


def _words(place: Place) -> dict[str, Any]:
    """Return a place as arguments; without a data root, that of the machine that this is called on."""
    return {"data_dir": place.data_dir or data_root(None), "device": place.device, "threads": place.threads}


def _threads(threads: int | None, resources: ResourceSpec) -> int:
    return max(1, int(resources.cpus)) if threads is None else threads
