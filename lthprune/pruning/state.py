"""States: a model's tensors by plain name, the same for dense models and both pruned forms.

A module pruned in torch's form holds its dense weight as ``weight_orig`` and its mask as ``weight_mask``. A state
calls the parameter ``weight`` in every form, and contains no masks.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lthprune.arguments import check_module
from lthprune.errors import StorageError, suggestion
from lthprune.memory import copied
from lthprune.pruning.keeping import set_zeros
from lthprune.pruning.naming import join, named_modules
from lthprune.pruning.plain_form import kept_masks, project_model
from lthprune.pruning.torch_form import masked_by_torch, plain_name, recompute

State = dict[str, Tensor]


@contextmanager
def modes_restored(model: nn.Module) -> Iterator[None]:
    """Restore the mode of every module afterwards, training or evaluation.

    Examples:
        >>> model = nn.Sequential(nn.Linear(2, 1), nn.Dropout().eval())
        >>> with modes_restored(model):
        ...     _ = model.eval()
        >>> model[0].training, model[1].training
        (True, False)
    """
    check_module(model)
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def live_state(model: nn.Module) -> State:
    """Return a model's parameters and buffers (not copies) by plain name; a shared one under each of its names.

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
    """Return the boolean masks of a model by the plain names of the masked tensors; of a shared one under each name.

    Examples:
        >>> model = nn.utils.prune.l1_unstructured(nn.Linear(4, 1), "weight", 3)
        >>> {name: int(mask.sum()) for name, mask in masks_of(model).items()}
        {'weight': 1}
    """
    return {name: mask.bool() for name, mask in live_masks(model).items()}


def live_masks(model: nn.Module) -> State:
    """Return the masks of ``masks_of`` as the model has them, not copies: true or 1 where a weight is unpruned."""
    masks = {name: kept.values for name, kept in kept_masks(model).items()}
    for prefix, module in named_modules(model):
        for name in masked_by_torch(module):
            mask = module._buffers[f"{name}_mask"]
            assert mask is not None
            masks[join(prefix, name)] = mask
    return masks


def first_names(model: nn.Module) -> dict[str, str]:
    """Map the plain name of every parameter to its first plain name; they differ for tied parameters only.

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
    """Return copies of a model's parameters and buffers, in which pruned weights are zero, and never minus zero.

    Examples:
        >>> model = nn.utils.prune.l1_unstructured(nn.Linear(4, 1), "weight", 3)
        >>> int((snapshot(model)["weight"] == 0).sum())
        3
    """
    masks = live_masks(model)
    state = {name: copied(tensor) for name, tensor in live_state(model).items()}
    for name in masks.keys() & state.keys():
        set_zeros(state[name], masks[name])
    return state


def registered_buffers(model: nn.Module) -> frozenset[str]:
    """Return the plain names of a model's buffers, including those that are registered as None."""
    return frozenset(join(prefix, name) for prefix, module in named_modules(model) for name in module._buffers)


def restore(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    what: str = "the state",
    registered: frozenset[str] | None = None,
) -> None:
    """Copy a state into a model, in place, so that parameters keep their identity and optimisers stay valid.

    A buffer whose size has changed since the state was copied gets its former size back.

    Args:
        model: dense or pruned.
        state: tensors by plain name.
        what: what the state is, for error messages.
        registered: the names of the buffers when the state was copied, including those that were None. If given, a
            buffer that the model has registered or filled since (a cache, in its first forward pass) is removed or
            set to None, and one that it has not registered yet is registered. If not, both raise an error.

    Raises:
        StorageError: names or shapes differ; the model stays unchanged.

    Examples:
        >>> model = nn.Linear(4, 1)
        >>> initial = snapshot(model)
        >>> _ = nn.init.zeros_(model.weight)
        >>> restore(model, initial)
        >>> bool((model.weight == initial["weight"]).all())
        True
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
    """Update a pruned model, in either form, after its parameters were written to.

    In the plain form this sets pruned entries to zero. In torch's form it recomputes ``weight`` from ``weight_orig``
    and ``weight_mask``. torch does so only before a forward pass: after an in-place write ``weight`` is stale, and
    after a forward pass it belongs to an autograd graph, so that ``copy.deepcopy`` fails. Both are fixed afterwards.

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
        what: what the state is, for error messages.
        may_lack: names of the model's buffers that the state may lack.
        may_bring: names of buffers that the state may contain although the model does not have them yet.
    """
    live, parameters, buffers = live_state(model), set(_parameter_names(model)), registered_buffers(model)
    expected = buffers | _unregistered(model, may_bring)
    faults = [
        f"{name!r} of the model is missing from {what}{suggestion(name, state)}"
        for name in live
        if name not in state and name not in may_lack
    ]
    faults += [
        f"{what[0].upper()}{what[1:]} has {name!r}, which the model lacks{suggestion(name, live)}"
        for name in state
        if name not in live and name not in expected
    ]
    faults += [
        f"{name!r} has the shape {tuple(state[name].shape)} in {what} and {tuple(live[name].shape)} in the model."
        for name in live
        if name in parameters and name in state and state[name].shape != live[name].shape
    ]
    if faults:
        shown = " ".join(faults[:5])
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise StorageError(
            f"{what} does not fit this {type(model).__name__}: its names or shapes differ. {shown}{more} Build the "
            "model with the architecture and sizes that it had then."
        )


def _is_fixed(buffer: Tensor) -> bool:
    """Return whether a buffer cannot be written to: it is expanded, or was created in inference mode."""
    expanded = any(stride == 0 and size > 1 for stride, size in zip(buffer.stride(), buffer.shape, strict=True))
    return expanded or buffer.is_inference()


def _unregistered(model: nn.Module, buffers: Collection[str]) -> frozenset[str]:
    """Return those of the named buffers that the model lacks although it has their module."""
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
