"""Sweeps: a grid of recipes, run cell by cell in one folder, which can be resumed at any time."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from shlex import quote
from typing import Any

import tomli_w

from lthprune.data import Dataset, DataSpec, data_root, is_path, load_data, split_name
from lthprune.errors import LthpruneError, RecipeError, StorageError, shown
from lthprune.experiments.axes import Axes, check_axes, in_toml
from lthprune.experiments.environment import find_device
from lthprune.experiments.execution import resume_run, run_in
from lthprune.experiments.experiment import Watcher, prepare
from lthprune.experiments.folders import find_files, fit_for_a_file, new_folder
from lthprune.experiments.overrides import override
from lthprune.experiments.preview import LoadData, preview_recipe
from lthprune.experiments.recipe import Recipe, absolute_name, parse_recipe, read_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.threads import torch_threads
from lthprune.files import write_atomically
from lthprune.formats import check_format
from lthprune.reading import read_toml
from lthprune.writing import only_writer

_FORMAT = 1
_FILE = "sweep.toml"
_MOST_CELLS = 10_000  # of a sweep
_SEEDS = "run.seed"  # the axis whose values are the trials of every cell's run


@dataclass(frozen=True)
class Cell:
    """One place in a sweep's grid.

    Attributes:
        values: the values of the axes in this cell, by key; the seeds are in the recipe.
        recipe: what is run. Until the run has begun, levels that follow from a rate and a target are None, and lengths
            in epochs stay so.
        run: where it is run; its directory exists once it has begun.
    """

    values: dict[str, Any]
    recipe: Recipe
    run: Run

    def __str__(self) -> str:
        values = self.values or {_SEEDS: self.recipe.run.seed}
        return ", ".join(f"{key}={in_toml(value)}" for key, value in values.items())

    @property
    def finished(self) -> bool:
        """Whether all levels of its run are finished, or ``stop_when`` ended it."""
        return self.run.complete


class Sweep:
    """A sweep's folder: ``sweep.toml``, written first, and one run directory for every cell of the grid.

    ``sweep.toml`` alone determines which run a cell has, so that nothing is lost or run twice whenever the sweep is
    interrupted.

    Args:
        folder: the directory.
        trust_code: whether functions of your own that the sweep's recipes name may be imported, to run the sweep or
            to build a cell's network. Without it, nothing named in the directory is ever imported.
    """

    def __init__(self, folder: str | Path, *, trust_code: bool = False) -> None:
        self.folder = Path(folder)
        self.trust_code = trust_code

    def __repr__(self) -> str:
        return f"Sweep({str(self.folder)!r})"

    @property
    def name(self) -> str:
        """The name of the sweep: its folder's."""
        return self.folder.resolve().name

    @property
    def resume_command(self) -> str:
        """The command that resumes the sweep, with ``--trust-code`` if its recipes name functions of your own."""
        own = any(cell.recipe.names_code for cell in self.cells())
        return f"lthprune resume {quote(str(self.folder))}{' --trust-code' if own else ''}"

    @property
    def exists(self) -> bool:
        """Whether the folder is that of a sweep."""
        return (self.folder / _FILE).is_file()

    def declaration(self) -> dict[str, Any]:
        """Return what ``sweep.toml`` says: ``recipe``, ``settings``, ``axes``, ``tables``, ``device``,
        ``data_dir``, and ``threads``, which is None if no number was asked for.

        Raises:
            StorageError: there is none, or it is damaged.
        """
        path = self.folder / _FILE
        try:
            declared = read_toml(path)
            check_format(path, declared["format"], _FORMAT)
            types = {"recipe": str, "settings": list, "device": str, "data_dir": str, "axes": dict, "tables": dict}
            for key, kind in types.items():
                if not isinstance(declared[key], kind):
                    raise StorageError(f"{path} is damaged: {key} = {shown(declared[key])}. Restore it from a copy.")
            lists = all(isinstance(values, list) and values for values in declared["axes"].values())
            if not lists or not all(isinstance(setting, str) for setting in declared["settings"]):
                raise StorageError(
                    f"{path} is damaged: axes are lists of values, and settings are texts. Restore it from a copy."
                )
            threads = declared.get("threads")
            if threads is not None and not isinstance(threads, int):
                raise StorageError(f"{path} is damaged: threads = {threads!r}. Restore it from a copy.")
            return {key: declared[key] for key in types} | {"threads": threads}
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(
                f"{path} is missing or damaged ({error}). Restore it from a copy. The runs beside it are not affected: "
                "each can be resumed and read by itself."
            ) from error

    def cells(self) -> list[Cell]:
        """Return the cells of the grid, the last axis fastest; builds no model and imports no code.

        Raises:
            StorageError: ``sweep.toml`` is missing, damaged, or declares another recipe than a run began with.
        """
        declared = self.declaration()
        path = self.folder / _FILE
        return [
            self._as_begun(cell, path) if cell.run.tickets.exists else cell
            for cell in _grid(self, declared["tables"], str(path), declared["settings"], declared["axes"])
        ]

    def _as_begun(self, cell: Cell, path: Path) -> Cell:
        """Return a cell with the recipe that its run began with, which has its levels worked out."""
        begun = cell.run.recipe()
        if begun != cell.recipe.worked_out_as(begun):
            raise StorageError(
                f"{cell.run.folder} ran another recipe than {path} now says for {cell}. Put the original back, or "
                "begin another sweep."
            )
        return replace(cell, recipe=begun)


