"""Sweeps: a grid of recipes, run cell by cell in one folder that can be resumed at any moment."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import tomli_w

from lthprune.data import data_root, load_data
from lthprune.errors import LthpruneError, StorageError
from lthprune.experiments.axes import Axes, check_axes, in_toml
from lthprune.experiments.environment import find_device
from lthprune.experiments.execution import Watcher, prepare, resume_run, run_in
from lthprune.experiments.overrides import override
from lthprune.experiments.recipe import Recipe, absolute_name, parse_recipe, read_recipe
from lthprune.experiments.run import Run, fit_for_a_file, new_folder
from lthprune.files import remove_leftovers, write_atomically

_FORMAT = 1
_FILE = "sweep.toml"
_SEEDS = "run.seed"  # the axis whose values are the trials of every cell's run


@dataclass(frozen=True)
class Cell:
    """One place in a sweep's grid.

    Attributes:
        values: what the axes are here, by key; the seeds are in the recipe.
        recipe: what is run.
        run: where it is run; its directory is there once it has begun.
    """

    values: dict[str, Any]
    recipe: Recipe
    run: Run

    def __str__(self) -> str:
        values = self.values or {_SEEDS: self.recipe.run.seed}
        return ", ".join(f"{key}={in_toml(value)}" for key, value in values.items())

    @property
    def finished(self) -> bool:
        """Whether all levels of its run are finished, or it has ended before."""
        return self.run.complete


class Sweep:
    """A sweep's folder: ``sweep.toml``, written first, and one run directory for every cell of the grid.

    Which run a cell has follows from ``sweep.toml`` alone, so that nothing is lost or done twice, whenever the
    sweep was broken off.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Sweep({str(self.folder)!r})"

    @property
    def name(self) -> str:
        """The name of the sweep: its folder's."""
        return self.folder.resolve().name

    @property
    def exists(self) -> bool:
        """Whether the folder is that of a sweep."""
        return (self.folder / _FILE).is_file()

    def declaration(self) -> dict[str, Any]:
        """Return what ``sweep.toml`` says: ``recipe``, ``settings``, ``axes``, ``tables``, ``device``, ``data_dir``.

        Raises:
            StorageError: there is none, or it is damaged.
        """
        path = self.folder / _FILE
        try:
            declared = tomllib.loads(path.read_text("utf-8"))
            if declared["format"] != _FORMAT:
                raise StorageError(f"{path} has the format {declared['format']}, not {_FORMAT}.")
            types = {"recipe": str, "settings": list, "device": str, "data_dir": str, "axes": dict, "tables": dict}
            for key, kind in types.items():
                if not isinstance(declared[key], kind):
                    raise StorageError(f"{path} is damaged: {key} = {declared[key]!r}. Restore it from a copy.")
            return {key: declared[key] for key in types}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
            raise StorageError(f"{path} is missing or damaged ({error}). Restore it from a copy.") from error

    def cells(self) -> list[Cell]:
        """Return the cells of the grid, the last axis fastest.

        Raises:
            StorageError: ``sweep.toml`` is missing, damaged, or says something else than a run that has begun.
        """
        declared = self.declaration()
        path = self.folder / _FILE
        cells = _grid(self.folder, declared["tables"], str(path), declared["settings"], declared["axes"])
        for cell in cells:
            if cell.run.tickets.exists and cell.run.recipe() != cell.recipe:
                raise StorageError(
                    f"{cell.run.folder} ran another recipe than {path} now says for {cell}. Put the original back, or "
                    "begin another sweep."
                )
        return cells


