"""The starting points of controls: tickets in which one thing is replaced by chance, to be trained like the original.

Each function returns a ticket with the masks and weights that the control's training starts from, for
``retrain_levels``.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lthprune.pruning import Densities, Masks, State, random_masks, snapshot
from lthprune.search.tickets import Ticket


def reinitialised(ticket: Ticket, fresh: nn.Module) -> Ticket:
    """Return a ticket's masks with the weights, biases and buffers of a freshly initialised model.

    The control of Frankle & Carbin (2019), section 2: is it the initial weights, or the masks alone?

    Args:
        ticket: of the search that is controlled.
        fresh: a model of the same architecture with other initial weights.

    Examples:
        >>> import lthprune
        >>> def train(model):
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ...     model(torch.ones(4)).sum().backward()
        ...     optimizer.step()
        >>> tickets = lthprune.imp(nn.Linear(4, 3), train, levels=1)
        >>> fresh = nn.Linear(4, 3)
        >>> control = reinitialised(tickets[1], fresh)
        >>> control.weights["weight"].equal(fresh.weight), control.left == tickets[1].left
        (True, True)
    """
    return _start(ticket, "reinitialised", ticket.masks, snapshot(fresh))


def with_signs_kept(ticket: Ticket, fresh: nn.Module) -> Ticket:
    """Return a ticket as ``reinitialised`` does, but every prunable weight keeps the sign that it had.

    Zhou et al. (2019), section 4: are the signs of the initial weights what matters? The arguments are those of
    ``reinitialised``.
    """
    state = snapshot(fresh)
    drawn = {name: state[name].abs().copysign(ticket.weights[name]) for name in ticket.masks}
    return _start(ticket, "signs-kept", ticket.masks, state | drawn)


def with_constant_magnitude(ticket: Ticket, dense: Ticket) -> Ticket:
    """Return a ticket whose prunable weights have their signs, and one magnitude for each tensor.

    The magnitude is the standard deviation of the tensor's initial weights (Zhou et al. 2019, section 4.1).

    Args:
        ticket: of the search that is controlled.
        dense: the ticket of its level 0, which has all initial weights.
    """
    constant = constant_magnitudes({name: ticket.weights[name] for name in ticket.masks}, dense.weights)
    return _start(ticket, "constant", ticket.masks, {**ticket.weights, **constant})


def constant_magnitudes(weights: Mapping[str, Tensor], initial: Mapping[str, Tensor] | None = None) -> State:
    """Return the signs of weights times one magnitude for each tensor, the standard deviation of its initial weights.

    Args:
        weights: by name; zero counts as positive.
        initial: all initial weights by name; by default ``weights``.

    Examples:
        >>> constant_magnitudes({"w": torch.tensor([-3.0, 1.0, 1.0, 1.0])})
        {'w': tensor([-1.7321,  1.7321,  1.7321,  1.7321])}
    """
    initial = weights if initial is None else initial
    return {
        name: torch.full_like(values, float(initial[name].float().std(correction=0))).copysign(values)
        for name, values in weights.items()
    }


def randomly_masked(ticket: Ticket, dense: Ticket, densities: Densities, generator: torch.Generator) -> Ticket:
    """Return the initial weights with random masks that keep as many weights as the ticket.

    Args:
        ticket: of the search that is controlled.
        dense: the ticket of its level 0, which has all initial weights.
        densities: how many weights each tensor keeps; see [`random_masks`][lthprune.pruning.random_masks].
        generator: on the CPU; the same state gives nested masks at all levels.
    """
    masks = random_masks(ticket.masks, densities, generator)
    return with_other_masks(ticket, dense, masks, f"random-{densities}")


def with_other_masks(ticket: Ticket, dense: Ticket, masks: Masks, control: str) -> Ticket:
    """Return the initial weights with masks that were chosen in another way.

    Args:
        ticket: of the search that is controlled.
        dense: the ticket of its level 0, which has all initial weights.
        masks: boolean, by the names of the ticket's.
        control: the name of the control, for the ticket's provenance.
    """
    return _start(ticket, control, masks, dense.weights)


def _start(ticket: Ticket, control: str, masks: Masks, weights: Mapping[str, Tensor]) -> Ticket:
    state: State = dict(weights)
    return Ticket(
        level=ticket.level,
        masks=masks,
        weights=state,
        trained=state,
        provenance=ticket.provenance | {"control": control},
        late_buffers=ticket.late_buffers,
        tied=ticket.tied,
    )
