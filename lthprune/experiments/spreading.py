"""Jobs of a cluster, from beginning to end: the driver submits them and keeps what the workers send.

The driver is the process that starts the jobs. It alone writes to run directories; workers need no shared file system.
A job whose worker is lost is submitted again, from the last level that the driver has.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lthprune.errors import LthpruneError
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.jobs import (
    Cluster,
    Evaluated,
    Failed,
    Files,
    Finished,
    Job,
    Lost,
    Stopped,
    Warned,
    Written,
    write_files,
)
from lthprune.experiments.run import Run
from lthprune.experiments.spec import ResourceSpec

_MOST_LOSSES = 3  # of a job's workers in a row, without a new level


@dataclass(frozen=True)
class Task:
    """A job, and what is done with what it sends.

    Attributes:
        job: makes the job anew, from what the driver has of it.
        folder: where the driver keeps what it writes.
        watcher: functions to call with what it sends.
        on_written: called when files of it were written.
    """

    job: Callable[[], Job]
    folder: Path
    watcher: Watcher
    on_written: Callable[[], object] | None = None


def spread(
    cluster: Cluster, tasks: Iterable[Task], resources: ResourceSpec, enough: Callable[[], bool] = lambda: False
) -> None:
    """Let a cluster work on tasks until all are finished or there is enough.

    Raises:
        LthpruneError: a worker raised it, or a job lost its worker again and again.
    """
    waiting: dict[str, Task] = {}
    losses: dict[str, int] = {}
    try:
        for task in tasks:
            job = task.job()
            waiting[job.name] = task
            cluster.submit(job, resources)
        while waiting and not enough():
            name, message = cluster.receive()
            task = waiting[name]
            if isinstance(message, Evaluated):
                task.watcher.on_evaluation(message.level, message.trial, message.evaluation)
            elif isinstance(message, Stopped):
                task.watcher.on_diverged(message.failure)
            elif isinstance(message, Written):
                losses.pop(name, None)
                _keep(task, message.files)
            elif isinstance(message, Warned):
                warnings.warn(message.text, stacklevel=3)
            elif isinstance(message, Lost):
                losses[name] = losses.get(name, 0) + 1
                if losses[name] == _MOST_LOSSES:
                    raise LthpruneError(
                        f"{name} lost its worker {_MOST_LOSSES} times without finishing a level ({message.reason}). "
                        "Look for the cause on the machines, such as too little memory; then resume."
                    )
                warnings.warn(f"{name} lost its worker ({message.reason}); it goes on elsewhere.", stacklevel=3)
                cluster.submit(task.job(), resources)
            elif isinstance(message, Failed):
                raise message.kind(message.text)
            elif isinstance(message, Finished):
                del waiting[name]
    finally:
        cluster.cancel()


def _keep(task: Task, files: Files) -> None:
    """Write what a worker sent, and tell the watcher."""
    run = Run(task.folder)
    before = run.tickets.finished
    begins = not run.tickets.exists
    write_files(task.folder, files)
    if begins:
        task.watcher.on_begin(run)
    if run.tickets.finished > before:
        task.watcher.on_level(run.tickets.open(run.tickets.finished - 1))
    if task.on_written is not None:
        task.on_written()
