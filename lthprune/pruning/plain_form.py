"""The plain form of a whole model: setting, reading and removing the masks of its parameters."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lthprune.errors import PruningError
from lthprune.pruning.keeping import KeptMask, kept_mask, set_zeros, watch_optimizers
from lthprune.pruning.naming import join, named_modules, unwrapped
from lthprune.pruning.zero_hooks import Place, Projection


def keep(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set masks of a model in the plain form, and set pruned entries to zero; its other masks stay.

    Args:
        model: any module.
        masks: boolean masks by plain name; a shared parameter has one mask and may go by any of its names.

    Raises:
        PruningError: called in inference mode, or a masked parameter has changed its shape.
    """
    if torch.is_inference_mode_enabled():
        raise PruningError(
            "masks cannot be set in torch.inference_mode, because nothing can be trained there. Call it outside."
        )
    model = unwrapped(model)
    parameters = dict(_named_parameters(model))
    for name, mask in masks.items():
        parameter = parameters[name]
        kept = kept_mask(parameter)
        if kept is None:
            kept = KeptMask(mask, parameter)
        else:
            kept.follow(parameter)
            kept.write(mask)
        kept.attach(parameter)
    _install(model)
    project_model(model)


def release(model: nn.Module, names: Iterable[str] | None = None) -> None:
    """Remove masks of a model in the plain form, by default all of them; the values of the parameters stay."""
    model = unwrapped(model)
    parameters = dict(_named_parameters(model))
    for name in parameters if names is None else names:
        kept = kept_mask(parameters[name])
        if kept is not None:
            kept.detach(parameters[name])
    _install(model)


def kept_masks(model: nn.Module) -> dict[str, KeptMask]:
    """Return the masks of a model in the plain form, under every plain name of their parameters."""
    named = ((name, kept_mask(parameter)) for name, parameter in _named_parameters(model))
    return {name: kept for name, kept in named if kept is not None}


def project_model(model: nn.Module) -> None:
    """Set the pruned entries of all parameters of a model to zero."""
    for parameter in model.parameters():
        kept = kept_mask(parameter)
        if kept is not None:
            if kept.prunes:
                set_zeros(parameter.data, kept.follow(parameter))  # no minus zeros: checkpoints equal tickets
            kept.note_zeros(parameter)
            kept.overwritten = False


def _install(model: nn.Module) -> None:
    """Give a projection to every module that contains masked parameters at any depth; remove all others."""
    for module in model.modules():
        places = _places(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, Projection):
                if hook.holds(places):  # it stays: a compiled model may contain it
                    break
                hook.remove()
        else:
            if places:
                Projection(module, places)
    watch_optimizers()


def _places(module: nn.Module) -> tuple[Place, ...]:
    return tuple(
        Place(owner, attribute, parameter, kept)
        for owner in module.modules()
        for attribute, parameter in owner._parameters.items()
        if parameter is not None and (kept := kept_mask(parameter)) is not None
    )


def _named_parameters(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """Yield a model's parameters by plain name, a shared one under each of its names."""
    for prefix, module in named_modules(model):
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                yield join(prefix, attribute), parameter
