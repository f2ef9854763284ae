"""Joined data sets: one network learns several tasks, each with its own inputs and outputs."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor

from lthprune.data.dataset import Dataset, Raw, Task


def pair_at_random(raws: Sequence[Raw], generators: Sequence[torch.Generator]) -> list[Raw]:
    """Shuffle each data set by its own generator, and cut all of them to the size of the smallest.

    Samples at the same index are then paired at random: training samples with training samples, test samples with
    test samples.
    """
    train, test = (min(len(raw[part]) for raw in raws) for part in (1, 3))
    paired = []
    for raw, generator in zip(raws, generators, strict=True):
        first = torch.randperm(len(raw.y_train), generator=generator)[:train]
        second = torch.randperm(len(raw.y_test), generator=generator)[:test]
        paired.append(Raw(raw.x_train[first], raw.y_train[first], raw.x_test[second], raw.y_test[second]))
    return paired


def join(datasets: Sequence[Dataset]) -> Dataset:
    """Join data sets of equal size: concatenate the flattened inputs, stack the labels as (N, tasks).

    Examples:
        >>> from lthprune.data import DataSpec, load_data
        >>> moons, digits = (load_data(DataSpec(name=name, validation=237)) for name in ("moons", "digits"))
        >>> join([moons, moons]).input_shape
        (4,)
        >>> [task.name for task in join([moons, moons]).tasks]
        ['moons1', 'moons2']
    """

    def inputs(part: str) -> Tensor:
        return torch.cat([getattr(each, part).flatten(1) for each in datasets], dim=1)

    def labels(part: str) -> Tensor:
        return torch.stack([getattr(each, part) for each in datasets], dim=1)

    return Dataset(
        x_train=inputs("x_train"),
        y_train=labels("y_train"),
        x_val=inputs("x_val"),
        y_val=labels("y_val"),
        x_test=inputs("x_test"),
        y_test=labels("y_test"),
        tasks=side_by_side([task for each in datasets for task in each.tasks]),
        fingerprint=hashlib.sha256("".join(each.fingerprint for each in datasets).encode()).hexdigest(),
    )


def side_by_side(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Number the tasks' inputs and outputs one task after the other, and make their names unique.

    Examples:
        >>> moons = Task("moons", range(2), range(1))
        >>> side_by_side([moons, moons])[1]
        Task(name='moons2', inputs=range(2, 4), outputs=range(1, 2))
    """
    names = [task.name for task in tasks]
    unique = [
        f"{name}{names[: place + 1].count(name)}" if names.count(name) > 1 else name for place, name in enumerate(names)
    ]
    inputs, outputs = (
        [range(stop - len(each), stop) for each, stop in zip(ranges, accumulate(map(len, ranges)), strict=True)]
        for ranges in ([task.inputs for task in tasks], [task.outputs for task in tasks])
    )
    return tuple(
        replace(task, name=name, inputs=read, outputs=given)
        for task, name, read, given in zip(tasks, unique, inputs, outputs, strict=True)
    )
