"""The two forms of a pruned model, and conversion between them.

Plain: ``weight`` stays the parameter, and its pruned entries are kept at zero (``plain_form.py``). torch's:
``weight_orig``, ``weight_mask`` and a hook (``methods.py``). A model may contain both, since
parameters that torch's form does not reach stay plain.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from lthprune.arguments import check_module, check_word
from lthprune.errors import PruningError
from lthprune.memory import give_back_freed_memory
from lthprune.pruning.keeping import kept_mask
from lthprune.pruning.methods import erase_mask, is_pruning_method, place_mask
from lthprune.pruning.naming import join, named_modules, unwrapped
from lthprune.pruning.plain_form import keep, kept_masks, release
from lthprune.pruning.state import first_names, masks_of, refresh
from lthprune.pruning.torch_form import masked_by_torch, plain_name
from lthprune.pruning.zero_hooks import is_projection

Form = Literal["plain", "torch"]
FORMS: tuple[Form, ...] = ("plain", "torch")


def convert(model: nn.Module, form: Form) -> nn.Module:
    """Convert a pruned model to the plain form or to torch's, in place, and return it.

    Masks and remaining weights do not change by a bit, and parameters keep their identity. In torch's form,
    parameters that torch's hooks do not reach stay plain: the output projection of ``nn.MultiheadAttention``,
    parameters in lists and dicts, and those that the model read in a training without calling their module.

    Args:
        model: pruned in either form; a dense model does not change.
        form: ``"plain"`` (``weight`` is the parameter, its pruned entries are kept at zero) or ``"torch"``
            (``weight_orig``, ``weight_mask`` and a hook, as ``torch.nn.utils.prune`` has them).

    Raises:
        PruningError: a tied parameter has different masks under its names, or a parameter is pruned in both forms at
            once; the model stays unchanged.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 4))
        >>> _ = torch.nn.utils.prune.l1_unstructured(model[0], "weight", 0.5)
        >>> [name for name, _ in convert(model, "plain").named_parameters()]
        ['0.weight', '0.bias']
        >>> [name for name, _ in convert(model, "torch").named_parameters()]
        ['0.weight_orig', '0.bias']
    """
    check_module(model)
    check_word("form", form, FORMS)
    _refuse_both(model)
    first = first_names(model)
    if form == "plain":
        masks = _masks_of_torch(model, first)
        for _, module, name in list(_torch_places(model)):
            erase_mask(module, name)
        if masks:
            keep(model, masks)
        return model
    unreached = {first[name] for name in unreached_by_torch(model)}
    kept = {name: mask.values.bool() for name, mask in kept_masks(model).items() if first[name] not in unreached}
    release(model, kept)
    give_back_freed_memory(4 * sum(mask.numel() for mask in kept.values()))
    _write_torch(model, kept)
    return model


def write_masks(model: nn.Module, masks: Mapping[str, Tensor], form: Form) -> None:
    """Set masks of a model, and convert it to a form.

    Args:
        model: dense or pruned.
        masks: boolean masks by plain name; a tied parameter may go by any of its names.
        form: ``"plain"`` or ``"torch"``.

    Raises:
        PruningError: torch's form does not reach one of the tensors; the model stays unchanged.
    """
    first = first_names(model)
    if form == "torch":
        refuse_unreached(model, masks)
    convert(model, form)
    if form == "plain":
        keep(model, masks)
    else:
        by_first = {first[name]: mask for name, mask in masks.items()}
        _write_torch(model, {name: by_first[own] for name, own in first.items() if own in by_first})


def strip(model: nn.Module) -> nn.Module:
    """Remove masks and hooks of either form from a model, in place, and return it; pruned weights stay zero.

    Examples:
        >>> model = torch.nn.utils.prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5)
        >>> int((strip(model).weight == 0).sum()), list(model.state_dict())
        (8, ['weight', 'bias'])
    """
    check_module(model)
    for _, module, name in list(_torch_places(model)):
        erase_mask(module, name)
    release(model)
    return model


def without_pruning(model: nn.Module) -> nn.Module:
    """Return a copy of a model without masks and hooks, in which pruned weights are zero."""
    refresh(model)  # deepcopy fails for tensors in an autograd graph
    return strip(copy.deepcopy(unwrapped(model)))


def has_other_hooks(model: nn.Module) -> bool:
    """Return whether a model has hooks on its forward pass other than those of pruning."""
    return any(
        not is_projection(hook) and not is_pruning_method(hook)
        for module in model.modules()
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    )


def refuse_unreached(model: nn.Module, names: Iterable[str]) -> None:
    """Raise a PruningError that names those of the given tensors that torch's form does not reach."""
    first, unreached = first_names(model), unreached_by_torch(model)
    reasons = {first[name]: reason for name, reason in unreached.items()}
    refused = {name: reasons[first[name]] for name in names if first[name] in reasons}
    if refused:
        named = "; ".join(f"{name!r} ({reason})" for name, reason in refused.items())
        raise PruningError(
            f"torch's form of pruning does not reach {named}: its hook would never run, so the weights would not be "
            'trained. Use form="plain", which reaches every parameter, or leave them out: '
            f"Selection(exclude={tuple(refused)!r})."
        )


