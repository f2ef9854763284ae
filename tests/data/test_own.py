"""Data sets of one's own, from functions named in the ``[data]`` table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lthprune.data.dataset import Task
from lthprune.data.loading import load_data, shape_of_data, shapes_of_parts, tasks_of
from lthprune.data.spec import DataSpec
from lthprune.errors import DataError, RecipeError
from tests.own_parts import imports_restored, write_module

NAME = "my_data_here"
DATA = """
    import numpy as np
    import torch

    def arrays(data_dir, *, classes=3, shape=(4,)):
        draws = np.random.default_rng(0)
        splits = [(draws.standard_normal((size, *shape)), np.arange(size) % classes) for size in (60, 20)]
        return tuple(part for split in splits for part in split)

    def tensors(data_dir, **words):
        return [torch.from_numpy(part) for part in arrays(data_dir, **words)]

    def rare(data_dir):
        x_train, y_train, x_test, y_test = arrays(data_dir)
        return x_train, np.arange(60), x_test, y_test

    def from_the_root(data_dir):
        file = np.load(data_dir / "own.npz")
        return file["x_train"], file["y_train"], file["x_test"], file["y_test"]

    def two(data_dir):
        return arrays(data_dir)[:2]

    def lists(data_dir):
        return [[1.0]], [0], [[1.0]], [0]

    def labels_of_text(data_dir):
        x_train, _, x_test, y_test = arrays(data_dir)
        return x_train, np.array(["a"] * 60), x_test, y_test

    def too_few(data_dir):
        x_train, y_train, x_test, y_test = arrays(data_dir)
        return x_train, y_train[:-1], x_test, y_test

    def failing(data_dir):
        return open(data_dir / "nowhere")
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path, NAME, DATA)
    with imports_restored(NAME):
        yield


def spec(function: str, **words: Any) -> DataSpec:
    return DataSpec.model_validate({"name": f"{NAME}:{function}", "validation": 10} | words)


@pytest.mark.parametrize("function", ["arrays", "tensors"])
def test_four_arrays_or_tensors_become_a_data_set_with_one_task(function: str) -> None:
    data = load_data(spec(function, settings={"classes": 5}), trust_code=True)
    assert [tuple(x.shape) for x in (data.x_train, data.x_val, data.x_test)] == [(50, 4), (10, 4), (20, 4)]
    assert data.tasks == (Task(function, range(4), range(5)),)
    assert data.tasks == tasks_of(spec(function, settings={"classes": 5}), trust_code=True)
    assert data.fingerprint == load_data(spec(function, settings={"classes": 5}), trust_code=True).fingerprint
    assert data.fingerprint != load_data(spec(function), trust_code=True).fingerprint


def test_images_are_resized_and_classes_kept_as_of_any_data_set() -> None:
    words = {"size": 2, "classes": [2, 0], "settings": {"shape": [1, 6, 6]}}
    assert shape_of_data(spec("arrays", **words), trust_code=True) == ((1, 2, 2), 2)
    assert load_data(spec("arrays", **words), trust_code=True).input_shape == (1, 2, 2)


def test_a_function_is_one_of_several_tasks() -> None:
    joined = DataSpec(name=f"moons+{NAME}:arrays+{NAME}:rare", validation=10)
    data = load_data(joined, trust_code=True)
    assert [task.name for task in data.tasks] == ["moons", "arrays", "rare"]
    assert shapes_of_parts(joined, trust_code=True) == [(2,), (4,), (4,)]
    assert data.tasks == tasks_of(joined, trust_code=True)
    assert data.outputs == 1 + 3 + 60


def test_a_function_gets_the_folder_of_data_sets(tmp_path: Path) -> None:
    from tests.tiny import write_npz

    (tmp_path / "root").mkdir()
    write_npz(tmp_path / "root" / "own.npz")
    data = load_data(spec("from_the_root"), data_dir=tmp_path / "root", trust_code=True)
    assert torch.equal(data.y_test, load_data(DataSpec(name=str(tmp_path / "root" / "own.npz"), validation=10)).y_test)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("two", "the function returned ndarray, ndarray; it must return four arrays or tensors: x_train, y_train"),
        ("lists", "the function returned list, list, list, list; it must return four"),
        ("labels_of_text", r"the data that .* returned cannot be used: y_train is not a vector of whole numbers"),
        ("too_few", "x_train has 60 samples and y_train 59 labels"),
        ("failing", "the function failed with FileNotFoundError"),
    ],
)
def test_a_function_that_returns_no_data_set_is_refused_with_what_it_did(function: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        load_data(spec(function), trust_code=True)
    assert f'[data] name = "{NAME}:{function}"' in str(caught.value)


@pytest.mark.parametrize("function", [load_data, shape_of_data, tasks_of, shapes_of_parts])
def test_without_consent_no_data_are_loaded(function: Any) -> None:
    with pytest.raises(RecipeError, match="--trust-code"):
        function(spec("arrays"))
