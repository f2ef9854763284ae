"""Smaller versions of data sets: smaller images, fewer classes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lthprune.data.dataset import Raw
from lthprune.errors import DataError
from lthprune.memory import check_available


def resize_images(raw: Raw, size: int, name: str) -> Raw:
    """Return the data set with images of ``size`` x ``size`` pixels, each the mean of the area that it covers.

    Bytes become fractions in [0, 1].

    Raises:
        DataError: the data set has no images, or they do not fit into memory at this size.
    """
    if raw.x_train.ndim != 4:
        raise DataError(f"size = {size}, but {name} has vectors of {raw.x_train.shape[1]} features and no images.")
    samples, channels = len(raw.x_train) + len(raw.x_test), raw.x_train.shape[1]
    needed = 3 * 4 * samples * channels * size**2  # in single precision, and two copies when they are normalised
    check_available(needed, f"{name} at {size}x{size} pixels", "Choose a smaller size.", DataError)
    return raw._replace(x_train=_resized(raw.x_train, size), x_test=_resized(raw.x_test, size))


def keep_classes(raw: Raw, classes: Sequence[int], name: str) -> Raw:
    """Return only the samples of these classes, renumbered from 0 in the given order.

    Raises:
        DataError: a class has no samples, in the training or the test part.
    """
    chosen = torch.tensor(list(classes))
    held = [set(labels.tolist()) for labels in (raw.y_train, raw.y_test)]
    missing = [label for label in classes if not all(label in each for each in held)]
    if missing:
        raise DataError(
            f"classes = {list(classes)}, but {name} has no training or no test samples of {missing}; "
            f"it has samples of {sorted(held[0] & held[1])}."
        )
    (x_train, y_train), (x_test, y_test) = (
        (x[kept], (y[kept, None] == chosen).long().argmax(dim=1))
        for x, y, kept in (
            (raw.x_train, raw.y_train, torch.isin(raw.y_train, chosen)),
            (raw.x_test, raw.y_test, torch.isin(raw.y_test, chosen)),
        )
    )
    return Raw(x_train, y_train, x_test, y_test)


def _resized(x: Tensor, size: int) -> Tensor:
    floating = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    return F.interpolate(floating, size=(size, size), mode="area")
