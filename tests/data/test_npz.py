import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lthprune.data.npz import load_npz
from lthprune.errors import DataError
from tests.tiny import write_npz


class Trap:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def pair(shape: tuple[int, ...], dtype: type = np.float32) -> dict[str, object]:
    """Inputs of one shape for 60 training and 20 test samples."""
    count = int(np.prod(shape))
    return {
        f"x_{split}": np.arange(size * count).reshape(size, *shape).astype(dtype)
        for split, size in (("train", 60), ("test", 20))
    }


@pytest.mark.parametrize(
    ("shape", "kept", "axes"),
    [
        ((7,), (7,), (0, 1)),
        ((5, 6), (1, 5, 6), None),
        ((5, 6, 3), (3, 5, 6), (0, 3, 1, 2)),
        ((5, 6, 1), (1, 5, 6), (0, 3, 1, 2)),
        ((3, 5, 6), (3, 5, 6), (0, 1, 2, 3)),
        ((3, 5, 4), (4, 3, 5), (0, 3, 1, 2)),
    ],
    ids=["vectors", "grey", "channels last", "one channel last", "channels first", "both fit"],
)
def test_vectors_and_images_of_every_layout_become_channels_first(
    tmp_path: Path, shape: tuple[int, ...], kept: tuple[int, ...], axes: tuple[int, ...] | None
) -> None:
    words = pair(shape)
    raw = load_npz(write_npz(tmp_path / "own.npz", **words))
    given = np.asarray(words["x_train"])
    expected = given[:, None] if axes is None else given.transpose(axes)
    assert raw.x_train.shape == (60, *kept)
    assert np.array_equal(raw.x_train.numpy(), expected)
    assert raw.x_test.shape == (20, *kept)
    assert raw.x_train.is_contiguous()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float64, ">f4"])
def test_bytes_stay_bytes_and_all_other_numbers_become_floats(tmp_path: Path, dtype: type) -> None:
    raw = load_npz(write_npz(tmp_path / "own.npz", **pair((2,), dtype)))
    assert raw.x_train.dtype == (torch.uint8 if dtype is np.uint8 else torch.float32)
    assert raw.y_train.dtype == torch.int64


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        ({"y_test": None, "x_test": None}, ["lacks x_test, y_test", "it has x_train, y_train"]),
        (pair((2, 2, 2, 2)), ["x_train has 5 dimensions", "x_test has 5 dimensions"]),
        (pair(()), ["x_train has 1 dimensions"]),
        (pair((5, 5, 5)), ["no axis of 1 to 4 channels"]),
        ({"x_train": np.full((60, 2), "a")}, ["x_train holds <U1"]),
        ({"x_train": np.ones((60, 2), complex)}, ["x_train holds complex128"]),
        ({"x_train": np.full((60, 2), np.nan)}, ["x_train has values that are NaN or infinite"]),
        ({"x_test": np.full((20, 2), np.inf)}, ["x_test has values that are NaN or infinite"]),
        (
            {"y_train": np.ones(60)},
            ["y_train is not a vector of whole numbers but float64", "trains classifiers", "stored as integers"],
        ),
        ({"y_test": np.full(20, 0.5, np.float32)}, ["y_test is not a vector of", "pruning of regressions lost them"]),
        ({"y_train": np.ones((60, 3), int)}, ["y_train is not a vector", "(60, 3)"]),
        ({"y_test": np.full(20, -1)}, ["y_test has labels from -1 to -1"]),
        ({"y_test": np.zeros(19, int)}, ["x_test has 20 samples and y_test 19 labels"]),
        ({"x_test": np.zeros((0, 4, 4)), "y_test": np.zeros(0, int)}, ["x_test is empty"]),
        ({"y_train": np.full(60, 10**12)}, ["y_train has labels from 1000000000000"]),
        ({"x_train": np.full((60, 2), 1e300)}, ["x_train has values that are NaN or infinite, in single precision"]),
        ({"x_test": np.zeros((20, 4, 4), np.int64)}, ["x_train holds uint8 and x_test int64"]),
        ({"x_test": np.zeros((20, 4, 5), np.uint8)}, ["inputs of shape (4, 4), x_test (4, 5)"]),
        ({"y_train": np.ones(60), "x_test": np.zeros((20, 4, 5, 6, 7))}, ["y_train is not", "x_test has 5"]),
    ],
)
def test_each_fault_of_a_file_is_named_with_the_file(
    tmp_path: Path, words: dict[str, object], faults: list[str]
) -> None:
    path = write_npz(tmp_path / "own.npz", **words)
    with pytest.raises(DataError) as caught:
        load_npz(path)
    assert all(fault in str(caught.value) for fault in [str(path), *faults]), str(caught.value)


