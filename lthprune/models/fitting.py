"""Whether a network that lthprune did not build can be trained on the data of a recipe."""

import copy

import torch
from torch import Tensor, nn

from lthprune.errors import RecipeError


def check_training(
    model: nn.Module, what: str, shape: tuple[int, ...], outputs: int, *, misfit: str, wrong_output: str
) -> None:
    """Raise a RecipeError unless a copy of a network in training mode returns ``outputs`` numbers per sample.

    Args:
        model: the network, which stays as it is.
        what: its name in messages.
        shape: of the batch that it is tried on, samples first.
        outputs: how many numbers it must return for each sample.
        misfit: advice for a network that cannot compute such a batch.
        wrong_output: advice for a network that returns something else.
    """
    refused = f"{what} cannot be trained on a batch of shape {shape}"
    try:
        with torch.no_grad():
            computed = copy.deepcopy(model).train()(torch.randn(shape))
    except Exception as error:  # other people's code, on inputs that it may not be made for
        message = " ".join(str(error).split()).rstrip(".!") or type(error).__name__
        choose = "Choose a larger batch_size, or " if shape[0] == 1 else ""
        advice = f"{choose}{misfit}"
        raise RecipeError(f"{refused}: {message}. {advice[:1].upper()}{advice[1:]}") from error
    wanted = (shape[0], outputs)
    if not isinstance(computed, Tensor) or computed.shape != wanted:
        got = f"a tensor of shape {tuple(computed.shape)}" if isinstance(computed, Tensor) else type(computed).__name__
        raise RecipeError(f"{refused}: it returns {got}, where a tensor of shape {wanted} is needed. {wrong_output}")
