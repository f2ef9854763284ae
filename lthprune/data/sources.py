"""Built-in data sets: embedded, read from disk, or downloaded once through torchvision."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lthprune.data.dataset import Raw, classes_of
from lthprune.data.npz import load_npz
from lthprune.data.through_torchvision import Files, read_torchvision
from lthprune.data.tiny_imagenet import load_tiny_imagenet
from lthprune.errors import DataError
from lthprune.reading import expanded

_TRAIN = {"train": True}
_MNIST, _FASHION_MNIST = (
    Files(name, {name: _TRAIN}, f"{name}/raw/train-images-idx3-ubyte and its three sisters")
    for name in ("MNIST", "FashionMNIST")
)
_CIFAR10 = Files("CIFAR10", {"cifar-10-batches-py": _TRAIN}, "cifar-10-batches-py/, or cifar10.npz")
_CIFAR100 = Files("CIFAR100", {"cifar-100-python": _TRAIN}, "cifar-100-python/")
_SVHN = Files(
    "SVHN",
    {f"{split}_32x32.mat": {"split": split} for split in ("train", "test")},
    "train_32x32.mat and test_32x32.mat",
    ({"split": "train"}, {"split": "test"}),
)


def data_root(data_dir: str | Path | None = None) -> Path:
    """Return the folder in which data sets are found, and into which they are downloaded."""
    chosen = data_dir or os.environ.get("LTHPRUNE_DATA")
    if not chosen and os.path.expanduser("~") == "~":  # a user without a home, as in some containers
        return Path(".cache") / "lthprune"
    return expanded(chosen or "~/.cache/lthprune")


def _digits(root: Path) -> Raw:
    """Return scikit-learn's digits: 1,797 real 8x8 images, a fixed fifth of them for testing."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images.astype(np.float32)).view(-1, 1, 8, 8) / 16
    y = torch.from_numpy(labels.astype(np.int64))
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(x)))  # RandomState is frozen by numpy's policy
    test, train = order[:360], order[360:]
    return Raw(x[train], y[train], x[test], y[test])


def _cifar10(root: Path) -> Raw:
    if (root / "cifar10.npz").is_file():
        return load_npz(root / "cifar10.npz")
    return read_torchvision(_CIFAR10, root)


class Source(NamedTuple):
    """A built-in data set: how to load it, the shape of its inputs (C, H, W), the number of its classes."""

    load: Callable[[Path], Raw]
    input_shape: tuple[int, ...]
    classes: int = 10


SOURCES: dict[str, Source] = {
    "digits": Source(_digits, (1, 8, 8)),
    "mnist": Source(partial(read_torchvision, _MNIST), (1, 28, 28)),
    "fashion-mnist": Source(partial(read_torchvision, _FASHION_MNIST), (1, 28, 28)),
    "cifar10": Source(_cifar10, (3, 32, 32)),
    "cifar100": Source(partial(read_torchvision, _CIFAR100), (3, 32, 32), classes=100),
    "svhn": Source(partial(read_torchvision, _SVHN), (3, 32, 32)),
    "tiny-imagenet": Source(load_tiny_imagenet, (3, 64, 64), classes=200),
}


def load_source(name: str, root: Path) -> Raw:
    """Load a built-in data set, whose files may have been replaced by others.

    Raises:
        DataError: the data are missing or damaged, or have other shapes or classes than the data set of this name.
    """
    source = SOURCES[name]
    raw = source.load(root)
    shapes = {tuple(x.shape[1:]) for x in (raw.x_train, raw.x_test)}
    if shapes != {source.input_shape} or classes_of(raw) != source.classes:
        raise DataError(
            f"the files of {name} in {root} hold another data set: inputs of shape "
            f"{' and '.join(map(str, sorted(shapes)))} with {classes_of(raw)} classes, where {name} has "
            f"{source.input_shape} and {source.classes}. Put the original files there; to train on your own, name the "
            'file, as in data.name = "/data/mine.npz".'
        )
    return raw
