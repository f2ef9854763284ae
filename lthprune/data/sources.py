"""Built-in data sets: embedded, read from disk, or downloaded once through torchvision."""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lthprune.data.dataset import Raw
from lthprune.data.npz import load_npz
from lthprune.errors import DataError

_TIMEOUT = 30  # seconds without an answer before a download fails


def data_root(data_dir: str | Path | None = None) -> Path:
    """Return the folder in which data sets are found, and into which they are downloaded."""
    chosen = data_dir or os.environ.get("LTHPRUNE_DATA") or Path.home() / ".cache" / "lthprune"
    return Path(chosen).expanduser()


def _digits(root: Path) -> Raw:
    """Return scikit-learn's digits: 1,797 real 8x8 images, a fixed fifth of them for testing."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images.astype(np.float32)).view(-1, 1, 8, 8) / 16
    y = torch.from_numpy(labels.astype(np.int64))
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(x)))  # RandomState is frozen by numpy's policy
    test, train = order[:360], order[360:]
    return Raw(x[train], y[train], x[test], y[test])


def _mnist(root: Path) -> Raw:
    return _through_torchvision("MNIST", root, "MNIST", "MNIST/raw/train-images-idx3-ubyte and its three sisters")


def _fashion_mnist(root: Path) -> Raw:
    return _through_torchvision(
        "FashionMNIST", root, "FashionMNIST", "FashionMNIST/raw/train-images-idx3-ubyte and its three sisters"
    )


def _cifar10(root: Path) -> Raw:
    if (root / "cifar10.npz").is_file():
        return load_npz(root / "cifar10.npz")
    return _through_torchvision("CIFAR10", root, "cifar-10-batches-py", "cifar-10-batches-py/, or cifar10.npz")


class Source(NamedTuple):
    """A built-in data set: how to load it, the shape of its inputs (C, H, W), the number of its classes."""

    load: Callable[[Path], Raw]
    input_shape: tuple[int, ...]
    classes: int = 10


SOURCES: dict[str, Source] = {
    "digits": Source(_digits, (1, 8, 8)),
    "mnist": Source(_mnist, (1, 28, 28)),
    "fashion-mnist": Source(_fashion_mnist, (1, 28, 28)),
    "cifar10": Source(_cifar10, (3, 32, 32)),
}


def _through_torchvision(name: str, root: Path, folder: str, files: str) -> Raw:
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:  # a torchvision that was built for another torch
        raise DataError(
            f"torchvision, which reads {name}, cannot be imported ({' '.join(str(error).split())}). Install torch and "
            "torchvision together, from one index: pip install --force-reinstall torch torchvision."
        ) from error

    make = getattr(datasets, name)
    if not (root / folder).exists():
        _download(make, name, root, folder, files)
    try:
        train, test = make(root, train=True), make(root, train=False)
    except Exception as error:  # torchvision's parsers raise errors of many types
        raise DataError(
            f"the {name} files in {root / folder} are incomplete or damaged ({error}). Put {files} there, "
            "or remove the folder to have it downloaded."
        ) from error
    raw = Raw(*_tensors(train), *_tensors(test))
    if len(raw.x_train) != len(raw.y_train) or len(raw.x_test) != len(raw.y_test):
        raise DataError(
            f"the {name} files in {root / folder} do not belong together: {len(raw.x_train):,} and {len(raw.x_test):,} "
            f"images, {len(raw.y_train):,} and {len(raw.y_test):,} labels. Put {files} there, or remove "
            "the folder to have it downloaded."
        )
    return raw


def _tensors(dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = torch.as_tensor(dataset.data), torch.as_tensor(dataset.targets)
    return (images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()), labels


def _download(make: Callable[..., Any], name: str, root: Path, folder: str, files: str) -> None:
    """Download into a temporary folder beside the target, and move it once it is complete."""
    made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary, _socket_timeout(_TIMEOUT):
            make(temporary, train=True, download=True)
            shutil.move(Path(temporary) / folder, root / folder)
    except Exception as error:  # the network, the server and the disk raise errors of many types
        for empty in made:
            with suppress(OSError):
                empty.rmdir()
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} is not in {root} and could not be downloaded ({reason}). Put {files} into that folder, or point "
            "--data-dir or LTHPRUNE_DATA at a folder that has them."
        ) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
