import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lthprune.data.dataset import Dataset
from lthprune.data.loading import load_data, shape_of_data
from lthprune.data.sources import SOURCES, data_root
from lthprune.data.spec import DataSpec
from lthprune.errors import DataError
from tests.nets import bits
from tests.tiny import OFFLINE, write_npz

SIZES = {
    "digits": (1437, 360),
    "mnist": (60_000, 10_000),
    "fashion-mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
}
FILES = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "svhn": "train_32x32.mat and test_32x32.mat",
    "tiny-imagenet": "tiny-imagenet-200",
}
RAW = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def spec(name: str = "digits", validation: int = 237) -> DataSpec:
    return DataSpec(name=name, validation=validation)


def load(name: str, *, validation: int = 237, seed: int = 0) -> Dataset:
    """Load a data set, or skip the test where a data root would be needed and none is set."""
    if name != "digits" and not os.environ.get("LTHPRUNE_DATA"):
        pytest.skip("LTHPRUNE_DATA is not set: no copies of MNIST, Fashion-MNIST and CIFAR-10 to load")
    return load_data(spec(name, validation), seed=seed)


def write_idx(folder: Path, train: int = 12, test: int = 6) -> None:
    """Lay out a miniature MNIST: images of 28x28 pixels in the original's format."""
    generator = np.random.default_rng(0)
    (folder / "raw").mkdir(parents=True)
    for split, size in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        (folder / "raw" / f"{split}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, size, 28, 28) + images.tobytes()
        )
        labels = np.arange(size, dtype=np.uint8) % 10
        (folder / "raw" / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, size) + labels.tobytes())


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, proxy in OFFLINE.items():
        monkeypatch.setenv(name, proxy)


@pytest.mark.parametrize("name", SIZES)
def test_a_data_set_has_its_known_shape_sizes_classes_and_scale(name: str) -> None:
    data = load(name)
    train, test = SIZES[name]
    shape, classes = shape_of_data(spec(name))
    assert (data.input_shape, data.outputs) == (shape, classes)
    assert [len(part) for part in (data.x_train, data.x_val, data.x_test)] == [train - 237, 237, test]
    assert [len(part) for part in (data.y_train, data.y_val, data.y_test)] == [train - 237, 237, test]
    axes = (0, 2, 3)
    torch.testing.assert_close(data.x_train.mean(axes), torch.zeros(shape[0]), atol=2e-3, rtol=0)
    torch.testing.assert_close(data.x_train.std(axes, correction=0), torch.ones(shape[0]), atol=2e-3, rtol=0)
    assert data.x_test.mean().abs() < 0.1
    assert (torch.bincount(data.y_train) > 0.05 * train).all()
    samples = {sample.numpy().tobytes() for sample in data.x_train[:3000]} if name == "digits" else set()
    assert not any(sample.numpy().tobytes() in samples for sample in data.x_val)


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_split_changes_with_the_seed_and_the_test_part_stays(name: str) -> None:
    first, again, other = (load(name, seed=seed) for seed in (0, 0, 1))
    assert bits(first.x_val) == bits(again.x_val)
    assert bits(first.x_train) == bits(again.x_train)
    assert not torch.equal(first.y_val, other.y_val)
    assert torch.equal(first.y_test, other.y_test)
    assert first.fingerprint == other.fingerprint


