"""Early-bird tickets of a run: masks and weights of the first epochs of training (You et al. 2020)."""

from collections.abc import Mapping

import torch
from torch import nn

from lthprune.data import Dataset
from lthprune.errors import RecipeError
from lthprune.experiments.control_kinds import too_short_for_early_birds
from lthprune.pruning import Pruning, snapshot
from lthprune.search import EarlyBird, Ticket
from lthprune.seeds import seeded_by
from lthprune.training import TrainingPlan, train


def draw_early_bird(
    model: nn.Module,
    ticket: Ticket,
    density: float | Mapping[str, float],
    *,
    data: Dataset,
    plan: TrainingPlan,
    pruning: Pruning,
    order: torch.Generator,
    noise: torch.Generator,
    augmenter: torch.Generator,
) -> Ticket:
    """Train a dense model until the masks of the last epochs agree, and return these masks with its weights.

    If they never agree, the ticket is drawn at the last epoch that leaves steps to train. Its provenance contains the
    ``step`` and the ``epoch`` of the draw under ``early_bird``, whether the masks were ``settled``, and the largest
    ``distance`` among those that the stop rule compared.

    Args:
        model: with its initial weights; it is trained.
        ticket: of the run, for its level and provenance.
        density: as for [`EarlyBird`][lthprune.search.EarlyBird].
        data: on the model's device.
        plan: of the run.
        pruning: which tensors are prunable.
        order: of the samples; the next two draw dropout, and crops and flips.
        noise: see ``order``.
        augmenter: see ``order``.

    Raises:
        RecipeError: the plan has too few epochs.
    """
    per_epoch = len(data.x_train) // plan.batch_size
    reason = too_short_for_early_birds(plan.steps, per_epoch)
    if reason is not None:
        raise RecipeError(reason)
    bird = EarlyBird(density, selection=pruning.selection, bias=bool(pruning.bias))
    last, made = (plan.steps - 1) // per_epoch, 0

    def count_step() -> None:
        nonlocal made
        made += 1
        if made % per_epoch == 0 and (bird.update(model) or bird.epochs == last):
            raise _Drawn

    unevaluated = plan.model_copy(update={"evaluate_every": plan.steps})
    try:
        with seeded_by(noise, data.x_train.device):
            train(model, data, unevaluated, order, augmenter=augmenter, on_step=count_step)
    except _Drawn:
        pass
    assert bird.masks is not None
    drawn = {"step": made, "epoch": bird.epochs, "settled": bird.found, "distance": max(bird.distances)}
    weights = snapshot(model)
    return Ticket(
        level=ticket.level,
        masks={name: bird.masks[name] for name in ticket.masks},
        weights=weights,
        trained=weights,
        provenance=ticket.provenance | {"control": "early-bird", "early_bird": drawn},
        late_buffers=ticket.late_buffers,
        tied=ticket.tied,
    )


class _Drawn(Exception):  # noqa: N818, it is no error
    """Ends the training of the dense model."""
