"""CIFAR-100 and SVHN: miniatures in the originals' formats, read by torchvision's own readers."""

import hashlib
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from lthprune.data.loading import load_data, shape_of_data
from lthprune.data.spec import DataSpec
from lthprune.errors import DataError
from tests.tiny import OFFLINE

TRAIN, TEST = 12, 6


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def images(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, 3, 32, 32), dtype=np.uint8)


def write_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay out a miniature CIFAR-100, whose checksums torchvision is given."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for split, size, seed in (("train", TRAIN, 0), ("test", TEST, 1)):
        labels = [99 - index for index in range(size)]
        entry = {"data": images(size, seed).reshape(size, -1), "fine_labels": labels, "coarse_labels": [0] * size}
        (folder / split).write_bytes(pickle.dumps(entry))
        monkeypatch.setattr(datasets.CIFAR100, f"{split}_list", [[split, md5(folder / split)]])
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(label) for label in range(100)]}))
    monkeypatch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": md5(folder / "meta")})


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay out a miniature SVHN: images (32, 32, 3, N), labels (N, 1), where 10 stands for the digit 0."""
    root.mkdir(parents=True, exist_ok=True)
    for split, size, seed in (("train", TRAIN, 0), ("test", TEST, 1)):
        path = root / f"{split}_32x32.mat"
        labels = np.arange(size, dtype=np.uint8)[:, None] % 10 + 1
        savemat(path, {"X": images(size, seed).transpose(2, 3, 1, 0), "y": labels})
        url, name, _ = datasets.SVHN.split_list[split]
        monkeypatch.setitem(datasets.SVHN.split_list, split, [url, name, md5(path)])


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the files of a folder on this machine, and give the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


WRITERS = {"cifar100": write_cifar100, "svhn": write_svhn}
Writer = Callable[[Path, pytest.MonkeyPatch], None]


@pytest.mark.parametrize(("name", "write"), WRITERS.items())
def test_a_copy_in_the_data_root_is_read_with_its_pixels_and_labels(
    name: str, write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch)
    spec = DataSpec(name=name, validation=2)
    data = load_data(spec, data_dir=tmp_path)
    assert [len(part) for part in (data.x_train, data.x_val, data.x_test)] == [10, 2, 6]
    assert shape_of_data(spec) == ((3, 32, 32), {"cifar100": 100, "svhn": 10}[name])
    expected = {"cifar100": [99, 98, 97, 96, 95, 94], "svhn": [1, 2, 3, 4, 5, 6]}[name]
    assert data.y_test.tolist() == expected
    assert name != "svhn" or 0 in {*data.y_train.tolist(), *data.y_val.tolist()}
    pixels = torch.from_numpy(images(TEST, 1)).float()
    for channel in range(3):  # normalised by one mean and deviation per channel
        seen, own = data.x_test[:, channel], pixels[:, channel]
        torch.testing.assert_close((seen - seen.mean()) / seen.std(), (own - own.mean()) / own.std())


@pytest.mark.parametrize(("name", "write"), WRITERS.items())
@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_damaged_files_are_refused_with_their_place_and_a_remedy(
    name: str, write: Writer, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch)
    path = {"cifar100": tmp_path / "cifar-100-python" / "test", "svhn": tmp_path / "test_32x32.mat"}[name]
    path.write_bytes(path.read_bytes()[:-5] if damage == "cut" else b"")
    with pytest.raises(DataError, match="incomplete or damaged") as caught:
        load_data(DataSpec(name=name, validation=2), data_dir=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "to have" in str(caught.value)


def test_svhn_with_one_of_its_files_keeps_it_and_asks_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, proxy in OFFLINE.items():
        monkeypatch.setenv(variable, proxy)
    write_svhn(tmp_path, monkeypatch)
    (tmp_path / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"could not be downloaded .* Put train_32x32.mat and test_32x32.mat into"):
        load_data(DataSpec(name="svhn", validation=2), data_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train_32x32.mat"]


def test_a_download_puts_into_the_root_only_what_was_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, server = tmp_path / "root", tmp_path / "server"
    for folder in (server, root):
        write_svhn(folder, monkeypatch)
    (root / "train_32x32.mat").unlink()
    before = (root / "test_32x32.mat").stat().st_mtime_ns
    with serving(server) as address:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for split in ("train", "test"):
            _, name, checksum = datasets.SVHN.split_list[split]
            monkeypatch.setitem(datasets.SVHN.split_list, split, [f"{address}/{name}", name, checksum])
        data = load_data(DataSpec(name="svhn", validation=2), data_dir=root)
    assert len(data.x_train) == TRAIN - 2
    assert sorted(path.name for path in root.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]
    assert (root / "test_32x32.mat").stat().st_mtime_ns == before
