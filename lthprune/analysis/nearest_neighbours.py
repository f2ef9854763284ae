"""Mutual information by distances to nearest neighbours."""

import numpy as np
import torch
from torch import Tensor

from lthprune.arguments import whole_number
from lthprune.errors import PruningError

NEIGHBOURS = 3  # by default, as in scikit-learn
_ROUNDING = 1e-7  # scikit-learn takes distances from products, so those of equal samples are not quite 0


def neighbour_information(x: Tensor, y: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """Estimate the mutual information of two variables by the distances of nearest neighbours, in nats.

    Two continuous variables: Kraskov et al. (2004, equation 8), with Euclidean distances within each variable and the
    larger of both as the distance of a pair. A continuous one and labels: Ross (2014, equation 2). Where so many
    samples are equal that the distance is 0, all equal ones count as neighbours (Gao et al. 2017, algorithm 1). Each
    continuous variable is divided by the root of its total variance first, so that distances of both are comparable
    however many features they have.

    It can be below 0, is too low in many dimensions, and with n samples is at most about ``log(n)``. scikit-learn
    computes the distances of all samples to one another, 8 bytes each for both variables and their pairs.

    Args:
        x: (samples, ...), continuous.
        y: (samples, ...), continuous; or labels, (samples,) of a type of whole numbers.
        neighbours: the number k of the neighbour whose distance counts.

    Raises:
        PruningError: the variables differ in the number of samples, or there are at most ``neighbours``.

    Examples:
        >>> x, noise = torch.randn(2, 1000, 1, generator=torch.Generator().manual_seed(0))
        >>> round(neighbour_information(x, 0.6 * x + 0.8 * noise), 1)  # -log(1 - 0.6 ** 2) / 2 = 0.22
        0.2
    """
    if whole_number("neighbours", neighbours) < 1 or len(x) <= neighbours or len(x) != len(y):
        raise PruningError(
            f"neighbours = {neighbours} of {len(x):,} and {len(y):,} samples: both variables need the same number of "
            "samples, and more of them than neighbours, of which there is at least 1."
        )
    if y.ndim == 1 and not y.is_floating_point():
        return _with_labels(_distances(x), y.numpy(), neighbours)
    return _continuous(_distances(x), _distances(y), neighbours)


def _continuous(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """Return the estimate of Kraskov et al. (2004, equation 8), given distances (samples, samples)."""
    from scipy.special import digamma

    both = np.maximum(x, y)
    radius = np.partition(both, k, axis=1)[:, k]  # each sample is its own neighbour number 0
    numbers = np.where(radius > 0, k, (both == 0).sum(axis=1) - 1)
    near = [_nearer(each, radius) for each in (x, y)]
    return float((digamma(numbers) + digamma(len(x)) - digamma(near[0]) - digamma(near[1])).mean())


def _with_labels(x: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the estimate of Ross (2014, equation 2); labels of a single sample are left out, as scikit-learn does."""
    from scipy.special import digamma

    numbers, sizes, near = [], [], []
    counts = {label: int((labels == label).sum()) for label in np.unique(labels)}
    kept = np.array([counts[label] > 1 for label in labels])
    x, labels = x[kept][:, kept], labels[kept]
    for label in np.unique(labels):
        own = labels == label
        within, number = x[own][:, own], min(k, int(own.sum()) - 1)
        radius = np.partition(within, number, axis=1)[:, number]
        numbers.append(np.where(radius > 0, number, (within == 0).sum(axis=1) - 1))
        sizes.append(np.full(len(within), len(within)))
        near.append(_nearer(x[own], radius))
    terms = (digamma(np.concatenate(each)).mean() for each in (numbers, sizes, near))
    number, size, others = terms
    return float(digamma(len(x)) + number - size - others) if len(x) else 0.0


def _nearer(distances: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return how many samples, itself included, are nearer than a radius to each; at it, where the radius is 0."""
    bound = np.where(radius > 0, radius, np.nextafter(0, 1))[:, None]
    return np.asarray((distances < bound).sum(axis=1))


def _distances(values: Tensor) -> np.ndarray:
    """Return the Euclidean distances (samples, samples) of a variable, divided by the root of its total variance."""
    from sklearn.metrics import pairwise_distances

    flat = values.detach().reshape(len(values), -1).to(torch.float64)
    flat = flat - flat.mean(0)
    scale = float(flat.square().sum(1).mean().sqrt())
    flat = flat / scale if scale > 0 else flat
    distances = np.asarray(pairwise_distances(flat.numpy()))
    distances[distances < _ROUNDING * float(flat.norm(dim=1).max())] = 0
    return distances
