"""Networks from your own functions, which a recipe names."""

from typing import Any

import torch
from torch import nn

from lthprune.errors import RecipeError
from lthprune.models.fitting import check_training
from lthprune.models.spec import ModelSpec
from lthprune.parts import MODEL, import_part
from lthprune.seeds import seeded_by


def build_own(
    spec: ModelSpec,
    input_shape: tuple[int, ...],
    outputs: int,
    generator: torch.Generator,
    *,
    samples: int,
    trust_code: bool,
) -> nn.Module:
    """Call your own function for a network, and try the network in training mode.

    The function gets the shape of one input, the number of outputs and the recipe's settings. torch's default
    generator is seeded while it runs, so that layers of ``torch.nn`` draw initial weights that follow from the trial's
    seed. The function is called twice from the same seed, and must return the same weights.

    Raises:
        RecipeError: the function is not there or does not take these arguments, there is no consent to import it, it
            fails, its network cannot be trained on such data, or its weights do not follow from the seed.
    """
    what = MODEL.named(spec.kind)
    function = import_part(MODEL, spec.kind, spec.settings, trust_code=trust_code)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    built = []
    for _ in range(2):
        with seeded_by(torch.Generator().manual_seed(seed)), torch.device("cpu"):
            built.append(_called(function, what, input_shape, outputs, spec.settings or {}))
    model, again = built
    _check_same_weights(model, again, what)
    with seeded_by(torch.Generator().manual_seed(seed)):
        check_training(
            model,
            what,
            (samples, *input_shape),
            outputs,
            misfit="change the function, its settings, or the data.",
            wrong_output="Change the function, which gets this number of outputs as its second argument.",
        )
    return model


def _called(
    function: Any, what: str, input_shape: tuple[int, ...], outputs: int, settings: dict[str, Any]
) -> nn.Module:
    try:
        model = function(input_shape, outputs, **settings)
    except Exception as error:  # other people's code fails in any way there is
        message = " ".join(str(error).split())
        raise RecipeError(
            f"{what}: for inputs of shape {input_shape} and {outputs} outputs, the function failed with "
            f"{type(error).__name__}: {message}."
        ) from error
    if not isinstance(model, nn.Module):
        raise RecipeError(f"{what}: the function returned {type(model).__name__}; it must return an nn.Module.")
    return model


def _check_same_weights(model: nn.Module, again: nn.Module, what: str) -> None:
    if model is again:
        raise RecipeError(f"{what}: the function returned one network twice; it must build a new one in every call.")
    first, second = model.state_dict(), again.state_dict()
    different = [name for name in first if name not in second or not first[name].equal(second[name])]
    if different or first.keys() != second.keys():
        named = f" ({different[0]})" if different else ""
        raise RecipeError(
            f"{what}: two calls from the same seed returned different weights{named}. Draw weights from torch's "
            "default generator, as the layers of torch.nn do, and from nothing else: no other generator, no clock."
        )
