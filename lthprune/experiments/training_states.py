"""The states of a ticket's network within its training, which a run does not keep."""

from collections.abc import Collection

from torch import nn

from lthprune.experiments.experiment import Experiment
from lthprune.experiments.run import Run
from lthprune.pruning import State, snapshot
from lthprune.search import Rewinder, Ticket
from lthprune.seeds import seeded_by
from lthprune.training import train


def training_states(
    experiment: Experiment, run: Run, model: nn.Module, ticket: Ticket, trial: int, steps: Collection[int]
) -> dict[int, State]:
    """Train a ticket again, and return its network's state at some steps.

    The readable loop trains it with the run's batches, so up to rounding the weights are those that the run had.

    Args:
        experiment: that of the run.
        run: the run; no control.
        model: the trial's network, which is trained.
        ticket: the ticket.
        trial: its trial.
        steps: of its training, from the step that it starts at.
    """
    states: dict[int, State] = {}
    if not steps:
        return states
    recipe, rewind, made = experiment.recipe, experiment.search.rewind, 0
    start = rewind.at if isinstance(rewind, Rewinder) and ticket.level else 0
    if not ticket.level:  # its weights are those of the step that a run rewinds to
        initial = run.tickets.initial()[trial]
        ticket = Ticket(0, ticket.masks, initial, initial, late_buffers=ticket.late_buffers, tied=ticket.tied)
    ticket.apply(model)
    if start in steps:
        states[start] = snapshot(model)

    def keep() -> None:
        nonlocal made
        made += 1
        if start + made in steps:
            states[start + made] = snapshot(model)

    with seeded_by(recipe.run.generator("noise", trial)):
        train(
            model,
            experiment.data,
            recipe.train,
            recipe.run.generator("order", trial),
            start=start,
            no_stop_before=max(steps),
            fine_tune=rewind == "none" and ticket.level > 0,
            augmenter=recipe.run.generator("augment", trial),
            on_step=keep,
        )
    return states
