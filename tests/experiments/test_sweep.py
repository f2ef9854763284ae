import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import DataError, LthpruneError, RecipeError, StorageError
from lthprune.experiments.axes import parse_axes
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.folders import find_runs
from lthprune.experiments.recipe import load_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.summary import smallest_winning
from lthprune.experiments.sweep import Cell, Sweep, begin_sweep, run_sweep
from lthprune.experiments.sweep_summary import summarise_sweep
from lthprune.training.record import Evaluation
from tests.tiny import BITS, SETTINGS, contents, copied_before_writes, write_npz

SHORT = [setting for setting in SETTINGS if "trials" not in setting]
GRID = {"model.hidden": [4, 8], "run.seed": [3, 1]}


def begin(out: Path, over: Mapping[str, Sequence[Any]] = GRID, *settings: str) -> Sweep:
    """Declare a sweep over networks of a few hidden units, two levels and six steps."""
    return begin_sweep("lenet-digits", over, [*SHORT, *settings], out=out)


def bits(sweep: Sweep) -> dict[str, BITS]:
    return {cell.run.name: contents(cell.run.folder) for cell in sweep.cells()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A finished sweep; not to be changed."""
    return run_sweep(begin(tmp_path_factory.mktemp("sweeps")))


def test_the_cells_are_the_grid_in_the_order_of_the_axes(tmp_path: Path) -> None:
    sweep = begin(tmp_path, {"prune.method": ["osp", "imp"], "run.seed": [3, 1], "model.hidden": [4, 8, 2]})
    cells = sweep.cells()
    assert [tuple(cell.values.values()) for cell in cells] == [(m, h) for m in ("osp", "imp") for h in (4, 8, 2)]
    assert [(cell.recipe.prune.method, cell.recipe.model.hidden) for cell in cells] == [
        tuple(cell.values.values()) for cell in cells
    ]
    assert {(cell.recipe.run.seed, cell.recipe.run.trials) for cell in cells} == {((3, 1), 2)}
    assert str(cells[1]) == 'prune.method="osp", model.hidden=8'
    assert cells[1].run.name == "1-method-osp-hidden-8"
    assert not any(cell.finished for cell in cells)
    assert [path.name for path in sweep.folder.iterdir()] == ["sweep.toml"]


def test_a_cells_run_is_the_run_of_its_recipe(finished: Sweep, tmp_path: Path) -> None:
    for cell in finished.cells():
        settings = [*SHORT, "run.seed=[3, 1]", f"model.hidden={cell.values['model.hidden']}"]
        alone = run_recipe(load_recipe("lenet-digits", settings), "lenet-digits", out=tmp_path)
        assert contents(cell.run.folder) == contents(alone.folder)
        assert cell.run.recipe() == cell.recipe == alone.recipe()
        assert cell.run.recipe_name == "lenet-digits"
    assert [run.name for run in find_runs(finished.folder)] == [cell.run.name for cell in finished.cells()]


def test_lengths_in_epochs_follow_from_the_data_in_every_cell(tmp_path: Path) -> None:
    sweep = begin(tmp_path, {"prune.rewind": ["0.25ep", 2]}, "train.steps=0.5ep")
    assert [str(cell.recipe.train.steps) for cell in sweep.cells()] == ["0.5ep", "0.5ep"]
    run_sweep(sweep)
    ran = [cell.recipe for cell in Sweep(sweep.folder).cells()]
    assert [(recipe.train.steps, recipe.prune.rewind) for recipe in ran] == [(6, 3), (6, 2)]


def test_seeds_alone_are_one_cell(tmp_path: Path) -> None:
    (cell,) = begin(tmp_path, {"run.seed": [5, 6, 7]}).cells()
    assert (cell.values, cell.recipe.run.seed, str(cell)) == ({}, (5, 6, 7), "run.seed=[5, 6, 7]")


@pytest.mark.parametrize(
    "values",
    [
        {"prune.rate": [{"dense": 0.2, "output": 0.1}, 0.5]},
        {"prune.densities": [[0.5, 0.1], [100, 50]]},
        {"data.name": ["digits", "mnist"]},
        {"run.keep_early_stop": [True, False]},
        {"train.lr": [1e-05, 3.0]},
        {"prune.include": [["dense*", "out  put"]]},
    ],
    ids=str,
)
def test_values_of_every_kind_reach_the_recipe_and_come_back_from_the_disk(
    tmp_path: Path, values: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lthprune.experiments.sweep.prepare", lambda *_, **__: None)  # which not all of them would pass
    ((key, listed),) = values.items()
    table, name = key.split(".")
    cells = begin(tmp_path, values).cells()
    assert [cell.values[key] for cell in cells] == listed
    assert [cell.recipe.model_dump(mode="json")[table][name] for cell in cells] == listed


def test_a_rate_for_all_and_targets_as_an_axis_give_every_cell_levels_of_its_own(tmp_path: Path) -> None:
    base = [setting for setting in SHORT if "levels" not in setting]
    sweep = begin_sweep("lenet-digits", {"prune.target": [300, 100]}, [*base, "prune.rate=0.3"], out=tmp_path)
    assert [cell.recipe.prune.levels for cell in sweep.cells()] == [None, None]  # no cell has begun
    run_sweep(sweep)
    prunings = [cell.recipe.prune for cell in sweep.cells()]
    assert [(prune.levels, prune.rate, prune.target) for prune in prunings] == [(2, 0.3, None), (5, 0.3, None)]
    assert all(cell.finished for cell in sweep.cells())


@pytest.mark.parametrize(
    ("over", "settings", "says"),
    [
        ({}, [], "nothing to sweep over"),
        ({"model.hidden": []}, [], "model.hidden has no values"),
        ({"model.hidden": [8, 8]}, [], "has a value twice: 8, 8"),
        ({"model.hidden": [8]}, ["model.hidden=3"], "both an axis and a setting of all cells"),
        ({"model.hiden": [8]}, [], "in the cell model.hiden=8: .* did you mean 'hidden'"),
        ({"hidden": [8]}, [], r"write table\.key=value"),
        ({"model.hidden": [8, 0]}, [], r"in the cell model.hidden=0: .*\[model\] hidden"),
        ({"model.hidden": [8, object()]}, [], "cannot be a value of a recipe"),
        ({"run.seed": [0, 1]}, ["run.trials=3"], "seed lists 2"),
        ({"run.seed": [0, -1]}, [], r"\[run\] seed"),
        ({"data.validation": [9, 1437]}, [], "in the cell data.validation=1437: .* 1,437 training samples"),
        ({"model.hidden": [8], "prune.include": [["output"], ["x"]]}, [], r'hidden=8, prune.include=\["x"\]: '),
        ({"data.name": ["digits", "nowhere.npz"]}, [], r'in the cell data.name=".*/nowhere.npz": there is no file'),
    ],
)
def test_a_grid_with_a_faulty_cell_is_refused_by_that_cell_before_anything_is_made(
    tmp_path: Path, over: dict[str, list[Any]], settings: list[str], says: str
) -> None:
    with pytest.raises(LthpruneError, match=says):
        begin(tmp_path / "sweeps", over, *settings)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(-50, 50), st.integers(0, 20))
def test_a_range_names_both_its_bounds(first: int, more: int) -> None:
    assert parse_axes([f" a . b = {first}..{first + more}"]) == {"a . b": list(range(first, first + more + 1))}


@pytest.mark.parametrize(
    "text", ["a.b", "a.b=", "a.b=8", "a.b=8,9", "a.b=1..", "a.b=1...3", "a.b=0.5..1", "a.b=[imp]", "a.b=3..1", "a.b={}"]
)
def test_an_axis_that_is_no_list_and_no_range_is_quoted(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_axes([text])
    assert repr(text) in str(caught.value)


def test_an_axis_that_is_given_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"two axes a\.b"):
        parse_axes(["a.b=[1]", "a.c=[1]", "a.b=[2]"])


def moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Sweep, list[Path]]:
    """Run a sweep, and copy what a kill before any of its writes would leave."""
    settings = ("train.momentum=0.9", "train.optimizer=sgd")
    return copied_before_writes(tmp_path, monkeypatch, lambda out: run_sweep(begin(out, GRID, *settings)))


def test_a_sweep_killed_before_any_of_its_writes_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, copies = moments(tmp_path, monkeypatch)
    assert [Sweep(copy).exists for copy in copies] == [False] + [True] * (len(copies) - 1)
    assert len(copies) == 1 + 2 * (7 + 3 * 6)  # of each run: 7 files to begin with, and 6 for a level
    expected = bits(whole)
    for copy in copies[1:]:
        assert bits(run_sweep(Sweep(copy))) == expected, copy
        assert not list(copy.rglob("*.part"))


def test_finished_cells_are_not_run_again_and_begun_ones_go_on_after_their_last_level(
    finished: Sweep, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    entered: list[str] = []
    seen: list[tuple[str, int]] = []
    stop_at = ("model.hidden=8", 1)

    @contextmanager
    def watch(cell: Cell) -> Iterator[Watcher]:
        entered.append(str(cell))

        def look(level: int, trial: int, evaluation: Evaluation) -> None:
            seen.append((str(cell), level))
            if seen[-1] == stop_at:
                raise Killed

        yield Watcher(on_evaluation=look)

    sweep = begin(tmp_path)
    with pytest.raises(Killed):
        run_sweep(sweep, watch=watch)
    assert [cell.finished for cell in sweep.cells()] == [True, False]
    assert [len(row.levels) for row in summarise_sweep(sweep)] == [3, 1]
    seen.clear()
    entered.clear()
    stop_at = ("", 0)
    assert bits(run_sweep(Sweep(sweep.folder), watch=watch)) == bits(finished)
    assert list(dict.fromkeys(seen)) == [("model.hidden=8", 1), ("model.hidden=8", 2)]
    run_sweep(sweep, watch=watch)
    assert entered == ["model.hidden=8"]


def test_a_sweep_goes_on_from_anywhere_with_its_own_recipe_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "own.npz")
    write_npz(tmp_path / "other.npz", seed=1)
    words = ["data.validation=10", "train.batch_size=10"]
    Path("mine.toml").write_text(load_recipe("lenet-digits", SHORT).to_toml())
    swept = begin_sweep("mine.toml", {"data.name": ["own.npz", "other.npz"]}, words, out="sweeps")
    fixed = begin_sweep("mine.toml", {"model.hidden": [4]}, [*words, "data.name=own.npz"], out="sweeps")
    folders = [sweep.folder.resolve() for sweep in (swept, fixed)]
    Path("mine.toml").unlink()
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    for folder in folders:
        cells = run_sweep(Sweep(folder)).cells()
        assert all(cell.finished for cell in cells)
        assert [Path(cell.recipe.data.name).parent for cell in cells] == [tmp_path] * len(cells)


def test_data_are_loaded_once_for_all_cells_that_share_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lthprune.data.loading import load_data

    loaded: list[str] = []

    def load(spec: Any, **words: Any) -> Any:
        loaded.append(spec.name)
        return load_data(spec, **words)

    monkeypatch.setattr("lthprune.experiments.sweep.load_data", load)
    monkeypatch.setattr("lthprune.experiments.experiment.load_data", load)
    sweep = begin(tmp_path)
    assert loaded == ["digits"]
    run_sweep(sweep)
    assert loaded == ["digits"] * 2


def test_a_summary_has_a_row_for_every_cell_begun_or_not(finished: Sweep, tmp_path: Path) -> None:
    for row in summarise_sweep(finished):
        assert row.levels == row.cell.run.summary()
        assert row.winner == smallest_winning(row.levels)
        assert row.seconds == sum(row.cell.run.environment()["seconds_per_level"].values())
    copy = Sweep(shutil.copytree(finished.folder, tmp_path / "copy"))
    (copy.folder / "0-hidden-4" / "environment.json").unlink()
    shutil.rmtree(copy.folder / "1-hidden-8")
    begun, other = summarise_sweep(copy)
    assert (len(begun.levels), begun.seconds) == (3, None)
    assert (other.levels, other.winner, other.seconds) == ([], None, None)


def test_networks_of_several_sizes_are_pruned_to_exactly_the_same_weights(tmp_path: Path) -> None:
    settings = ["train.steps=4", "prune.extends=8", "prune.rate=0.32", "prune.target=60", "data.validation=200"]
    sizes = {"model.hidden": [8, 10, 13], "run.seed": [0]}
    sweep = run_sweep(begin_sweep("moons-circles", sizes, settings, out=tmp_path))
    left = [[level.left for level in row.levels] for row in summarise_sweep(sweep)]
    assert left == [[112, 76, 52], [160, 112, 76, 52], [247, 160, 112, 76, 52]]
    assert all(cell.finished for cell in run_sweep(Sweep(sweep.folder)).cells())  # and it can be resumed


@pytest.mark.parametrize(
    "content",
    [
        *(None, b"", b"[", b"\xff", b"format = 2", b"format = 1"),
        b'format = 1\nrecipe = "a"\nsettings = []\ndevice = "cpu"\ndata_dir = ""\naxes = {}\ntables = 3',
    ],
)
def test_a_folder_without_a_whole_declaration_is_no_sweep(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "sweep.toml").write_bytes(content)
    with pytest.raises(StorageError, match=r"sweep\.toml"):
        run_sweep(Sweep(tmp_path))


def test_an_edited_declaration_is_refused_once_a_cell_has_begun(finished: Sweep, tmp_path: Path) -> None:
    copy = Sweep(shutil.copytree(finished.folder, tmp_path / "copy"))
    path = copy.folder / "sweep.toml"
    path.write_text(path.read_text().replace("lr = 0.0012", "lr = 0.5"))
    with pytest.raises(StorageError, match=r"ran another recipe than .* now says for model\.hidden=4"):
        run_sweep(copy)
    assert bits(finished) == {run.name: contents(run.folder) for run in find_runs(copy.folder)}


def test_a_sweep_from_before_a_key_was_there_is_gone_on_with(finished: Sweep, tmp_path: Path) -> None:
    copy = Sweep(shutil.copytree(finished.folder, tmp_path / "copy"))
    manifest = copy.cells()[0].run.folder / "manifest.json"
    begun = json.loads(manifest.read_text())
    del begun["search"]["settings"]["run"]["coverage"]
    manifest.write_text(json.dumps(begun))
    assert all(cell.finished for cell in run_sweep(copy).cells())


def test_a_sweep_is_not_begun_in_a_run(finished: Sweep) -> None:
    with pytest.raises(StorageError, match="is itself a run"):
        begin(finished.cells()[0].run.folder)


def test_a_sweep_of_data_that_are_gone_says_so(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz")
    sweep = begin(tmp_path, GRID, f"data.name={path}", "data.validation=10", "train.batch_size=10")
    path.unlink()
    with pytest.raises(DataError, match="no file"):
        run_sweep(sweep)
    assert not any(Run(cell.run.folder).tickets.exists for cell in sweep.cells())


def test_a_sweep_is_shown_by_its_folder() -> None:
    assert repr(Sweep("sweeps/one")) == "Sweep('sweeps/one')"
