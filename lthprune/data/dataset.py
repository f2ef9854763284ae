"""A data set in memory: three splits, normalised, and the tasks that it sets."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lthprune.errors import DataError


class Raw(NamedTuple):
    """Training and test data as they come: inputs (N, C, H, W) or (N, features), labels (N,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass(frozen=True)
class Task:
    """One of the things that a network learns: which inputs it reads, and which outputs answer it.

    Attributes:
        name: the data set's; ``moons1`` and ``moons2`` where it is there twice.
        inputs: the numbers of its features, in the flattened input.
        outputs: the numbers of its outputs: one for each class, or a single one that tells two classes apart.
    """

    name: str
    inputs: range
    outputs: range


@dataclass(frozen=True)
class Dataset:
    """Normalised tensors of three splits, and the tasks that they set.

    Inputs are (N, C, H, W) or (N, features), labels (N,) of type int64, or (N, tasks) where there are several tasks.
    The validation part is held out of the training data by a seed; the test part is what the data set's authors
    made it. ``fingerprint`` is a SHA-256 over the data as they came, before splitting and normalising.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor
    tasks: tuple[Task, ...]
    fingerprint: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W) or (features,)."""
        return tuple(self.x_train.shape[1:])

    @property
    def outputs(self) -> int:
        """How many outputs a network for it has, over all tasks."""
        return self.tasks[-1].outputs.stop

    def to(self, device: torch.device) -> "Dataset":
        """Return the data set on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def split_and_normalise(
    raw: Raw, validation: int, generator: torch.Generator, *, name: str = "data", binary: bool = False
) -> Dataset:
    """Hold out ``validation`` training samples at random, then scale every channel or feature.

    Means and standard deviations are those of the training part alone, over channels for images and over features
    for vectors; what is constant is only centred. The data set sets one task of this name, with an output for each
    class, or with a single one where it is ``binary``.

    Raises:
        DataError: the validation part leaves nothing to train on.
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
    outputs = 1 if binary else int(max(raw.y_train.max(), raw.y_test.max())) + 1
    return Dataset(
        x_train=(x_kept - mean) / deviation,
        y_train=raw.y_train[kept].long(),
        x_val=(_floating(raw.x_train[held_out]) - mean) / deviation,
        y_val=raw.y_train[held_out].long(),
        x_test=(_floating(raw.x_test) - mean) / deviation,
        y_test=raw.y_test.long(),
        tasks=(Task(name, range(raw.x_train[0].numel()), range(outputs)),),
        fingerprint=_fingerprint(raw),
    )


def _floating(x: Tensor) -> Tensor:
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def _fingerprint(raw: Raw) -> str:
    digest = hashlib.sha256()
    for tensor in raw:
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
