"""A module and its optimiser of torch as tensors by name, and back, with the same bits and memory layouts."""

import torch
from torch import nn

from lthprune.pruning import State, first_names, live_state, registered_buffers, restore
from lthprune.training.checkpoint import copy_into, under, within

_KEPT: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {  # of every parameter that has received a gradient
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
}


def module_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Return parameters, buffers and the optimiser's state by name; not copies.

    Examples:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> model(torch.ones(2)).sum().backward()
        >>> optimizer.step()
        >>> list(module_state(model, optimizer))
        ['model/weight', 'momentum_buffer/weight']
    """
    kept = {
        f"{key}/{name}": optimizer.state[parameter][key]
        for name, parameter in _parameters(model).items()
        for key in _KEPT[type(optimizer)]
        if optimizer.state.get(parameter, {}).get(key) is not None
    }
    return under("model", live_state(model)) | kept


def restore_module(model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Write what ``module_state`` returned into a module and an optimiser of the same kinds.

    Raises:
        StorageError: it is the state of another module or optimiser.
    """
    restore_copy(model, within("model", state))
    keys = _KEPT[type(optimizer)]
    for name, parameter in _parameters(model).items():
        saved = {key: state[f"{key}/{name}"] for key in keys if f"{key}/{name}" in state}
        if saved and not optimizer.state[parameter]:  # an optimiser makes it in its first step, in the same layout
            optimizer.state[parameter] = {
                key: torch.empty_like(parameter, requires_grad=False)
                if key != "step"
                else torch.zeros((), device=parameter.device)
                for key in keys
            }
        if saved:
            copy_into(optimizer.state[parameter], saved)


def restore_copy(model: nn.Module, state: State) -> None:
    """Write a copy of a module's parameters and buffers, taken at any time of a training, into the module."""
    restore(model, state, what="a copy of the network", registered=registered_buffers(model) | state.keys())


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a module by plain name, a tied one under its first."""
    first = first_names(model)
    return {
        name: tensor
        for name, tensor in live_state(model).items()
        if isinstance(tensor, nn.Parameter) and first[name] == name
    }
