"""Data sets laid out for the compiled engine, once for all levels of a run."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from lthprune.data import Dataset
from lthprune.errors import DataError
from lthprune.kernels import LANES, Inputs, count_differences, find_differences

_SPARSE_BELOW = 0.3  # the share of inputs other than the background; at more, matrix products are as fast
_SAMPLED = 1000  # samples that the background is read from

# What was laid out, by a split's tensor; with its version, then by its use.
_laid_out: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


class Split(NamedTuple):
    """A split of a data set: its inputs, and its labels (samples, tasks)."""

    inputs: Inputs
    labels: np.ndarray


class Laid(NamedTuple):
    """The splits of a data set, and the first and last output of each task, (tasks, 2)."""

    train: Split
    val: Split
    test: Split
    heads: np.ndarray


def lay_out(data: Dataset) -> Laid:
    """Return a data set in main memory as the kernels read it; what that needs is kept as long as the data set.

    Where a tensor has changed in place, it is laid out anew.

    Raises:
        DataError: labels and inputs do not fit one another or the tasks; the kernels themselves check nothing.
    """
    for split in ("train", "val", "test"):
        _check(split, getattr(data, f"x_{split}"), getattr(data, f"y_{split}"), data)
    sampled = data.x_train[:_SAMPLED].flatten(1)
    common = sampled.mode(dim=0).values
    sparse = bool((sampled != common).double().mean() < _SPARSE_BELOW)
    background = (common if sparse else torch.zeros_like(common)).numpy()
    return Laid(
        Split(_inputs(data.x_train, background, sparse, in_turn=False), _labels(data.y_train)),
        Split(_inputs(data.x_val, background, sparse, in_turn=True), _labels(data.y_val)),
        Split(_inputs(data.x_test, background, sparse, in_turn=True), _labels(data.y_test)),
        np.array([(task.outputs.start, task.outputs.stop) for task in data.tasks], np.int64),
    )


def _inputs(x: Tensor, background: np.ndarray, sparse: bool, *, in_turn: bool) -> Inputs:
    """Return a split's inputs; ``in_turn`` says that its samples are read in their own order only."""
    dense = x.detach().flatten(1).contiguous().numpy()
    version = None if x.is_inference() else x._version  # inference tensors count no changes
    if x not in _laid_out or version is None or version != _laid_out[x][0]:
        _laid_out[x] = version, {}
    known = _laid_out[x][1]
    use = sparse, in_turn, background.tobytes()  # a tensor may serve as two splits, or in two data sets
    if use not in known:
        known[use] = (*_differences(dense, background, sparse), _panels(dense, in_turn and not sparse))
    return Inputs(dense, sparse, background, *known[use])


def _differences(dense: np.ndarray, background: np.ndarray, sparse: bool) -> tuple[np.ndarray, ...]:
    if not sparse:
        return np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, dense.dtype)
    starts = count_differences(dense, background)
    return starts, *find_differences(dense, background, starts)


def _panels(dense: np.ndarray, wanted: bool) -> np.ndarray:
    """Return panels (panels, features, 64) of all samples, or none; the last is filled up with zeros."""
    panels = np.zeros((-(-len(dense) // LANES) if wanted else 0, dense.shape[1], LANES), dense.dtype)
    for place, panel in enumerate(panels):
        rows = dense[place * LANES : (place + 1) * LANES]
        panel[:, : len(rows)] = rows.T
    return panels


def _check(split: str, x: Tensor, y: Tensor, data: Dataset) -> None:
    """Raise a DataError if the kernels would read beyond a split's inputs, its labels, or a task's outputs."""
    if x.shape[1:] != data.x_train.shape[1:] or y.numel() != len(x) * len(data.tasks) or len(y) != len(x):
        raise DataError(
            f"the {split} split has inputs of shape {tuple(x.shape)} and labels of shape {tuple(y.shape)}, for "
            f"{len(data.tasks)} task(s) and inputs of shape (samples, {', '.join(map(str, data.input_shape))}) in the "
            "training split. Give each sample such an input and one label for each task."
        )
    for task, labels in zip(data.tasks, y.view(len(y), -1).unbind(dim=1), strict=True):
        classes = max(2, len(task.outputs))
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise DataError(
                f"labels of task {task.name!r} in the {split} split run from {int(labels.min())} to "
                f"{int(labels.max())}, and the task has the classes 0 to {classes - 1}. Number the classes from 0, and "
                "give the task an output for each."
            )


def _labels(labels: Tensor) -> np.ndarray:
    return labels.view(len(labels), -1).numpy()
