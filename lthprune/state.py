"""A model's tensors under their plain names, whether it is pruned or not.

A pruned module keeps its dense weight as ``weight_orig`` and its mask as ``weight_mask``. Here both forms
read alike: ``weight`` is the dense parameter, and masks are left out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lthprune.errors import StorageError, suggestion

State = dict[str, Tensor]


def live_state(model: nn.Module) -> State:
    """Return the model's own parameters and buffers (not copies) by plain name.

    Examples:
        >>> sorted(live_state(nn.Linear(2, 1)))
        ['bias', 'weight']
    """
    state: State = {}
    for prefix, module in model.named_modules():
        masked = _masked(module)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                state[_join(prefix, name.removesuffix("_orig") if name.removesuffix("_orig") in masked else name)] = (
                    parameter
                )
        for name, buffer in module._buffers.items():
            if buffer is not None and name.removesuffix("_mask") not in masked:
                state[_join(prefix, name)] = buffer
    return state


def masks_of(model: nn.Module) -> State:
    """Return the live mask buffers of a model by the plain names of the tensors they mask."""
    return {
        _join(prefix, name): module._buffers[f"{name}_mask"]
        for prefix, module in model.named_modules()
        for name in _masked(module)
    }


def snapshot(model: nn.Module) -> State:
    """Return copies of the model's parameters and buffers; pruned weights are zero in them."""
    masks = masks_of(model)
    with torch.no_grad():
        return {
            name: tensor.detach() * masks[name] if name in masks else tensor.detach().clone()
            for name, tensor in live_state(model).items()
        }


def restore(model: nn.Module, state: Mapping[str, Tensor], *, what: str = "the state") -> None:
    """Copy a state into a model, in place, so that parameters keep their identity and optimisers stay valid.

    Raises:
        StorageError: names or shapes differ; the model is unchanged then.
    """
    check_fit(model, state, what=what)
    with torch.no_grad():
        for name, tensor in live_state(model).items():
            tensor.copy_(state[name])
    refresh(model)


def check_fit(model: nn.Module, state: Mapping[str, Tensor], *, what: str = "the state") -> None:
    """Raise a StorageError unless a state has the model's names and shapes."""
    live = live_state(model)
    faults = [f"{name!r} is missing{suggestion(name, state)}" for name in live if name not in state]
    faults += [f"the model has no {name!r}{suggestion(name, live)}" for name in state if name not in live]
    faults += [
        f"{name!r} has the shape {tuple(state[name].shape)}, the model's {tuple(tensor.shape)}."
        for name, tensor in live.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if faults:
        shown = " ".join(fault[0].upper() + fault[1:] for fault in faults[:5])
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise StorageError(f"{what} does not fit this {type(model).__name__}. {shown}{more}")


def refresh(model: nn.Module) -> None:
    """Recompute every pruned ``weight`` from ``weight_orig`` and ``weight_mask``.

    torch does so only before a forward pass, so after a write in place ``weight`` is stale; and after a forward
    pass it hangs in a graph, which ``copy.deepcopy`` refuses. Afterwards neither is the case.
    """
    for module in model.modules():
        for name in _masked(module):
            original, mask = module._parameters[f"{name}_orig"], module._buffers[f"{name}_mask"]
            assert original is not None
            assert mask is not None
            setattr(module, name, original.detach() * mask)


def _masked(module: nn.Module) -> list[str]:
    """Return the names of a module's own tensors that are pruned in torch's terms."""
    return [
        name.removesuffix("_orig")
        for name in module._parameters
        if name.endswith("_orig") and f"{name.removesuffix('_orig')}_mask" in module._buffers
    ]


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