def test_the_digits_tested_on_are_none_of_those_trained_on() -> None:
    data = load("digits")
    known = {sample.numpy().tobytes() for part in (data.x_train, data.x_val) for sample in part}
    assert len(known) > 1400
    assert sum(sample.numpy().tobytes() in known for sample in data.x_test) == 0


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("there", [True, False])
def test_missing_data_say_where_to_put_which_files_and_leave_nothing_behind(
    tmp_path: Path, name: str, there: bool
) -> None:
    root = tmp_path / "data"
    if there:
        root.mkdir()
    with pytest.raises(DataError) as caught:
        load_data(spec(name), data_dir=root)
    for word in (str(root), FILES[name], "--data-dir", "LTHPRUNE_DATA"):
        assert word in str(caught.value)
    assert list(tmp_path.rglob("*")) == ([root] if there else [])


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_copy_on_disk_is_read_from_the_data_dir_or_from_the_environment(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / FILES[name])
    data = load_data(spec(name, 4), data_dir=tmp_path)
    assert (data.x_train.shape, data.x_test.shape) == ((8, 1, 28, 28), (6, 1, 28, 28))
    monkeypatch.setenv("LTHPRUNE_DATA", str(tmp_path))
    assert load_data(spec(name, 4)).fingerprint == data.fingerprint


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("file", RAW)
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "other magic", "fewer"])
def test_damaged_raw_files_are_refused_with_the_folder_and_the_mend(tmp_path: Path, file: str, damage: str) -> None:
    write_idx(tmp_path / "MNIST")
    path = tmp_path / "MNIST" / "raw" / file
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "fewer":
        images, size = "images" in file, 784 if "images" in file else 1
        path.write_bytes(struct.pack(">II", 0x803 if images else 0x801, 3) + data[8 : (16 if images else 8) + 3 * size])
    else:
        path.write_bytes({"empty": b"", "short": data[:-5], "other magic": b"\xff" * 8 + data[8:]}[damage])
    with pytest.raises(DataError, match="remove the folder") as caught:
        load_data(spec("mnist", 4), data_dir=tmp_path)
    assert str(tmp_path / "MNIST") in str(caught.value)


def test_an_npz_file_stands_in_for_cifar10(tmp_path: Path) -> None:
    words = {
        f"x_{split}": np.zeros((size, 32, 32, 3), np.uint8) + np.arange(3, dtype=np.uint8) * 100
        for split, size in (("train", 60), ("test", 20))
    }
    labels = {f"y_{split}": np.arange(size) % 10 for split, size in (("train", 60), ("test", 20))}
    write_npz(tmp_path / "cifar10.npz", **words, **labels)
    data = load_data(spec("cifar10", 10), data_dir=tmp_path)
    assert data.input_shape == (3, 32, 32)
    (tmp_path / "cifar10.npz").write_bytes(b"PK\3\4")
    with pytest.raises(DataError, match="cifar10"):
        load_data(spec("cifar10", 10), data_dir=tmp_path)


@pytest.mark.parametrize(
    ("shape", "classes", "held"),
    [
        ((32, 32, 3), 5, r"\(3, 32, 32\) with 5 classes"),
        ((32, 32, 3), 12, r"\(3, 32, 32\) with 12 classes"),
        ((32, 32), 10, r"\(1, 32, 32\) with 10 classes"),
        ((28, 28, 3), 10, r"\(3, 28, 28\) with 10 classes"),
    ],
)
def test_files_that_hold_another_data_set_than_their_name_says_are_refused(
    tmp_path: Path, shape: tuple[int, ...], classes: int, held: str
) -> None:
    inputs = {f"x_{split}": np.zeros((size, *shape), np.uint8) for split, size in (("train", 60), ("test", 20))}
    labels = {f"y_{split}": np.arange(size) % classes for split, size in (("train", 60), ("test", 20))}
    write_npz(tmp_path / "cifar10.npz", **inputs, **labels)
    with pytest.raises(DataError, match=f"cifar10 in .* hold another data set: inputs of shape {held}"):
        load_data(spec("cifar10", 10), data_dir=tmp_path)


def test_an_npz_file_of_ones_own_is_a_data_set_by_its_path(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz")
    assert shape_of_data(spec(str(path), 10)) == ((1, 4, 4), 3)
    assert len(load_data(spec(str(path), 10)).x_train) == 50


@pytest.mark.parametrize("name", ["mnits", "MNIST", "digits.npy", ""])
def test_an_unknown_data_set_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValidationError, match=f"Known: {', '.join(SOURCES)}"):
        spec(name)


def test_the_data_root_is_the_argument_else_the_environment_else_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTHPRUNE_DATA", "~/there")
    assert data_root("/here") == Path("/here")
    assert data_root() == Path.home() / "there"
    for nothing in ("", None):
        if nothing is None:
            monkeypatch.delenv("LTHPRUNE_DATA")
        else:
            monkeypatch.setenv("LTHPRUNE_DATA", nothing)
        assert data_root() == Path.home() / ".cache" / "lthprune"
