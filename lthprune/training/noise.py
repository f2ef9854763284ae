"""Networks that draw at random while they train, by dropout or stochastic depth."""

import torch
from torch import Tensor, nn

from lthprune.pruning import modes_restored
from lthprune.seeds import default_states, seeded_by


def draws_at_random(model: nn.Module, inputs: Tensor) -> bool:
    """Return whether a forward pass in training mode draws from torch's default generators.

    Makes one pass without gradients, then restores buffers, modes and generators.

    Args:
        model: dense or pruned, on the device of the inputs.
        inputs: a few samples, (batch, ...).

    Examples:
        >>> draws_at_random(nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)), torch.zeros(3, 4))
        True
        >>> draws_at_random(nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.0)), torch.zeros(3, 4))
        False
    """
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with modes_restored(model), seeded_by(torch.Generator(), inputs.device), torch.no_grad():
        before = default_states(inputs.device)
        try:
            model.train()(inputs)
        finally:
            for buffer, value in buffers:
                buffer.copy_(value)
        after = default_states(inputs.device)
    return any(not torch.equal(was, now) for was, now in zip(before, after, strict=True))
