"""Mutual information between the layers of a network, its inputs and the labels."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lthprune.analysis.mine import Mine, mine
from lthprune.analysis.nearest_neighbours import NEIGHBOURS, neighbour_information
from lthprune.arguments import whole_number
from lthprune.errors import PruningError, suggestion

INPUT, LABELS = "input", "labels"  # the variables that are no layers
Pair = tuple[str, str]


class Information(NamedTuple):
    """Estimates of the mutual information of two variables, in nats.

    Attributes:
        mine: by MINE, on samples that the statistics network was not trained on.
        mine_trained: by MINE, on samples that it was trained on.
        neighbours: by nearest neighbours.
    """

    mine: float
    mine_trained: float
    neighbours: float


@dataclass(frozen=True)
class LevelInformation:
    """The mutual information of pairs of variables at one level.

    Attributes:
        level: the pruning round.
        density: the fraction of prunable weights left.
        step: the step of the training; None after it.
        pairs: the estimates of each trial, by the names of both variables: ``input``, ``labels``, or a layer.
    """

    level: int
    density: float
    step: int | None
    pairs: dict[Pair, tuple[Information, ...]]

    def nats(self, pair: Pair, estimate: str) -> np.ndarray:
        """Return one of the estimates of a pair, (trials,): ``mine``, ``mine_trained`` or ``neighbours``."""
        return np.array([getattr(own, estimate) for own in self.pairs[pair]], dtype=float)

    def only(self, pairs: Sequence[Pair]) -> "LevelInformation":
        """Return the estimates of some pairs, in their order."""
        return replace(self, pairs={pair: self.pairs[pair] for pair in pairs})


def default_pairs(layers: Sequence[str]) -> list[Pair]:
    """Return the pairs of a chain of layers: neighbours in it, and each layer with the inputs and the labels.

    Examples:
        >>> default_pairs(["dense1", "output"])
        [('input', 'dense1'), ('dense1', 'output'), ('input', 'output'), ('dense1', 'labels'), ('output', 'labels')]
    """
    chain = list(zip([INPUT, *layers], layers, strict=False))
    return [*chain, *((INPUT, layer) for layer in layers[1:]), *((layer, LABELS) for layer in layers)]


def estimate_information(
    variables: Mapping[str, Tensor],
    pairs: Sequence[Pair],
    settings: Mine | None = None,
    *,
    generators: Sequence[torch.Generator],
    neighbour_samples: int = 2000,
    on_step: Callable[[], object] = lambda: None,
) -> dict[Pair, Information]:
    """Estimate the mutual information of pairs of variables by MINE and by nearest neighbours, in nats.

    Args:
        variables: tensors (samples, ...) by name; labels are whole numbers, (samples,), which MINE reads one-hot.
        pairs: the names of both variables of each pair; at most one of them may be labels.
        settings: of MINE; by default ``Mine()``.
        generators: the generator of each pair, for MINE.
        neighbour_samples: how many samples the nearest neighbours are searched among: the first ones.
        on_step: called after each step of the training of the statistics networks.

    Raises:
        PruningError: a variable is unknown or not finite, labels are not whole numbers of 0 or more, both variables of
            a pair are labels, there are too few samples, or an estimate diverged.

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> labels = torch.randint(2, (1000,), generator=generator)
        >>> layer = 10 * labels[:, None] + torch.randn(1000, 3, generator=generator)
        >>> found = estimate_information(
        ...     {"layer": layer, "labels": labels},
        ...     [("layer", "labels")],
        ...     Mine(units=16, lr=1e-2, epochs=10),
        ...     generators=[generator],
        ... )
        >>> all(0.5 < estimate < 0.8 for estimate in found["layer", "labels"])  # log(2) = 0.69
        True
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    for name in names:
        if name not in variables:
            raise PruningError(f"there is no variable {name!r}{suggestion(name, variables)}")
    check_neighbour_samples(neighbour_samples)
    for pair in pairs:
        if all(_is_labels(variables[name]) for name in pair):
            raise PruningError(f"{pair[0]!r} and {pair[1]!r} are both labels; at least one variable is continuous.")
    for name in names:
        _check_values(name, variables[name])
    read = {name: variables[name] for name in names}
    read = {name: F.one_hot(each).float() if _is_labels(each) else each for name, each in read.items()}
    bounds = mine([(read[x], read[y]) for x, y in pairs], settings, generators=generators, on_step=on_step)
    found = {}
    for pair, bound in zip(pairs, bounds, strict=True):
        x, y = sorted((variables[name][:neighbour_samples] for name in pair), key=_is_labels)
        found[pair] = Information(bound.held_out, bound.trained, neighbour_information(x, y))
        if not all(map(math.isfinite, found[pair])):
            raise PruningError(
                f"the estimate of {' and '.join(map(repr, pair))} diverged: {found[pair]}. Take a lower learning rate "
                "of MINE (lr), or more samples."
            )
    return found


def check_neighbour_samples(samples: int) -> None:
    """Raise a PruningError unless nearest neighbours can be searched among so many samples."""
    if whole_number("neighbour_samples", samples) <= NEIGHBOURS:
        raise PruningError(f"neighbour_samples = {samples}: this must be {NEIGHBOURS + 1} or more.")


def _check_values(name: str, values: Tensor) -> None:
    """Raise a PruningError unless labels are whole numbers of 0 or more, and other variables are finite."""
    if _is_labels(values):
        if values.dtype != torch.int64 or bool((values < 0).any()):
            raise PruningError(
                f"{name!r} is {values.dtype} from {values.min().item()} on: labels are of type torch.int64, 0 or more."
            )
    elif not bool(values.isfinite().all()):
        raise PruningError(f"{name!r} has values that are not finite (NaN or infinite), so no estimate can be made.")


def _is_labels(variable: Tensor) -> bool:
    return variable.ndim == 1 and not variable.is_floating_point()
