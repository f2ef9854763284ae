"""The memory that training needs at least, before any of it is taken."""

import torch
from torch import Tensor, nn

from lthprune.errors import RecipeError
from lthprune.experiments.recipe import Recipe
from lthprune.memory import check_available
from lthprune.pruning import modes_restored


def check_training_memory(recipe: Recipe, trials: int, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Refuse a recipe whose training on the CPU needs more memory than is available.

    Counted are, for every trial, the weights, their gradients, what the optimiser keeps and the initial weights, and
    once the outputs of all layers for a batch. Training needs more than that.

    Args:
        recipe: the recipe, with lengths in steps.
        trials: the number of those to train.
        model: the network of one trial.
        input_shape: of one input, (C, H, W) or (features,).

    Raises:
        RecipeError: they do not fit.
    """
    plan = recipe.train
    kept = 2 if plan.optimizer != "sgd" else bool(plan.momentum)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    outputs = 4 * plan.batch_size * _outputs(model, input_shape)
    check_available(
        trials * weights * (3 + kept) + outputs,
        f"training {trials:,} trial{'s' if trials > 1 else ''} of this network in batches of {plan.batch_size:,}",
        "Choose smaller layers, images or batches, or fewer trials.",
        RecipeError,
    )


def _outputs(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return how many numbers the layers compute for one sample; 0 if the model cannot be followed without memory."""
    numbers: list[int] = []

    def count(module: nn.Module, inputs: object, output: object) -> None:
        numbers.append(output.numel() if isinstance(output, Tensor) else 0)

    hooks = [module.register_forward_hook(count) for module in model.modules() if not any(module.children())]
    state = {name: tensor.to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    try:
        with torch.no_grad(), modes_restored(model):
            torch.func.functional_call(model.eval(), state, torch.empty(1, *input_shape, device="meta"))
    except Exception:  # networks of other libraries may look at the values that they compute
        return 0
    finally:
        for hook in hooks:
            hook.remove()
    return sum(numbers)
