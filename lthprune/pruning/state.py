"""A model's tensors under their plain names, whether it is pruned or not.

A module pruned in torch's form keeps its dense weight as ``weight_orig`` and its mask as ``weight_mask``. Here all
forms read alike: ``weight`` is the parameter, and masks are left out.
"""

from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from lthprune.arguments import check_module
from lthprune.errors import StorageError, suggestion
from lthprune.pruning.naming import join, named_modules
from lthprune.pruning.plain_form import kept_masks, project_model
from lthprune.pruning.torch_form import masked_by_torch, plain_name, recompute

State = dict[str, Tensor]


def live_state(model: nn.Module) -> State:
    """Return the model's own parameters and buffers (not copies) by plain name; a shared one under each of its names.

    Examples:
        >>> sorted(live_state(nn.Linear(2, 1)))
        ['bias', 'weight']
    """
    state: State = {}
    for prefix, module in named_modules(model):
        masked = masked_by_torch(module)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                state[join(prefix, plain_name(name, masked))] = parameter
        for name, buffer in module._buffers.items():
            if buffer is not None and name.removesuffix("_mask") not in masked:
                state[join(prefix, name)] = buffer
    return state


def masks_of(model: nn.Module) -> State:
    """Return the masks of a model, boolean, by the plain names of the tensors they mask; a shared one under each."""
    masks = {name: kept.values.bool() for name, kept in kept_masks(model).items()}
    for prefix, module in named_modules(model):
        for name in masked_by_torch(module):
            mask = module._buffers[f"{name}_mask"]
            assert mask is not None
            masks[join(prefix, name)] = mask.bool()
    return masks


def first_names(model: nn.Module) -> dict[str, str]:
    """Return for the plain name of every parameter the first name of the same parameter: its own, unless it is tied.

    Examples:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        >>> net[1].weight = net[0].weight
        >>> first_names(net)
        {'0.weight': '0.weight', '1.weight': '0.weight'}
    """
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(tensor), name)
        for name, tensor in live_state(model).items()
        if isinstance(tensor, nn.Parameter)
    }


def snapshot(model: nn.Module) -> State:
    """Return copies of the model's parameters and buffers; pruned weights are zero in them, and never minus zero."""
    masks = masks_of(model)
    return {
        name: tensor.detach().masked_fill(~masks[name], 0) if name in masks else tensor.detach().clone()
        for name, tensor in live_state(model).items()
    }


def registered_buffers(model: nn.Module) -> frozenset[str]:
    """Return the plain names of a model's buffers, those that are registered as None too."""
    return frozenset(join(prefix, name) for prefix, module in named_modules(model) for name in module._buffers)


def restore(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    what: str = "the state",
    registered: frozenset[str] | None = None,
) -> None:
    """Copy a state into a model, in place, so that parameters keep their identity and optimisers stay valid.

    A buffer whose size has changed since the state was taken gets its former size back.

    Args:
        model: dense or pruned.
        state: tensors by plain name.
        what: what the state is, for messages.
        registered: the names of the buffers at the time of the state, those that were None too. With them, a buffer
            that the model has registered or filled since (a cache, in its first forward pass) is taken off or
            emptied again, and one that it has not registered yet is registered; without, both are refused.

    Raises:
        StorageError: names or shapes differ; the model is unchanged then.
    """
    may_lack = () if registered is None else registered_buffers(model)
    check_fit(model, state, what=what, may_lack=may_lack, may_bring=registered or ())
    for prefix, module in named_modules(model):
        masked = masked_by_torch(module)
        for name, buffer in list(module._buffers.items()):
            plain = join(prefix, name)
            if name.removesuffix("_mask") in masked:
                continue
            if plain in state:
                if buffer is None or buffer.shape != state[plain].shape or _is_fixed(buffer):
                    near = buffer if buffer is not None else next(module.parameters(), state[plain])
                    module._buffers[name] = state[plain].to(near.device, copy=True)
            elif buffer is not None:
                module._buffers[name] = None
                if registered is not None and plain not in registered:
                    delattr(module, name)
    for name in _unregistered(model, registered or ()) & state.keys():
        layer, _, attribute = name.rpartition(".")
        module = dict(named_modules(model))[layer]
        near = next(module.parameters(), state[name])
        module.register_buffer(attribute, state[name].to(near.device, copy=True))
    with torch.no_grad():
        for name, tensor in live_state(model).items():
            tensor.copy_(state[name])
    refresh(model)


def refresh(model: nn.Module) -> None:
    """Bring a pruned model up to date after a write to its parameters, in either form.

    In the plain form, pruned entries are set to zero. In torch's, ``weight`` is recomputed from ``weight_orig`` and
    ``weight_mask``: torch does so only before a forward pass, so after a write in place ``weight`` is stale; and after
    a forward pass it hangs in a graph, which ``copy.deepcopy`` refuses. Afterwards neither is the case.

    Examples:
        >>> from lthprune import prune
        >>> model = nn.Sequential(nn.Linear(4, 4))
        >>> _ = prune(model, 0.5, form="plain")
        >>> _ = nn.init.ones_(model[0].weight)
        >>> refresh(model)
        >>> int(model[0].weight.sum())
        8
    """
    check_module(model)
    recompute(model)
    project_model(model)


def check_fit(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    what: str = "the state",
    may_lack: Collection[str] = (),
    may_bring: Collection[str] = (),
) -> None:
    """Raise a StorageError unless a state has the model's names and shapes.

    Args:
        model: dense or pruned.
        state: tensors by plain name.
        what: what the state is, for messages.
        may_lack: names of the model's buffers that the state may lack.
        may_bring: names of buffers that the state may have and the model not yet.
    """
    live, parameters, buffers = live_state(model), set(_parameter_names(model)), registered_buffers(model)
    welcome = buffers | _unregistered(model, may_bring)
    faults = [
        f"{name!r} is missing{suggestion(name, state)}" for name in live if name not in state and name not in may_lack
    ]
    faults += [
        f"the model has no {name!r}{suggestion(name, live)}"
        for name in state
        if name not in live and name not in welcome
    ]
    faults += [
        f"{name!r} has the shape {tuple(state[name].shape)}, the model's {tuple(live[name].shape)}."
        for name in live
        if name in parameters and name in state and state[name].shape != live[name].shape
    ]
    if faults:
        shown = " ".join(fault[0].upper() + fault[1:] for fault in faults[:5])
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise StorageError(f"{what} does not fit this {type(model).__name__}. {shown}{more}")


def _is_fixed(buffer: Tensor) -> bool:
    """Say whether a buffer cannot be written to: an expanded one, or one that was made in inference mode."""
    expanded = any(stride == 0 and size > 1 for stride, size in zip(buffer.stride(), buffer.shape, strict=True))
    return expanded or buffer.is_inference()


def _unregistered(model: nn.Module, buffers: Collection[str]) -> frozenset[str]:
    """Return the names of those buffers that the model does not have yet, in modules that it has."""
    modules = dict(named_modules(model)) if buffers else {}
    places = {name: name.rpartition(".") for name in buffers}
    return frozenset(
        name
        for name, (layer, _, attribute) in places.items()
        if layer in modules and not hasattr(modules[layer], attribute)
    )


def _parameter_names(model: nn.Module) -> Iterator[str]:
    for prefix, module in named_modules(model):
        masked = masked_by_torch(module)
        for name in module._parameters:
            yield join(prefix, plain_name(name, masked))