def unreached_by_torch(model: nn.Module) -> dict[str, str]:
    """Return the plain names of the parameters that torch's form cannot prune, and why."""
    reasons = {}
    projections = {id(each.out_proj) for each in model.modules() if isinstance(each, nn.MultiheadAttention)}
    for prefix, module in named_modules(model):
        masked = masked_by_torch(module)
        for name, parameter in module._parameters.items():
            kept, plain = None if parameter is None else kept_mask(parameter), join(prefix, plain_name(name, masked))
            if id(module) in projections:
                reasons[plain] = "nn.MultiheadAttention reads it without calling it"
            elif isinstance(module, nn.ParameterList | nn.ParameterDict):
                reasons[plain] = f"nothing calls an nn.{type(module).__name__}"
            elif kept is not None and kept.uncalled:
                reasons[plain] = "it was trained although its module was not called"
    return reasons


def _refuse_both(model: nn.Module) -> None:
    """Raise a PruningError if torch's functions have pruned a parameter that is also pruned in the plain form."""
    for name, module, attribute in _torch_places(model):
        parameter = module._parameters[f"{attribute}_orig"]
        if parameter is not None and kept_mask(parameter) is not None:
            raise PruningError(
                f"{name!r} is pruned in the plain form, and torch.nn.utils.prune has pruned it as well. Undo that with "
                f"prune.remove(module, {attribute!r}), and before calling torch's functions again, convert the model: "
                'lthprune.convert(model, "torch").'
            )


def _torch_places(model: nn.Module) -> Iterable[tuple[str, nn.Module, str]]:
    """Yield the plain name, module and attribute of every tensor that is pruned in torch's form."""
    for prefix, module in named_modules(model):
        for name in masked_by_torch(module):
            yield join(prefix, name), module, name


def _masks_of_torch(model: nn.Module, first: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the masks in torch's form, one for each parameter."""
    places = list(_torch_places(model))
    everywhere = masks_of(model) if places else {}
    masks: dict[str, Tensor] = {}
    for name, _, _ in places:
        masks.setdefault(first[name], everywhere[name])
    for name, own in first.items():
        if own in masks and not torch.equal(everywhere.get(name, torch.ones_like(masks[own])), masks[own]):
            raise PruningError(
                f"{own!r} and {name!r} are one tied parameter, but are pruned differently. Give both the same mask, or "
                "untie them."
            )
    return masks


def _write_torch(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    places = {join(prefix, name): (module, name) for prefix, module in named_modules(model) for name in _own(module)}
    for name, mask in masks.items():
        place_mask(*places[name], mask)
    give_back_freed_memory(4 * sum(mask.numel() for mask in masks.values()))  # of products that torch computed
    refresh(model)


def _own(module: nn.Module) -> list[str]:
    """Return the plain names of a module's own parameters."""
    masked = masked_by_torch(module)
    return [plain_name(name, masked) for name in module._parameters]
