"""Toy tasks: points in the plane, in two classes."""

from typing import Any

import numpy as np
import torch

from lthprune.data.dataset import Raw

TOYS: dict[str, dict[str, Any]] = {"moons": {"noise": 0.1}, "circles": {"noise": 0.1, "factor": 0.35}}


def draw_toy(name: str, train: int, test: int, seed: int) -> Raw:
    """Draw a toy task with scikit-learn: ``make_moons(noise=0.1)``, or ``make_circles(noise=0.1, factor=0.35)``.

    The test samples are drawn first, so that they do not depend on the number of training samples.

    Examples:
        >>> moons = draw_toy("moons", train=1_500, test=1_000, seed=0)
        >>> moons.x_train.shape, moons.y_train.bincount()
        (torch.Size([1500, 2]), tensor([750, 750]))
    """
    from sklearn import datasets

    make, words = getattr(datasets, f"make_{name}"), TOYS[name]
    stream = np.random.RandomState(seed % 2**32)  # RandomState is frozen by numpy's policy
    (x_test, y_test), (x_train, y_train) = (make(size, random_state=stream, **words) for size in (test, train))
    return Raw(*(torch.from_numpy(array) for array in (x_train, y_train, x_test, y_test)))
