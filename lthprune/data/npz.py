"""Data sets of one's own: an ``.npz`` file with x_train, y_train, x_test and y_test."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthprune.data.dataset import Raw
from lthprune.errors import DataError

_MOST_CLASSES = 1_000_000  # a label above is a mistake, and would ask for an output layer that no memory holds
_CLASSIFIERS = (
    " lthprune trains classifiers: iterative pruning of regressions lost them in the experiments that this follows. "
    "Labels are the numbers of classes, stored as integers."
)
_NAMES = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: Path) -> Raw:
    """Read a data set from an ``.npz`` file; nothing in it is ever unpickled.

    Inputs are vectors (N, features), grey images (N, H, W) or images (N, H, W, C) or (N, C, H, W), where C is 1 to 4
    and an array that fits both is taken as (N, H, W, C). Bytes are scaled to [0, 1]. Labels are whole numbers from 0.

    Raises:
        DataError: says all that is wrong with the file.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream), np.load(stream, allow_pickle=False) as file:
            missing = [name for name in _NAMES if name not in file]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}; it has {', '.join(file) or 'nothing'}.")
            arrays = {name: np.asarray(file[name]) for name in _NAMES}  # what is no array in the file comes as bytes
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is not a readable .npz file of plain arrays ({error}). Write it with numpy.savez; arrays of "
            "Python objects are refused, because reading them would run code."
        ) from error
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
        raise DataError(f"{path} cannot be used: {'; '.join(faults)}.{_CLASSIFIERS if floats else ''}")
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
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        faults.append(f"x_{split} holds {x.dtype}, not numbers")
    elif not np.isfinite(_single(x)).all():
        faults.append(f"x_{split} has values that are NaN or infinite, in single precision")
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
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
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        return x.astype(np.float32, copy=False)


def _channels_first(x: np.ndarray) -> Tensor:
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] <= 4:
        x = x.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32)))
