"""The two forms of a pruned model, and the way from each to the other.

Plain: ``weight`` stays the parameter, and its pruned entries are kept at zero (``projection.py``). torch's:
``weight_orig``, ``weight_mask`` and a hook (``methods.py``). Both may occur in one model: what torch's form cannot
reach stays plain.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from lthprune.arguments import check_module, check_word
from lthprune.errors import PruningError
from lthprune.pruning.keeping import kept_mask
from lthprune.pruning.methods import erase_mask, is_pruning_method, write_mask
from lthprune.pruning.naming import join, named_modules, unwrapped
from lthprune.pruning.plain_form import keep, kept_masks, release
from lthprune.pruning.projection import is_projection
from lthprune.pruning.state import first_names, masks_of, refresh
from lthprune.pruning.torch_form import masked_by_torch, plain_name

Form = Literal["plain", "torch"]
FORMS: tuple[Form, ...] = ("plain", "torch")


def convert(model: nn.Module, form: Form) -> nn.Module:
    """Bring a pruned model into the plain form or into torch's, in place, and return it.

    Masks, surviving weights and the identity of every parameter are the same afterwards, to the bit. In torch's form,
    parameters that torch's hooks do not reach stay plain: the output projection of ``nn.MultiheadAttention``,
    parameters in lists and dicts, and whatever a training has shown to be read without a call of its module.

    Args:
        model: pruned in either form, or dense (nothing happens then).
        form: ``"plain"`` (``weight`` is the parameter, its pruned entries are kept at zero) or ``"torch"``
            (``weight_orig``, ``weight_mask`` and a hook, as ``torch.nn.utils.prune`` has them).

    Raises:
        PruningError: a tied parameter is pruned differently under its names; the model is unchanged then.

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
    _write_torch(model, kept)
    return model


def write_masks(model: nn.Module, masks: Mapping[str, Tensor], form: Form) -> None:
    """Make these the masks of a model, in one form; a parameter with several names may go by any of them.

    Raises:
        PruningError: torch's form is wanted where it does not reach; the model is unchanged then.
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
    """Take masks and hooks of either form off a model, in place, and return it: pruned weights are ordinary zeros.

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
    """Return a copy in which masked tensors are ordinary parameters: no hooks, and zero where they were pruned."""
    refresh(model)  # deepcopy refuses what hangs in a graph
    return strip(copy.deepcopy(unwrapped(model)))


def has_other_hooks(model: nn.Module) -> bool:
    """Say whether a module of a model has hooks on its forward pass that are not those of pruning."""
    return any(
        not is_projection(hook) and not is_pruning_method(hook)
        for module in model.modules()
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    )


def refuse_unreached(model: nn.Module, names: Iterable[str]) -> None:
    """Raise a PruningError if torch's form does not reach one of these tensors; all of them are named."""
    first, unreached = first_names(model), unreached_by_torch(model)
    reasons = {first[name]: reason for name, reason in unreached.items()}
    refused = {name: reasons[first[name]] for name in names if first[name] in reasons}
    if refused:
        named = "; ".join(f"{name!r} ({reason})" for name, reason in refused.items())
        raise PruningError(
            f"torch's form of pruning does not reach {named}: its hook would never run, and the weights would stay as "
            'they are now. The plain form reaches every parameter: form="plain". Or leave them out: '
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
                reasons[plain] = "it was trained without a call of its module"
    return reasons


def _refuse_both(model: nn.Module) -> None:
    """Raise a PruningError if torch's functions have pruned a parameter that is kept in the plain form."""
    for name, module, attribute in _torch_places(model):
        parameter = module._parameters[f"{attribute}_orig"]
        if parameter is not None and kept_mask(parameter) is not None:
            raise PruningError(
                f"{name!r} is pruned in the plain form, and torch.nn.utils.prune has pruned it as well. Take that "
                f"back (prune.remove(module, {attribute!r})), and convert the model before the next call of torch's "
                'functions: lthprune.convert(model, "torch").'
            )


def _torch_places(model: nn.Module) -> Iterable[tuple[str, nn.Module, str]]:
    """Yield what is pruned in torch's form: its plain name, its module and its name there."""
    for prefix, module in named_modules(model):
        for name in masked_by_torch(module):
            yield join(prefix, name), module, name


def _masks_of_torch(model: nn.Module, first: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the masks in torch's form, one for each parameter."""
    everywhere = masks_of(model)
    masks: dict[str, Tensor] = {}
    for name, _, _ in _torch_places(model):
        masks.setdefault(first[name], everywhere[name])
    for name, own in first.items():
        if own in masks and not torch.equal(everywhere.get(name, torch.ones_like(masks[own])), masks[own]):
            raise PruningError(
                f"{own!r} and {name!r} are one tied parameter, and are pruned differently. Prune both alike, or untie "
                "them."
            )
    return masks


def _write_torch(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    places = {join(prefix, name): (module, name) for prefix, module in named_modules(model) for name in _own(module)}
    for name, mask in masks.items():
        write_mask(*places[name], mask)
    refresh(model)


def _own(module: nn.Module) -> list[str]:
    """Return the plain names of a module's own parameters."""
    masked = masked_by_torch(module)
    return [plain_name(name, masked) for name in module._parameters]
