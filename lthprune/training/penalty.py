"""The L1 penalty on the weights of a network, with autograd.

It is ``l1`` times the sum of the absolute values of the remaining weights (Goodfellow et al., 2016, section 7.1.2). Its
gradient is ``l1 * sign(w)``, with ``sign(0) = 0``. Biases, embeddings and the parameters of normalisation are free of
it, as in their section 7.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from lthprune.pruning import DEFAULT_KINDS, live_masks, model_parameters


class Penalised(NamedTuple):
    """A parameter under the penalty, and its mask; None if it is not pruned."""

    parameter: nn.Parameter
    mask: Tensor | None


def penalised_weights(model: nn.Module) -> list[Penalised]:
    """Return the weights of a model that an L1 penalty applies to; a tied one once.

    These are the weights of the kinds that are pruned by default (dense, convolutional, recurrent, attention and
    bilinear layers), whether or not this model's are pruned. A weight that is computed from other parameters (a weight
    norm) is not among them.

    Args:
        model: dense or pruned, in either form.

    Examples:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
        >>> [tuple(each.parameter.shape) for each in penalised_weights(model)]
        [(2, 1, 3, 3), (3, 8)]
    """
    masks, found = live_masks(model), dict[int, Penalised]()
    for each in model_parameters(model):
        if each.parameter is not None and each.kind in DEFAULT_KINDS and not each.is_bias:
            found.setdefault(id(each.parameter), Penalised(each.parameter, masks.get(each.name)))
    return list(found.values())


def add_penalty(loss: Tensor, weights: Sequence[Penalised], l1: float) -> Tensor:
    """Return a loss plus the L1 penalty; the loss itself if ``l1`` is 0.

    Args:
        loss: a scalar.
        weights: what ``penalised_weights`` returned.
        l1: the factor of the penalty.

    Examples:
        >>> import torch
        >>> linear = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(linear.weight, -3)
        >>> add_penalty(torch.tensor(1.0), penalised_weights(linear), l1=0.5)
        tensor(4., grad_fn=<AddBackward0>)
    """
    if not l1:
        return loss
    norms = [(parameter if mask is None else parameter * mask).abs().sum() for parameter, mask in weights]
    return loss + l1 * sum(norms)