def begin_sweep(
    recipe: str | Path,
    over: Axes,
    settings: Sequence[str] = (),
    *,
    data_dir: str | Path | None = None,
    out: str | Path = "sweeps",
    device: str = "cpu",
) -> Sweep:
    """Check every cell of a grid of recipes, and declare the sweep in a new folder in ``out``; nothing is trained yet.

    Args:
        recipe: a bundled recipe's name, or the path of a ``.toml`` file.
        over: what varies: lists of values by key, as in ``{"model.hidden": [8, 10, 13]}``. The values of
            ``run.seed`` make no cells of their own: they are the root seeds of every cell's trials, which train side
            by side.
        settings: ``table.key=value``, the same for all cells.
        data_dir: the data root, as for ``run_recipe``.
        out: the folder that the sweep's own is made in.
        device: ``cpu`` or ``cuda``.

    Raises:
        LthpruneError: a cell is refused, which the message names, or the folder; nothing is made then.

    Examples:
        >>> import tempfile
        >>> short = ["train.steps=5", "prune.levels=1"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sweep = begin_sweep("lenet-digits", {"model.hidden": [8, 10], "run.seed": [0, 1]}, short, out=folder)
        ...     [(cell.values, cell.recipe.run.trials, cell.finished) for cell in run_sweep(sweep).cells()]
        [({'model.hidden': 8}, 2, True), ({'model.hidden': 10}, 2, True)]
    """
    name = Path(recipe).stem if str(recipe).endswith(".toml") else str(recipe)
    tables, where = read_recipe(recipe)
    find_device(device)
    check_axes(over, settings)
    axes = {key: list(values) for key, values in over.items()}
    if "data.name" in axes:
        axes["data.name"] = [absolute_name(str(name)) for name in axes["data.name"]]
    folder = new_folder(out, name)
    cells = _grid(folder, tables, where, settings, axes)
    load = lru_cache(maxsize=1)(load_data)
    for cell in cells:
        try:
            prepare(cell.recipe, data_dir=data_dir, device=device, load=load)
        except LthpruneError as error:
            raise type(error)(f"in the cell {cell}: {error}") from error
    data = cells[0].recipe.data.name
    if data.endswith(".npz") and "data.name" not in axes:  # wherever the sweep is resumed, it finds the file
        settings = [*settings, f"data.name={in_toml(data)}"]
    declared = {
        "format": _FORMAT,
        "recipe": name,
        "settings": list(settings),
        "device": device,
        "data_dir": str(data_root(data_dir).resolve()),
        "axes": axes,
        "tables": tables,
    }
    write_atomically(folder / _FILE, tomli_w.dumps(declared).encode())
    return Sweep(folder)


def run_sweep(
    sweep: Sweep,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    watch: Callable[[Cell], AbstractContextManager[Watcher]] = lambda cell: nullcontext(Watcher()),
) -> Sweep:
    """Run the cells of a sweep one after the other: finished ones are left, begun ones resumed.

    A sweep broken off at any moment and run again ends with the bits of one that never was.

    Args:
        sweep: what ``begin_sweep`` returned, or ``Sweep(folder)``.
        data_dir: the data root, where it is not the sweep's own.
        device: ``cpu`` or ``cuda``, where it is not the sweep's own.
        watch: called with each cell before it is run; what it returns is entered, and gives the watcher.

    Raises:
        StorageError: the folder is no sweep, or a file in it is damaged or was changed.
    """
    declared, load = sweep.declaration(), lru_cache(maxsize=1)(load_data)
    name, data_dir, device = declared["recipe"], data_dir or declared["data_dir"], device or declared["device"]
    cells = sweep.cells()
    remove_leftovers(sweep.folder)
    for cell in cells:
        if cell.finished:
            continue
        with watch(cell) as watcher:
            if cell.run.tickets.exists:
                resume_run(cell.run, data_dir=data_dir, device=device, watcher=watcher)
            else:
                run_in(cell.run.folder, cell.recipe, name, data_dir=data_dir, device=device, watcher=watcher, load=load)
    return sweep


def find_sweeps(folder: str | Path) -> list[Sweep]:
    """Return the sweeps in a folder, oldest first.

    Raises:
        StorageError: there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise StorageError(f"{folder} is {'a file' if folder.exists() else 'not there'}. Name a folder of sweeps.")
    files = sorted(folder.glob(f"*/{_FILE}"), key=lambda path: (path.stat().st_mtime, path.parent.name))
    return [Sweep(path.parent) for path in files]


def _grid(folder: Path, tables: Mapping[str, Any], where: str, settings: Sequence[str], axes: Axes) -> list[Cell]:
    """Return the cells; a run directory is called by its place in the grid and by its values."""
    keys = [key for key in axes if key != _SEEDS]
    seeds = [f"{_SEEDS}={in_toml(list(axes[_SEEDS]))}"] if _SEEDS in axes else []
    places = list(product(*(axes[key] for key in keys)))
    cells = []
    for at, place in enumerate(places):
        values = dict(zip(keys, place, strict=True))
        own = [f"{key}={in_toml(value)}" for key, value in values.items()]
        words = " ".join(f"{key.rpartition('.')[2]} {value}" for key, value in values.items())
        run = f"{at:0{len(str(len(places) - 1))}d} {words}".strip()
        mine = _copy(tables)
        override(mine, [*settings, *seeds, *own])
        recipe = parse_recipe(mine, f"in the cell {', '.join(own)}: {where}" if own else where)
        cells.append(Cell(values, recipe, Run(folder / fit_for_a_file(run)[:60])))
    return cells


def _copy(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in tables.items()}