def test_pickled_objects_are_refused_and_their_code_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    trap = np.array([Trap(mark)] * 60, dtype=object)
    for name in ("x_train", "y_train"):
        path = write_npz(tmp_path / f"{name}.npz", **{name: trap})
        with pytest.raises(DataError, match="would run code"):
            load_npz(path)
    assert not mark.exists()
    np.load(tmp_path / "x_train.npz", allow_pickle=True)["x_train"]  # the trap does work
    assert mark.exists()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def text(path: Path) -> None:
    path.write_text("x_train")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def members_that_are_no_arrays(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            file.writestr(name, b"hello")


def damaged_compression(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    data = bytearray(path.read_bytes())
    data[100:130] = b"\xff" * 30
    path.write_bytes(data)


def forged_header(path: Path) -> None:
    """Ten elements, and a header that says 10**13."""
    with np.load(path) as file:
        arrays = dict(file)
    del arrays["x_train"]
    np.savez(path, **arrays)  # type: ignore[arg-type]
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10)})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("x_train.npy", content.getvalue() + bytes(40))


def unfinished_header(path: Path) -> None:
    """An array whose header is no expression of Python, so that numpy's tokenizer fails."""
    header = b"{'descr': ('<f4', (\n"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            file.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def damaged_lzma(path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for name, content in members.items():
            file.writestr(name, content)
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)


def unknown_compression(path: Path) -> None:
    """Archives whose members state the compression 97, in their own headers and in the directory."""
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        for found in re.finditer(re.escape(mark), bytes(data)):
            data[found.start() + place : found.start() + place + 2] = (97).to_bytes(2, "little")
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [unfinished_header, damaged_lzma, unknown_compression],
)
def test_a_file_that_zipfile_and_numpy_cannot_decode_is_refused_with_its_name(tmp_path: Path, damage: object) -> None:
    path = write_npz(tmp_path / "own.npz")
    assert callable(damage)
    damage(path)
    with pytest.raises(DataError, match=r"own\.npz is not a readable"):
        load_npz(path)


@pytest.mark.parametrize(
    "damage",
    [forged_header, truncated, text, empty, a_folder, a_single_array, members_that_are_no_arrays, damaged_compression],
)
def test_a_file_that_is_no_readable_npz_is_refused_with_its_name(tmp_path: Path, damage: object) -> None:
    path = write_npz(tmp_path / "own.npz")
    assert callable(damage)
    damage(path)
    with pytest.raises(DataError) as caught:
        load_npz(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*own\.npz"):
        load_npz(tmp_path / "own.npz")


def test_arrays_that_do_not_fit_into_the_memory_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.npz"
    np.savez_compressed(path, x_train=np.zeros((60, 10_000)), y_train=np.zeros(60, int), x_test=0, y_test=0)
    monkeypatch.setattr("lthprune.array_files.available_memory", lambda: 1_000_000)
    with pytest.raises(DataError, match=r"its arrays take 0\.0 GB, and 0\.0 GB of memory are available"):
        load_npz(path)
    assert path.stat().st_size < 100_000
