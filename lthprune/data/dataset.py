"""A data set in memory: three normalised splits, and the tasks that it sets."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lthprune.errors import DataError


class Raw(NamedTuple):
    """Training and test data before splitting and normalising: inputs (N, C, H, W) or (N, features), labels (N,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass(frozen=True)
class Task:
    """A task that a network learns: its inputs and its outputs.

    Attributes:
        name: the name of its data set; ``moons1`` and ``moons2`` if a recipe names ``moons`` twice.
        inputs: the indices of its features in the flattened input.
        outputs: the indices of its outputs: one for each class, or a single one for two classes.
    """

    name: str
    inputs: range
    outputs: range


@dataclass(frozen=True)
class Dataset:
    """Normalised tensors of three splits, and the tasks that they set.

    Inputs are (N, C, H, W) or (N, features). Labels are int64, (N,) for one task and (N, tasks) for several. A seed
    decides which training samples are held out for validation; the test split is that of the data set's authors.
    ``fingerprint`` is a SHA-256 over the data before splitting and normalising.

    Raises:
        DataError: a split is empty, or its labels are not int64.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor
    tasks: tuple[Task, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            x, y = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
            if len(x) == 0:
                raise DataError(
                    f"x_{split} is empty, of shape {tuple(x.shape)}. A data set needs samples in each of its splits: "
                    "for training, for validation (val) and for testing."
                )
            if y.dtype != torch.int64:
                raise DataError(
                    f"y_{split} holds labels of type {y.dtype}. Labels are the numbers of classes from 0, as "
                    f"torch.int64: if these are such numbers, give y_{split}.long()."
                )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W) or (features,)."""
        return tuple(self.x_train.shape[1:])

    @property
    def outputs(self) -> int:
        """The number of outputs that a network for it needs, over all tasks."""
        return self.tasks[-1].outputs.stop

    def to(self, device: torch.device) -> "Dataset":
        """Return the data set on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def split_and_normalise(
    raw: Raw, validation: int, generator: torch.Generator, *, name: str = "data", outputs: int | None = None
) -> Dataset:
    """Hold out ``validation`` training samples at random, then scale every channel or feature.

    Means and standard deviations are those of the training part alone, per channel of images and per feature of
    vectors; a constant channel or feature is only centred.

    Args:
        raw: the samples.
        validation: how many training samples to hold out.
        generator: decides which.
        name: of the task that the data set sets.
        outputs: of that task; by default one for each class.

    Raises:
        DataError: no sample, or every sample, would be held out.
    """
    samples = len(raw.x_train)
    if not 0 < validation < samples:
        raise DataError(
            f"validation = {validation:,}: of the {samples:,} training samples at least 1 and at most {samples - 1:,} "
            "can be held out."
        )
    order = torch.randperm(samples, generator=generator)
    held_out, kept = order[:validation], order[validation:]
    x_kept = _floating(raw.x_train[kept])
    axes = [0, *range(2, x_kept.ndim)]
    deviation, mean = torch.std_mean(x_kept, dim=axes, keepdim=True, correction=0)
    deviation[deviation == 0] = 1
    return Dataset(
        x_train=(x_kept - mean) / deviation,
        y_train=raw.y_train[kept].long(),
        x_val=(_floating(raw.x_train[held_out]) - mean) / deviation,
        y_val=raw.y_train[held_out].long(),
        x_test=(_floating(raw.x_test) - mean) / deviation,
        y_test=raw.y_test.long(),
        tasks=(Task(name, range(raw.x_train[0].numel()), range(classes_of(raw) if outputs is None else outputs)),),
        fingerprint=_fingerprint(raw),
    )


def classes_of(raw: Raw) -> int:
    """Return how many classes a data set has: the largest label of its training and test data, plus 1."""
    return int(max(raw.y_train.max(), raw.y_test.max())) + 1


def _floating(x: Tensor) -> Tensor:
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def _fingerprint(raw: Raw) -> str:
    digest = hashlib.sha256()
    for tensor in raw:
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
