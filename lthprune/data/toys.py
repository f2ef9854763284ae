"""Toy tasks: points in the plane, in two classes."""

from typing import Any

import numpy as np
import torch

from lthprune.data.dataset import Raw
from lthprune.errors import DataError
from lthprune.memory import check_available

TOYS: dict[str, dict[str, Any]] = {"moons": {"noise": 0.1}, "circles": {"noise": 0.1, "factor": 0.35}, "random": {}}

_BYTES = 100  # of a sample at the peak of loading


def draw_toy(name: str, train: int, test: int, seed: int, **settings: float) -> Raw:
    """Draw a toy task: scikit-learn's ``make_moons`` or ``make_circles``, or random points with random labels.

    The test samples are drawn first, so that they do not depend on the number of training samples.

    Args:
        name: of the toy. The points of ``random`` are normally distributed, and half of them, at random, have the label
            1: a task that cannot be learned.
        train: the number of training samples.
        test: the number of test samples.
        seed: of the draws.
        settings: in place of ``noise=0.1``, the standard deviation of the points of moons and circles, and
            ``factor=0.35``, the radius of the inner circle; those that do not apply to a toy are ignored.

    Raises:
        DataError: so many samples do not fit into memory.

    Examples:
        >>> moons = draw_toy("moons", train=1_500, test=1_000, seed=0)
        >>> moons.x_train.shape, moons.y_train.bincount()
        (torch.Size([1500, 2]), tensor([750, 750]))
    """
    check_available((train + test) * _BYTES, f"{name} with {train + test:,} samples", "Draw fewer samples.", DataError)
    words = {key: settings.get(key, value) for key, value in TOYS[name].items()}
    stream = np.random.RandomState(seed % 2**32)  # RandomState is frozen by numpy's policy
    (x_test, y_test), (x_train, y_train) = (_draw(name, size, stream, words) for size in (test, train))
    return Raw(*(torch.from_numpy(array) for array in (x_train, y_train, x_test, y_test)))


def _draw(name: str, size: int, stream: np.random.RandomState, words: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return points (size, 2) and labels (size,)."""
    if name == "random":
        return stream.standard_normal((size, 2)), stream.permutation(np.arange(size) % 2)
    from sklearn import datasets

    points, labels = getattr(datasets, f"make_{name}")(size, random_state=stream, **words)
    return points, labels
