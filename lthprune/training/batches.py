"""Batches: the order of the training data, for one model or for a population."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lthprune.errors import DataError


class Batches:
    """An endless iterator over the batches of a population; in every epoch, each trial has a new permutation.

    An incomplete last batch of an epoch is dropped.

    Args:
        samples: the number of training samples.
        batch_size: the number of samples per step.
        orders: one generator for each trial.
        device: the device of the indices.

    Raises:
        DataError: there are fewer samples than a batch needs.

    Examples:
        >>> batches = Batches(5, 2, [torch.Generator(), torch.Generator()])
        >>> next(batches).shape
        torch.Size([2, 2])
    """

    def __init__(
        self, samples: int, batch_size: int, orders: Sequence[torch.Generator], device: torch.device | None = None
    ) -> None:
        check_batches(samples, batch_size)
        self._samples = samples
        self._batch_size = batch_size
        self._orders = list(orders)
        self._device = device
        self._epoch = torch.empty(len(self._orders), 0, dtype=torch.long)  # (trials, samples)
        self._at = 0

    def __next__(self) -> Tensor:
        """Return the indices of the next batch, (trials, batch)."""
        if self._at + self._batch_size > self._epoch.shape[1]:
            epoch = torch.stack([torch.randperm(self._samples, generator=order) for order in self._orders])
            self._epoch, self._at = epoch.to(self._device), 0
        self._at += self._batch_size
        return self._epoch[:, self._at - self._batch_size : self._at]

    def keep(self, trials: Sequence[int]) -> None:
        """Continue with these trials only, given by their places among the current ones."""
        self._orders = [self._orders[trial] for trial in trials]
        self._epoch = self._epoch[list(trials)]


def check_batches(samples: int, batch_size: int) -> None:
    """Raise a DataError if there are too few training samples for a single batch."""
    if batch_size > samples:
        raise DataError(
            f"batch_size = {batch_size:,}, but there are only {samples:,} training samples. Lower it, or hold out "
            "fewer samples for validation."
        )
