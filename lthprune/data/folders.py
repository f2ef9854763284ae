"""A folder of images: one folder for each class, read through torchvision's ImageFolder."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lthprune.data.dataset import Raw
from lthprune.data.images import check_memory, image_size, read_images
from lthprune.data.through_torchvision import import_datasets
from lthprune.errors import DataError

_LAYOUT = (
    "A folder of images has a folder for each class, or train/ and test/ (or val/), each with a folder for each class."
)


class Listed(NamedTuple):
    """The image files below a folder, their labels, and the names of the classes, by label."""

    files: list[Path]
    labels: list[int]
    classes: list[str]


def load_folder(folder: Path, size: int | None) -> Raw:
    """Read a folder of images into memory.

    It has a folder for each class; the classes are numbered in alphabetical order. Then a fifth of every class, the
    same in every run, is the test part. Or it has such folders in ``train`` and ``test``; images in ``val`` are further
    training images, or the test part if there is no ``test``.

    Args:
        folder: its path.
        size: of the images that are returned, in pixels: their middle square is resized. None if all of them have the
            same size.

    Raises:
        DataError: the folder is missing or laid out otherwise, an image cannot be read or has another size, or the
            images do not fit into memory.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}.")
    splits = {name: list_images(folder / name) for name in ("train", "val", "test") if _holds_folders(folder / name)}
    if "train" not in splits:
        train, test = _a_fifth_apart(list_images(folder), folder)
    elif len(splits) == 1:
        raise DataError(f"{folder} has train/, but neither test/ nor val/ with folders of classes. {_LAYOUT}")
    else:
        *parts, test = (splits[name] for name in ("train", "val", "test") if name in splits)
        train = _joined(parts)
        for name, split in splits.items():
            if split.classes != train.classes:
                different = sorted({*split.classes} ^ {*train.classes})
                raise DataError(
                    f"{folder / name} and {folder / 'train'} have folders of different classes; only one of them has "
                    f"{', '.join(different[:5])}. {_LAYOUT}"
                )
    shape = (size, size) if size is not None else image_size(train.files[0])
    check_memory(len(train.files) + len(test.files), shape, folder)
    x_train, x_test = (read_images(part.files, shape, fit=size is not None) for part in (train, test))
    return Raw(x_train, torch.tensor(train.labels), x_test, torch.tensor(test.labels))


def list_images(folder: Path) -> Listed:
    """Return the image files in the folders of classes of a folder, by class and name.

    Raises:
        DataError: there are no folders of classes, or one has no images.
    """
    try:
        found = import_datasets("folders of images").ImageFolder(folder)
    except FileNotFoundError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{folder} cannot be read as a folder of images ({reason}). {_LAYOUT}") from error
    return Listed([Path(path) for path, _ in found.samples], [label for _, label in found.samples], found.classes)


def _holds_folders(folder: Path) -> bool:
    """Return whether a folder holds folders: ``train`` may also be the images of a class that has this name."""
    return folder.is_dir() and any(each.is_dir() for each in folder.iterdir())


def _joined(parts: Sequence[Listed]) -> Listed:
    files = [file for part in parts for file in part.files]
    return Listed(files, [label for part in parts for label in part.labels], parts[0].classes)


def _a_fifth_apart(all_images: Listed, folder: Path) -> tuple[Listed, Listed]:
    """Return four fifths and one fifth of the images of every class, but at least one of each."""
    labels, stream = np.array(all_images.labels), np.random.RandomState(0)  # frozen by numpy's policy
    chosen: set[int] = set()
    for label, name in enumerate(all_images.classes):
        places = stream.permutation(np.flatnonzero(labels == label))
        if len(places) < 2:
            raise DataError(
                f"{folder / name} has a single image. A fifth of each class is kept for testing, so a class needs at "
                "least two; or make folders train/ and test/."
            )
        chosen.update(places[: max(1, len(places) // 5)].tolist())
    train, test = ([at for at in range(len(labels)) if (at in chosen) == held_out] for held_out in (False, True))
    return tuple(
        Listed([all_images.files[at] for at in places], labels[places].tolist(), all_images.classes)
        for places in (train, test)
    )  # type: ignore[return-value]
