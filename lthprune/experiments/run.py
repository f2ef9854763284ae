"""A run on disk: the recipe as run, where it ran, its histories and its tickets."""

import json
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import nn

from lthprune.data import shape_of_data
from lthprune.errors import StorageError
from lthprune.experiments.recipe import Recipe, parse_recipe
from lthprune.files import write_atomically
from lthprune.search import Ticket, TicketStore
from lthprune.training import Histories


class Run:
    """A run directory; see the documentation's page on it for every file.

    A level counts as finished once the manifest says so, which is written last: whatever a killed process left
    behind is not read, and is overwritten when the run is resumed.

    Args:
        folder: the directory.
        trust_code: whether functions of your own that the run's recipe names may be imported, to resume the run or to
            build its network. Without it, nothing named in the directory is ever imported.
    """

    def __init__(self, folder: str | Path, *, trust_code: bool = False) -> None:
        self.folder = Path(folder)
        self.trust_code = trust_code
        self.tickets = TicketStore(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def name(self) -> str:
        """The name of the run: its folder's."""
        return self.folder.resolve().name

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be trained: all levels are finished, or the run ended before."""
        tickets = self.tickets
        return tickets.exists and (
            tickets.ended is not None or tickets.finished == self.settings["prune"]["levels"] + 1
        )

    @property
    def recipe_name(self) -> str:
        """The name of the recipe that it ran."""
        return str(self._begun()["recipe"])

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the run began with, as nested plain values.

        Raises:
            StorageError: the folder is no run.
        """
        settings: dict[str, Any] = self._begun()["settings"]
        return settings

    def _begun(self) -> dict[str, Any]:
        begun: dict[str, Any] = self.tickets.manifest()["search"]
        if not {"recipe", "settings", "data"} <= begun.keys():
            raise StorageError(f"{self.folder} is not the run of a recipe; it may be a store of imp() or osp().")
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
                f"{path} is not the recipe that this run of {begun['recipe']} began with. Put the original back, or "
                f"start a run of the other recipe: lthprune run {path}"
            )
        return recipe

    def model(self, trial: int = 0) -> nn.Module:
        """Return the recipe's network with the initial weights of a trial, on the CPU: what tickets are applied to.

        Examples:
            >>> import tempfile
            >>> import torch
            >>> from lthprune import load_recipe, run_recipe
            >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=1"])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     run = run_recipe(recipe, "short", out=folder)
            ...     (ticket,) = run.tickets.level(1)
            ...     model = ticket.apply(run.model(), "trained")
            >>> model(torch.zeros(3, 1, 8, 8)).shape
            torch.Size([3, 10])
        """
        recipe = self.recipe()
        if trial not in range(recipe.run.trials):
            raise StorageError(f"{self.folder} has trials 0 to {recipe.run.trials - 1}; there is no trial {trial}.")
        shape = shape_of_data(recipe.data, trust_code=self.trust_code)
        return recipe.build_model(*shape, trial, trust_code=self.trust_code)

    def environment(self) -> dict[str, Any]:
        """Return where and with what the run was made, and how long its levels took."""
        path = self.folder / "environment.json"
        try:
            environment: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot read {path}: {error}. Restore it from a copy.") from error
        return environment

    @property
    def started(self) -> str:
        """When the run began, as in 2026-11-20T03:52:10+00:00; empty where its account of that is gone."""
        try:
            return str(self.environment().get("started", ""))
        except StorageError:
            return ""

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Replace the run's account of its environment."""
        write_atomically(self.folder / "environment.json", json.dumps(environment, indent=1).encode())

    def histories(self) -> Histories:
        """Return the histories of the finished levels; the rest is NaN.

        Raises:
            StorageError: the file is missing or damaged.
        """
        return Histories.load(self.folder / "histories.npz").up_to(self.tickets.finished)

    def gather_histories(self) -> Histories:
        """Return the histories as the tickets of the finished levels tell them, file or no file."""
        recipe = self.recipe()
        plan, tasks = recipe.train, len(recipe.data.parts)
        levels = int(self.settings["prune"]["levels"])
        histories = Histories.empty(recipe.run.trials, levels, plan.evaluation_steps, tasks)
        for level in range(self.tickets.finished):
            histories.record(self.tickets.level(level))
        return histories

    def append(self, tickets: Sequence[Ticket], histories: Histories) -> None:
        """Keep a finished level. The manifest is written last: until it is, the level does not count."""
        histories.save(self.folder / "histories.npz")
        self.tickets.append(tickets)


def new_folder(out: str | Path, name: str) -> Path:
    """Return a folder that is not there yet, in ``out``, named after a recipe and the time.

    Raises:
        StorageError: ``out`` is itself a run.
    """
    out = Path(out).expanduser()
    if (out / "manifest.json").is_file():
        raise StorageError(
            f"{out} is itself a run, or a store of tickets. Choose a folder for runs to be kept in, or go on with it: "
            f"lthprune resume {out}"
        )
    return out / f"{fit_for_a_file(name)}-{datetime.now():%Y%m%d-%H%M}-{secrets.token_hex(2)}"


def fit_for_a_file(name: str) -> str:
    """Return a name without what a file's name should not hold.

    Examples:
        >>> fit_for_a_file("../my recipe")
        '..-my-recipe'
    """
    return re.sub(r"[^\w.-]+", "-", name)


def create_run(recipe: Recipe, folder: Path) -> Run:
    """Make a run directory and write the recipe into it.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_atomically(folder / "recipe.toml", recipe.to_toml().encode())
    return Run(folder, trust_code=True)  # whoever runs a recipe has chosen the code that it names


def find_runs(folder: str | Path) -> list[Run]:
    """Return the runs in a folder, oldest first; stores of ``imp`` and ``osp`` are among them.

    Raises:
        StorageError: there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise StorageError(f"{folder} is {'a file' if folder.exists() else 'not there'}. Name a folder of runs.")
    runs = [Run(path.parent) for path in folder.glob("*/manifest.json")]
    return sorted(runs, key=lambda run: (run.started, run.name))