def begin_sweep(
    recipe: str | Path,
    over: Axes,
    settings: Sequence[str] = (),
    *,
    data_dir: str | Path | None = None,
    out: str | Path = "sweeps",
    device: str = "cpu",
    threads: int | None = None,
) -> Sweep:
    """Check every cell of a grid of recipes, and declare the sweep in a new folder in ``out``; nothing is trained yet.

    Functions of your own that a recipe names are imported.

    Args:
        recipe: a bundled recipe's name, or the path of a ``.toml`` file.
        over: what varies: lists of values by key, as in ``{"model.hidden": [8, 10, 13]}``. ``run.seed`` sets the
            root seeds of the trials of every cell; it adds no cells.
        settings: ``table.key=value``, the same for all cells.
        data_dir: the data root, as for ``run_recipe``.
        out: the folder in which the sweep's folder is made.
        device: ``cpu`` or ``cuda``.
        threads: the number of threads that torch computes with, as for ``run_recipe``.

    Raises:
        LthpruneError: a cell or the folder is refused; the message names it, and nothing is made.

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
    cells = _grid(Sweep(folder, trust_code=True), tables, where, settings, axes)
    load = keeping_the_last()
    with torch_threads(threads):
        for cell in cells:
            try:
                prepare(cell.recipe, data_dir=data_dir, device=device, load=load)
            except LthpruneError as error:
                raise type(error)(f"in the cell {cell}: {error}") from error
    data = cells[0].recipe.data.name
    if any(map(is_path, split_name(data))) and "data.name" not in axes:  # to find the file from another folder later
        settings = [*settings, f"data.name={in_toml(data)}"]
    declared = {
        "format": _FORMAT,
        "recipe": name,
        "settings": list(settings),
        "device": device,
        "data_dir": str(data_root(data_dir).resolve()),
        **({} if threads is None else {"threads": threads}),
        "axes": axes,
        "tables": tables,
    }
    write_atomically(folder / _FILE, tomli_w.dumps(declared).encode())
    return Sweep(folder, trust_code=True)  # the person who begins a sweep has chosen the code that its recipes name


def run_sweep(
    sweep: Sweep,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    watch: Callable[[Cell], AbstractContextManager[Watcher]] = lambda cell: nullcontext(Watcher()),
) -> Sweep:
    """Run the cells of a sweep one after the other; skip finished ones and resume those that have begun.

    A sweep that was interrupted and is run again ends with the same bits as an uninterrupted one. Functions of your
    own that its recipes name are imported only for a ``Sweep(folder, trust_code=True)``.

    Args:
        sweep: what ``begin_sweep`` returned, or ``Sweep(folder)``.
        data_dir: the data root; by default the sweep's own.
        device: ``cpu`` or ``cuda``; by default the sweep's own.
        threads: the number of threads that torch computes with; by default the sweep's own.
        watch: called with each cell before it is run; returns a context manager that yields the watcher.

    Raises:
        StorageError: the folder is not a sweep, or a file in it is damaged or was changed.
        RecipeError: a recipe names functions of your own, and the sweep was opened without ``trust_code``.
    """
    declared, load = sweep.declaration(), keeping_the_last()
    name, data_dir, device = declared["recipe"], data_dir or declared["data_dir"], device or declared["device"]
    threads = declared["threads"] if threads is None else threads
    cells = sweep.cells()
    for cell in cells:
        if cell.finished:
            with only_writer(cell.run.folder):
                continue  # without what a killed process left
        words: dict[str, Any] = {"data_dir": data_dir, "device": device, "threads": threads}
        if cell.run.tickets.exists:
            with watch(cell) as watcher:
                resume_run(cell.run, watcher=watcher, **words)
            continue
        preview = preview_recipe(cell.recipe, data_dir=data_dir, trust_code=sweep.trust_code, load=load)
        with watch(replace(cell, recipe=preview.recipe)) as watcher:
            run_in(cell.run.folder, preview, name, watcher=watcher, load=load, **words)
    return sweep


def keeping_the_last() -> LoadData:
    """Return a ``load_data`` that keeps the last data set in memory, for the cells that share it."""
    kept: dict[str, Dataset] = {}

    def load(spec: DataSpec, **words: Any) -> Dataset:
        key = f"{spec!r} {words!r}"
        if key not in kept:
            kept.clear()
            kept[key] = load_data(spec, **words)
        return kept[key]

    return load


def find_sweeps(folder: str | Path) -> list[Sweep]:
    """Return the sweeps in a folder, oldest first.

    Raises:
        StorageError: there is no such folder.
    """
    files = find_files(folder, _FILE, of="sweeps")
    return [Sweep(path.parent) for path in sorted(files, key=lambda path: (path.stat().st_mtime, path.parent.name))]


def _grid(sweep: Sweep, tables: Mapping[str, Any], where: str, settings: Sequence[str], axes: Axes) -> list[Cell]:
    """Return the cells; the name of a run directory is its place in the grid and its values."""
    keys = [key for key in axes if key != _SEEDS]
    seeds = [f"{_SEEDS}={in_toml(list(axes[_SEEDS]))}"] if _SEEDS in axes else []
    number = math.prod(len(axes[key]) for key in keys)
    if number > _MOST_CELLS:
        raise RecipeError(f"{where} has {number:,} cells; a sweep has at most {_MOST_CELLS:,}. Shorten its axes.")
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
        folder = sweep.folder / fit_for_a_file(run)[:60]
        cells.append(Cell(values, recipe, Run(folder, trust_code=sweep.trust_code)))
    return cells


def _copy(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in tables.items()}
