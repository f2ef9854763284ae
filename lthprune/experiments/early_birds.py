"""Early-bird tickets of a run: masks and weights of the first epochs of training (You et al. 2020)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from lthprune.errors import RecipeError
from lthprune.experiments.before_training import density_of
from lthprune.experiments.control_kinds import EARLY_BIRD_EPOCHS, too_short_for_early_birds
from lthprune.experiments.experiment import Experiment
from lthprune.pruning import State, restore, snapshot
from lthprune.search import EarlyBird, Ticket
from lthprune.seeds import seeded_by
from lthprune.training import train


def draw_early_birds(
    experiment: Experiment,
    tickets: Sequence[Ticket],
    initial: Mapping[int, State],
    *,
    layerwise: bool,
    trust_code: bool,
) -> list[Ticket]:
    """Train every trial's dense network until its masks settle, and return these masks with its weights.

    If they never settle, a ticket is drawn at the last epoch that leaves steps to train. Its provenance contains the
    ``step`` and the ``epoch`` of the draw under ``early_bird``, whether the masks have ``settled``, and the largest
    ``distance`` of those that the stop rule compared.

    Args:
        experiment: of the run.
        tickets: of a level of the run, one for each trial; they have the densities.
        initial: the weights that each trial starts from, by its number.
        layerwise: whether each layer has the density of the ticket's, rather than all together.
        trust_code: whether functions of your own that the recipe names may be imported.

    Raises:
        RecipeError: a level has too few epochs.
    """
    data, recipe = experiment.data, experiment.recipe
    drawn = []
    for ticket in tickets:
        model = recipe.build_model(data.input_shape, data.outputs, ticket.trial, trust_code=trust_code)
        model = model.to(data.x_train.device)
        restore(model, initial[ticket.trial])
        bird, step = _train_until_settled(experiment, ticket.trial, model, density_of(ticket, layerwise=layerwise))
        assert bird.masks is not None
        about = {"step": step, "epoch": bird.epochs, "settled": bird.found, "distance": max(bird.distances)}
        weights = snapshot(model)
        drawn.append(
            Ticket(
                level=ticket.level,
                masks={name: bird.masks[name] for name in ticket.masks},
                weights=weights,
                trained=weights,
                provenance=ticket.provenance | {"control": "early-bird", "early_bird": about},
                late_buffers=ticket.late_buffers,
                tied=ticket.tied,
            )
        )
    return drawn


def _train_until_settled(
    experiment: Experiment, trial: int, model: nn.Module, density: float | Mapping[str, float]
) -> tuple[EarlyBird, int]:
    """Train a dense model as the run does, and return the masks of its last epochs and the number of steps made."""
    data, recipe, pruning = experiment.data, experiment.recipe, experiment.search.pruning
    plan = recipe.train.model_copy(update={"evaluate_every": recipe.train.steps})  # which it does not reach
    per_epoch = len(data.x_train) // plan.batch_size
    reason = too_short_for_early_birds(plan.steps, per_epoch)
    if reason is not None:
        raise RecipeError(reason)
    words: dict[str, Any] = {"selection": pruning.selection, "bias": bool(pruning.bias)}
    bird = EarlyBird(density, queue=EARLY_BIRD_EPOCHS, **words)
    last, made = (plan.steps - 1) // per_epoch, 0

    def count_step() -> None:
        nonlocal made
        made += 1
        if made % per_epoch == 0 and (bird.update(model) or bird.epochs == last):
            raise _Drawn

    try:
        with seeded_by(recipe.run.generator("noise", trial), data.x_train.device):
            order, augmenter = (recipe.run.generator(stream, trial) for stream in ("order", "augment"))
            train(model, data, plan, order, augmenter=augmenter, on_step=count_step)
    except _Drawn:
        pass
    return bird, made


class _Drawn(Exception):  # noqa: N818, it is no error
    """Ends the training of the dense model."""
