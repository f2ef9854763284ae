"""The folder of a run: its recipe, environment, histories and tickets."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from torch import nn

from lthprune.analysis import LevelInformation, Stability
from lthprune.data import shape_of_data
from lthprune.errors import PruningError, RecipeError, StorageError
from lthprune.experiments.checkpoint_files import remove_checkpoints
from lthprune.experiments.information_files import gather_information, information_files
from lthprune.experiments.recipe import Recipe, parse_recipe
from lthprune.experiments.run_entries import check_begun, read_environment
from lthprune.experiments.stability_files import gather_stability, stability_files
from lthprune.files import write_atomically
from lthprune.reading import read_toml
from lthprune.search import LOWER_RATE, Failure, Ticket, TicketStore
from lthprune.training import Histories


class RunFolder:
    """The files of a run; see the documentation's page on the run directory for each of them.

    Only the levels that the manifest names count as finished. It is written last, so files that a killed process left
    behind are not read, and resuming the run overwrites them.
    """

    def __init__(self, folder: str | Path, *, trust_code: bool = False) -> None:
        self.folder = Path(folder)
        self.trust_code = trust_code
        self.tickets = TicketStore(self.folder)

    @property
    def name(self) -> str:
        """The name of the run, which is its folder's."""
        return self.folder.resolve().name

    @property
    def complete(self) -> bool:
        """Whether there is nothing to train: all levels are finished, or the run ended before."""
        tickets = self.tickets
        return tickets.exists and (
            tickets.ended is not None or tickets.finished == self.settings["prune"]["levels"] + 1
        )

    @property
    def state(self) -> Literal["finished", "ended", "resumable"]:
        """``"finished"`` after the last level, ``"ended"`` if the run ended before it; ``tickets.ended`` says why.

        Raises:
            StorageError: the folder is no run.
        """
        if self.tickets.finished == self.settings["prune"]["levels"] + 1:
            return "finished"
        return "ended" if self.complete else "resumable"

    @property
    def recipe_name(self) -> str:
        """The name of the recipe."""
        return str(self._begun()["recipe"])

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the run began with, as nested plain values.

        Raises:
            StorageError: the folder is no run.
        """
        settings: dict[str, Any] = self._begun()["settings"]
        return settings

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the run's data, before splitting and normalising."""
        return str(self._begun()["data"])

    @property
    def control(self) -> dict[str, Any] | None:
        """What kind of control this is, and which repetition, as in ``{"kind": "shuffled", "repeat": 0}``.

        None for a run of its own. A control is a run inside the folder of the run that it controls.
        """
        control: dict[str, Any] | None = self._begun().get("control")
        return control

    @property
    def transfer(self) -> dict[str, Any] | None:
        """Where the tickets come from: files and hashes of another run's dense networks, and how it rewinds.

        None for tickets that were searched for. A transfer is in the folder of that run; see ``transfer_run``.
        """
        origin: dict[str, Any] | None = self._begun().get("transfer")
        return origin

    @property
    def trials(self) -> tuple[int, ...]:
        """The numbers of the trials that this run trains; those of a piece are some of its recipe's."""
        return self.tickets.trials()

    @property
    def piece(self) -> bool:
        """Whether this is a piece: a run of only some trials of its recipe."""
        return len(self.trials) < int(self.settings["run"]["trials"])

    @property
    def narrowed(self) -> bool:
        """Whether this is a control by smaller dense networks, which have other sizes at every level."""
        return self.control is not None and self.control["kind"] == "small-dense"

    @property
    def _around(self) -> "RunFolder | None":
        """The run that a control or a transfer is in the folder of; None for a run of its own."""
        inside = self.control is not None or self.transfer is not None
        return RunFolder(self.folder.resolve().parents[1]) if inside else None

    def check_searched(self, done: str) -> None:
        """Raise a StorageError for a control or a transfer, whose tickets come from the run around it.

        Args:
            done: what to do instead, as in ``"Measure the stability"``, which "of the run around it" follows.
        """
        around = self._around
        if around is not None:
            kind = "control" if self.control is not None else "transfer"
            raise StorageError(f"{self.folder} is a {kind}. {done} of the run around it: {around.folder}")

    @property
    def diverged(self) -> dict[int, Failure]:
        """The trials that a level and those after it lack because their training diverged, by number."""
        return {each.trial: each for each in self.tickets.failures if each.kind == "diverged"}

    def levels_of(self, trial: int | None = None) -> range:
        """Return the finished levels that a trial has, by default the first.

        Raises:
            StorageError: it has none: no level is finished, there is no such trial, or its first training diverged.
        """
        self.check_started()
        trial = self.check_trial(trial)
        levels = range(sum(trial in trials for trials in self._trials_of_levels()))
        if not levels:
            raise StorageError(f"{self.folder}: {self.why_missing(trial)}. So it has no network; name another trial.")
        return levels

    def why_missing(self, trial: int) -> str:
        """Return why no level has a trial: its first training diverged, here or in the run around this one."""
        around = self._around
        failures = {**({} if around is None else around.diverged), **self.diverged}
        return str(failures.get(trial, f"no level has trial {trial}"))

    @property
    def pieces_folder(self) -> Path:
        """Where the pieces of a run are kept while a cluster trains them."""
        return self.folder / "pieces"

    def check_whole(self, done: str) -> None:
        """Raise a StorageError for a piece; ``done`` is what to do with the whole run, as in ``"Train controls"``."""
        if self.piece:
            raise StorageError(
                f"{self.folder} is a piece: it has {name_trials(self.trials)} of {self.settings['run']['trials']}. "
                f"{done} of the run that `lthprune merge` makes of all its pieces."
            )

    def check_started(self) -> None:
        """Raise a StorageError if no level is finished."""
        if not self.tickets.finished and self.tickets.ended is not None:
            failures = "; ".join(str(failure) for failure in self.tickets.failures)
            raise StorageError(
                f"{self.folder} has no finished level: {self.tickets.ended} ({failures}). {LOWER_RATE} Start a new run."
            )
        if not self.tickets.finished:
            raise StorageError(f"no level of {self.folder} is finished yet; resume with: {self.resume_command}")

    def check_level(self, level: int) -> None:
        """Raise a StorageError unless a level is finished."""
        finished = self.tickets.finished
        if level not in range(finished):
            raise StorageError(f"level {level} of {self.folder} is not finished; levels 0 to {finished - 1} are.")

    def _begun(self) -> dict[str, Any]:
        begun: dict[str, Any] = self.tickets.manifest()["search"]
        if not {"recipe", "settings", "data"} <= begun.keys():
            raise StorageError(
                f"{self.folder} is not the run of a recipe, by its manifest.json; it may be a store of imp() or osp()."
            )
        check_begun(begun, self.folder / "manifest.json")
        return begun

    def recipe(self) -> Recipe:
        """Return the recipe as run, from ``recipe.toml``, or from the manifest if that file is missing.

        Raises:
            StorageError: the folder is no run, or its recipe is not the one that the run began with.
        """
        begun = self._begun()
        path = self._recipe_path
        manifest = self.folder / "manifest.json"
        recipe = begun_with = parse_recipe(begun["settings"], str(manifest))  # keys newer than the run by default
        try:
            if path.exists():
                recipe = parse_recipe(read_toml(path), str(path))
        except (OSError, ValueError, RecipeError) as error:
            raise StorageError(
                f"cannot read {path}: {str(error).rstrip('.')}. The manifest has the recipe too: delete the file, and "
                f"`{self.resume_command}` writes it again."
            ) from error
        if recipe.settings() != begun_with.settings():
            raise StorageError(
                f"{path} is not the recipe that this run of {begun['recipe']} began with, as in {manifest}. Put the "
                f"original back, or delete the file, and `{self.resume_command}` writes it again. To run the other "
                "recipe, copy it to a folder of its own."
            )
        trials, levels = self.trials, int(self.settings["prune"]["levels"]) + 1
        if not set(trials) <= set(range(recipe.run.trials)) or self.tickets.finished > levels:
            raise StorageError(
                f"{manifest} is damaged ({name_trials(trials)}, {self.tickets.finished} finished levels, where the "
                f"recipe has {recipe.run.trials} trials and {levels} levels); the run cannot be resumed."
            )
        return recipe

    def write_missing_recipe(self) -> None:
        """Write ``recipe.toml`` if it is missing."""
        if not self._recipe_path.exists():
            write_atomically(self._recipe_path, self.recipe().to_toml().encode())

    @property
    def _recipe_path(self) -> Path:
        return self.folder / "recipe.toml"

    def model(self, trial: int | None = None) -> nn.Module:
        """Return the recipe's network as a trial builds it, before any pretraining, on the CPU, to apply tickets to.

        By default this is the first trial of the run.

        Raises:
            StorageError: the folder is no run, or there is no such trial.
            PruningError: this is a control by smaller dense networks, which have other sizes at every level.
        """
        if self.narrowed:
            raise PruningError(
                f"{self.folder} trains a network of another size at every level, so it has no structure, costs or "
                "exports. Its accuracies are in its summary, its figures and the summary of its run."
            )
        number = self.check_trial(trial)
        return self.recipe().build_model(*self.data_shape(), number, trust_code=self.trust_code)

    def data_shape(self) -> tuple[tuple[int, ...], int]:
        """Return the shape of a sample, without the batch, and the number of outputs."""
        return shape_of_data(self.recipe().data, data_dir=self.data_dir, trust_code=self.trust_code)

    def check_trial(self, trial: int | None) -> int:
        """Return the number of a trial, by default of the first; raise a StorageError if there is no such trial."""
        self.recipe()
        if trial is None:
            return self.trials[0]
        if trial not in self.trials:
            raise StorageError(f"{self.folder} has {name_trials(self.trials)}; there is no trial {trial}.")
        return trial

    def environment(self) -> dict[str, Any]:
        """Return the versions, the machine and the durations of the run.

        Raises:
            StorageError: the file is missing or damaged.
        """
        return read_environment(self.folder / "environment.json")

    @property
    def resume_command(self) -> str:
        """The command that resumes the run, with ``--trust-code`` if its recipe names functions of your own.

        A control or transfer that is as far as the run around it goes on when that run does.
        """
        around = self._around
        if around is not None and around.tickets.exists and around.tickets.finished <= self.tickets.finished:
            return around.resume_command
        recipe = parse_recipe(self.settings, str(self.folder / "manifest.json"))
        return f"lthprune resume {quote(str(self.folder))}{' --trust-code' if recipe.names_code else ''}"

    def recorded(self) -> dict[str, Any]:
        """Return the environment; empty if it cannot be read, as resuming does not need this record of the past."""
        try:
            return self.environment()
        except StorageError:
            return {}

    @property
    def data_dir(self) -> str | None:
        """The data root of the run; None if its environment cannot be read."""
        return self.recorded().get("data_dir")

    @property
    def started(self) -> str:
        """When the run began, as in 2026-11-20T03:52:10+00:00; empty if its environment cannot be read."""
        return str(self.recorded().get("started", ""))

    @property
    def steps_per_epoch(self) -> int | None:
        """The number of steps in an epoch; None if its environment cannot be read or is of an older version."""
        samples = self.recorded().get("train_samples")
        return None if samples is None else int(samples) // self.recipe().train.batch_size

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Replace the run's ``environment.json``."""
        write_atomically(self.folder / "environment.json", json.dumps(environment, indent=1).encode())

    def histories(self) -> Histories:
        """Return the histories of the finished levels; the rest is NaN.

        Raises:
            StorageError: the file is missing or damaged.
        """
        path = self.folder / "histories.npz"
        histories = Histories.load(path)
        finished = self.tickets.finished
        if not histories.fits(self._no_histories()) or not histories.plausible(finished):
            raise StorageError(
                f"{path} has other trials, levels or evaluations than this run, or other values than measurements. "
                f"`{self.resume_command}` writes it again."
            )
        return histories.up_to(finished)

    def gather_histories(self) -> Histories:
        """Collect the histories from the tickets of the finished levels, without the file."""
        histories = self._no_histories()
        for level in range(self.tickets.finished):
            histories.record(self.tickets.level(level))
        return histories

    def _no_histories(self) -> Histories:
        recipe = self.recipe()
        levels = int(self.settings["prune"]["levels"])
        return Histories.empty(recipe.run.trials, levels, recipe.train.evaluation_steps, len(recipe.data.parts))

    def stability(self) -> tuple[Stability, ...]:
        """Return what was measured of the stability of this run, level by level; empty before any measurement.

        [`run_stability`][lthprune.experiments.run_stability] measures it.

        Raises:
            StorageError: the folder is no run, or a file is damaged.
        """
        self.recipe()
        return gather_stability(stability_files(self.folder), self._trials_of_levels())

    def information(self) -> tuple[LevelInformation, ...]:
        """Return the mutual information that was estimated for all trials, level by level; empty before any estimate.

        [`run_information`][lthprune.experiments.run_information] estimates it.

        Raises:
            StorageError: the folder is no run, or a file is damaged.
        """
        self.recipe()
        return gather_information(information_files(self.folder), self._trials_of_levels())

    def _trials_of_levels(self) -> list[tuple[int, ...]]:
        return [self.tickets.trials(level) for level in range(self.tickets.finished)]

    def append(self, tickets: Sequence[Ticket], histories: Histories, failures: Sequence[Failure]) -> None:
        """Store a finished level. The manifest is written last; until then, the level does not count."""
        histories.save(self.folder / "histories.npz")
        self.tickets.append(tickets, failures)
        remove_checkpoints(self.folder)


def name_trials(trials: Sequence[int]) -> str:
    """Return a phrase that names trials.

    Examples:
        >>> name_trials([0, 1, 2, 4]), name_trials([3])
        ('trials 0-2, 4', 'trial 3')
    """
    starts = [trial for trial in trials if trial - 1 not in trials]
    ends = [trial for trial in trials if trial + 1 not in trials]
    spans = [str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]
    return f"trial{'s' if len(trials) > 1 else ''} {', '.join(spans)}"
