"""Checks on arrays that are to become a data set, from a file or from your own function."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lthprune.data.dataset import Raw
from lthprune.errors import DataError

NAMES = ("x_train", "y_train", "x_test", "y_test")
_MOST_CLASSES = 1_000_000  # a label above is a mistake, and would ask for an output layer that no memory holds
_CLASSIFIERS = (
    " lthprune trains classifiers: iterative pruning of regressions lost them in the experiments that this follows. "
    "Labels are the numbers of classes, stored as integers."
)


def raw_from(arrays: Mapping[str, np.ndarray], what: str) -> Raw:
    """Return arrays called x_train, y_train, x_test and y_test as a data set, with the channels of images first.

    Inputs are vectors (N, features), grey images (N, H, W) or images (N, H, W, C) or (N, C, H, W), where C is 1 to 4;
    an array that fits both is read as (N, H, W, C). Bytes stay bytes. Labels are whole numbers from 0.

    Raises:
        DataError: the arrays are no such data set; the message names ``what`` and every fault.
    """
    faults = [
        fault for split in ("train", "test") for fault in _faults(split, arrays[f"x_{split}"], arrays[f"y_{split}"])
    ]
    if not faults and arrays["x_train"].dtype != arrays["x_test"].dtype:
        faults = [
            f"x_train holds {arrays['x_train'].dtype} and x_test {arrays['x_test'].dtype}; bytes alone are scaled"
        ]
    if not faults and arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        faults = [f"x_train holds inputs of shape {arrays['x_train'].shape[1:]}, x_test {arrays['x_test'].shape[1:]}"]
    if faults:
        floats = any(np.issubdtype(arrays[f"y_{split}"].dtype, np.floating) for split in ("train", "test"))
        raise DataError(f"{what} cannot be used: {'; '.join(faults)}.{_CLASSIFIERS if floats else ''}")
    return Raw(
        _channels_first(arrays["x_train"]),
        torch.from_numpy(arrays["y_train"].astype(np.int64)),
        _channels_first(arrays["x_test"]),
        torch.from_numpy(arrays["y_test"].astype(np.int64)),
    )


def _faults(split: str, x: np.ndarray, y: np.ndarray) -> list[str]:
    faults = []
    if x.ndim not in (2, 3, 4):
        faults.append(f"x_{split} has {x.ndim} dimensions, not 2 (vectors), 3 or 4 (images)")
    if x.ndim == 4 and x.shape[3] > 4 and x.shape[1] > 4:
        faults.append(f"x_{split} of shape {x.shape} has no axis of 1 to 4 channels, neither last nor second")
    if x.dtype.kind not in "fiu":
        faults.append(f"x_{split} holds {x.dtype}, not numbers")
    elif not np.isfinite(_single(x)).all():
        faults.append(f"x_{split} has values that are NaN or infinite, in single precision")
    if y.ndim != 1 or y.dtype.kind not in "iu":
        faults.append(f"y_{split} is not a vector of whole numbers but {y.dtype} of shape {y.shape}")
    elif len(y) and not 0 <= y.min() <= y.max() < _MOST_CLASSES:
        faults.append(
            f"y_{split} has labels from {y.min()} to {y.max()}; classes count from 0 to {_MOST_CLASSES - 1:,}"
        )
    if faults:
        return faults
    if len(x) != len(y):
        faults.append(f"x_{split} has {len(x):,} samples and y_{split} {len(y):,} labels")
    elif len(x) == 0:
        faults.append(f"x_{split} is empty")
    return faults


def _single(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # a number too large for single precision becomes infinite, and is refused
        return x.astype(np.float32, copy=False)


def _channels_first(x: np.ndarray) -> Tensor:
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] <= 4:
        x = x.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32)))
