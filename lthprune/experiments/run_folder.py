"""The folder of a run: its recipe, environment, histories and tickets."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from torch import nn

from lthprune.analysis import LevelInformation, Stability
from lthprune.data import shape_of_data
from lthprune.errors import PruningError, StorageError
from lthprune.experiments.information_files import gather_information, information_files
from lthprune.experiments.recipe import Recipe, parse_recipe
from lthprune.experiments.run_entries import check_begun, read_environment
from lthprune.experiments.stability_files import gather_stability, stability_files
from lthprune.files import write_atomically
from lthprune.search import Ticket, TicketStore
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
        """``"finished"`` after the last level, ``"ended"`` if the run stopped before by its ``run.stop_when``.

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
    def narrowed(self) -> bool:
        """Whether this is a control by smaller dense networks, which have other sizes at every level."""
        return self.control is not None and self.control["kind"] == "small-dense"

    def check_searched(self, done: str) -> None:
        """Raise a StorageError for a control or a transfer, whose tickets come from the run around it.

        Args:
            done: what to do instead, as in ``"Measure the stability"``, which "of the run around it" follows.
        """
        for kind, inside in (("control", self.control), ("transfer", self.transfer)):
            if inside is not None:
                raise StorageError(
                    f"{self.folder} is a {kind}. {done} of the run around it: {self.folder.resolve().parents[1]}"
                )

    def check_started(self) -> None:
        """Raise a StorageError if no level is finished."""
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
            raise StorageError(f"{self.folder} is not the run of a recipe; it may be a store of imp() or osp().")
        check_begun(begun, self.folder / "manifest.json")
        return begun

    def recipe(self) -> Recipe:
        """Return the recipe as run.

        Raises:
            StorageError: the folder is no run, or its recipe is not the one that the run began with.
        """
        begun = self._begun()
        path = self.folder / "recipe.toml"
        try:
            text = path.read_text("utf-8")
            recipe = parse_recipe(tomllib.loads(text), str(path))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise StorageError(f"cannot read {path}: {error}. Restore it from a copy.") from error
        begun_with = parse_recipe(begun["settings"], "the manifest")  # keys that are newer than the run by default
        if recipe != begun_with:
            raise StorageError(
                f"{path} is not the recipe that this run of {begun['recipe']} began with. Put the original back; to "
                "run the other recipe, copy it to a folder of its own."
            )
        trials, levels = len(self.tickets.manifest()["initial"]), int(self.settings["prune"]["levels"]) + 1
        if trials != recipe.run.trials or self.tickets.finished > levels:
            raise StorageError(
                f"{self.folder / 'manifest.json'} is damaged ({trials} trials and {self.tickets.finished} finished "
                f"levels, where the recipe has {recipe.run.trials} and {levels}); the run cannot be resumed."
            )
        return recipe

    def model(self, trial: int = 0) -> nn.Module:
        """Return the recipe's network as a trial builds it, before any pretraining, on the CPU, to apply tickets to.

        Raises:
            StorageError: the folder is no run, or there is no such trial.
            PruningError: this is a control by smaller dense networks, which have other sizes at every level.
        """
        if self.narrowed:
            raise PruningError(
                f"{self.folder} trains a network of another size at every level, so it has no structure, costs or "
                "exports. Its accuracies are in its summary, its figures and the summary of its run."
            )
        self.check_trial(trial)
        return self.recipe().build_model(*self.data_shape(), trial, trust_code=self.trust_code)

    def data_shape(self) -> tuple[tuple[int, ...], int]:
        """Return the shape of a sample, without the batch, and the number of outputs."""
        return shape_of_data(self.recipe().data, data_dir=self.data_dir, trust_code=self.trust_code)

    def check_trial(self, trial: int) -> None:
        """Raise a StorageError if there is no such trial."""
        trials = self.recipe().run.trials
        if trial not in range(trials):
            raise StorageError(f"{self.folder} has trials 0 to {trials - 1}; there is no trial {trial}.")

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
        if self.control is not None or self.transfer is not None:
            around = RunFolder(self.folder.resolve().parents[1])
            if around.tickets.exists and around.tickets.finished <= self.tickets.finished:
                return around.resume_command
        recipe = parse_recipe(self.settings, "the manifest")
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
        if not histories.fits(self._no_histories()):
            raise StorageError(
                f"{path} has other trials, levels or evaluations than this run. `{self.resume_command}` writes it "
                "again."
            )
        return histories.up_to(self.tickets.finished)

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
        return gather_stability(stability_files(self.folder), self.recipe().run.trials)

    def information(self) -> tuple[LevelInformation, ...]:
        """Return the mutual information that was estimated for all trials, level by level; empty before any estimate.

        [`run_information`][lthprune.experiments.run_information] estimates it.

        Raises:
            StorageError: the folder is no run, or a file is damaged.
        """
        return gather_information(information_files(self.folder), self.recipe().run.trials)

    def append(self, tickets: Sequence[Ticket], histories: Histories) -> None:
        """Store a finished level. The manifest is written last; until then, the level does not count."""
        histories.save(self.folder / "histories.npz")
        self.tickets.append(tickets)
