"""Tiny ImageNet from its unpacked archive: 200 classes, images of 64x64 pixels."""

from pathlib import Path

import torch

from lthprune.data.dataset import Raw
from lthprune.data.folders import list_images
from lthprune.data.images import check_memory, read_images
from lthprune.errors import DataError

_FOLDER, _CLASSES, _SIZE = "tiny-imagenet-200", 200, (64, 64)


def load_tiny_imagenet(root: Path) -> Raw:
    """Read Tiny ImageNet: 100,000 training images, and the 10,000 validation images as the test part.

    The archive's test images have no labels and are not used. Classes are numbered in the order of their WordNet ids.

    Raises:
        DataError: the folder is missing, or its files are incomplete or damaged.
    """
    folder = root / _FOLDER
    if not folder.is_dir():
        raise DataError(
            f"Tiny ImageNet is not in {root}. Download http://cs231n.stanford.edu/tiny-imagenet-200.zip and unpack it, "
            f"so that {_FOLDER}/ is in that folder, or point --data-dir or LTHPRUNE_DATA at a folder that has it."
        )
    train = list_images(folder / "train")
    if len(train.classes) != _CLASSES:
        raise DataError(f"{folder / 'train'} has folders of {len(train.classes)} classes, not {_CLASSES}. {_again()}")
    files, labels = _validation_part(folder / "val", {name: label for label, name in enumerate(train.classes)})
    check_memory(len(train.files) + len(files), _SIZE, folder)
    x_train, x_test = (read_images(paths, _SIZE, fit=False) for paths in (train.files, files))
    return Raw(x_train, torch.tensor(train.labels), x_test, torch.tensor(labels))


def _validation_part(folder: Path, label_of: dict[str, int]) -> tuple[list[Path], list[int]]:
    """Return the files and labels that ``val_annotations.txt`` lists: name, class and a box, separated by tabs."""
    path = folder / "val_annotations.txt"
    try:
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error}). {_again()}") from error
    for number, row in enumerate(rows, start=1):
        if len(row) < 2 or row[1] not in label_of:
            raise DataError(f"line {number} of {path} names no file and one of the {_CLASSES} classes. {_again()}")
    if not rows:
        raise DataError(f"{path} is empty. {_again()}")
    return [folder / "images" / row[0] for row in rows], [label_of[row[1]] for row in rows]


def _again() -> str:
    return "Unpack tiny-imagenet-200.zip again."
