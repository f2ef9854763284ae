"""The properties of a pruning method in torch's form."""

import copy
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from lthprune.arguments import described
from lthprune.errors import PruningError
from lthprune.pruning import refresh
from lthprune.testing.calling import PropertyError, call, called, seed_generators
from lthprune.testing.cases import DIMS, LayerCase, check_dims, layer_cases, shown
from lthprune.testing.smallest import check_cases, require_hypothesis

Prune = Callable[[nn.Module, str, Any], object]
_VECTOR = (
    ". torch passes a method of PRUNING_TYPE 'unstructured' the whole tensor in the first round, and a vector of the "
    "remaining weights from the second on."
)


def check_pruning_method(
    method: type[torch_prune.BasePruningMethod] | Prune,
    *,
    exact: bool = True,
    random: bool = False,
    dims: Collection[int] = DIMS,
) -> None:
    """Check that a pruning method has the properties that every method of torch's form should have.

    After each round the mask is binary and of the tensor's shape, has lost exactly the amount, and nothing that was
    pruned has come back; the parameter is the same object with the same bits, now as ``weight_orig``; ``weight`` is
    ``weight_orig`` times the mask before and after a forward pass; nothing else has changed. The same layer gets the
    same mask again. The layer can be deep-copied, its ``state_dict`` restores it, and ``prune.remove`` leaves the
    pruned weights in a plain parameter. The cases are 100 small layers, of which some are pruned already, in one to
    three rounds.

    Args:
        method: a ``BasePruningMethod`` whose constructor takes the amount first, or a function of a module, the name
            of a tensor and an amount that prunes in place, such as ``torch.nn.utils.prune.l1_unstructured``.
        exact: whether it prunes exactly ``amount`` weights: a number, or a fraction of the remaining weights, rounded
            to a nearest number. If not, it gets fractions only, and may prune any number.
        random: whether it may draw from torch's global generator; the same seed then gives the same mask.
        dims: the numbers of dimensions of the tensors that it can prune.

    Raises:
        AssertionError: a property does not hold; the message gives the smallest case that shows it.
        PruningError: hypothesis is not installed, or an argument is wrong.

    Examples:
        >>> from lthprune.pruning import PruningMethod
        >>> class LargestFirst(PruningMethod):
        ...     score = staticmethod(lambda candidate: -candidate.final.abs())
        >>> check_pruning_method(LargestFirst)
    """
    __tracebackhide__ = True
    if not callable(method):
        raise PruningError(
            f"a pruning method is a BasePruningMethod of torch or a function of a module, the name of a tensor and an "
            f"amount; this is {described(method)}."
        )
    require_hypothesis()
    check_dims(dims)
    prune: Prune = method.apply if isinstance(method, type) else method  # type: ignore[attr-defined]
    try_all = partial(_examine, prune, exact, random)
    check_cases(called(method), layer_cases(dims, fractions_only=not exact), try_all)


def _examine(prune: Prune, exact: bool, random: bool, case: LayerCase) -> None:
    layer, again = _pruned_before(case), _pruned_before(case)
    for number, amount in enumerate(case.amounts):
        before = _mask(layer, case.name)
        seed_generators(number)
        _prune_once(prune, layer, case.name, amount, random)
        mask = _mask(layer, case.name)
        _check_mask(before, mask, amount if exact else None)
        seed_generators(number if random else number + 10)
        call(partial(prune, again, case.name, amount), may_draw=random)
        if not mask.equal(_mask(again, case.name)):
            raise PropertyError(
                "gives another mask when it prunes the same layer again.",
                f"the mask {shown(mask)}, then {shown(_mask(again, case.name))}",
            )
    _check_copies(prune, layer, case, random)
    _check_removal(layer, case.name)


def _pruned_before(case: LayerCase) -> nn.Module:
    """Return a new layer, pruned to the mask of the case by torch."""
    layer = case.layer()
    if not bool(case.mask.all()):
        torch_prune.custom_from_mask(layer, case.name, case.mask)  # type: ignore[no-untyped-call]
    return layer


def _mask(layer: nn.Module, name: str) -> Tensor:
    """Return a copy of a tensor's mask, boolean."""
    mask = layer._buffers.get(f"{name}_mask")
    return torch.ones_like(getattr(layer, name), dtype=torch.bool) if mask is None else mask.detach() != 0


def _prune_once(prune: Prune, layer: nn.Module, name: str, amount: float, random: bool) -> None:
    """Prune a layer and check all of it but which weights the mask prunes."""
    parameters = {plain.removesuffix("_orig"): parameter for plain, parameter in layer.named_parameters()}
    copies = {plain: parameter.detach().clone() for plain, parameter in parameters.items()}
    try:
        call(partial(prune, layer, name, amount), may_draw=random)
    except PropertyError as fault:
        if fault.__cause__ is not None and f"{name}_mask" in layer._buffers:
            raise PropertyError(f"{fault.what}{_VECTOR}") from fault.__cause__
        raise
    _check_form(layer, name, parameters[name])
    for plain, values in copies.items():
        parameter = parameters[plain]
        if not values.equal(parameter.detach()):
            raise PropertyError(
                f"writes to the parameter {plain!r}. It must set the mask only.",
                f"{shown(values)} became {shown(parameter)}",
            )
        if parameter.grad is None or not parameter.grad.equal(torch.ones_like(parameter)):
            raise PropertyError(f"changes the gradient of {plain!r}.")
    _check_product(layer, name, "after pruning")
    _forward(layer)
    _check_product(layer, name, "after a forward pass")


def _check_form(layer: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Raise a PropertyError unless a layer has torch's form, with the same parameter and a binary mask."""
    original, mask = layer._parameters.get(f"{name}_orig"), layer._buffers.get(f"{name}_mask")
    if original is None or mask is None or not torch_prune.is_pruned(layer):
        raise PropertyError(
            f"does not prune in torch's form, with '{name}_orig' as the parameter, '{name}_mask' as a buffer and a "
            "pruning method among the layer's hooks.",
            f"the parameters {', '.join(layer._parameters)}; the buffers {', '.join(layer._buffers) or '(none)'}",
        )
    if original is not parameter:
        raise PropertyError(
            f"replaces the parameter: '{name}_orig' must be the parameter that {name!r} was, for optimisers."
        )
    if mask.shape != original.shape or bool(((mask != 0) & (mask != 1)).any()):
        raise PropertyError("must set a mask of zeros and ones in the shape of the tensor.", f"the mask {shown(mask)}")


def _check_mask(before: Tensor, mask: Tensor, amount: float | None) -> None:
    """Raise a PropertyError if a mask brings weights back or, for an amount, has lost another number of weights."""
    back = int((mask & ~before).sum())
    if back:
        raise PropertyError(
            f"brings back {_weights(back)} that had been pruned. Masks may only shrink: multiply the new mask by "
            "default_mask.",
            f"the mask {shown(before)} became {shown(mask)}",
        )
    if amount is None:
        return
    left, pruned = int(before.sum()), int(before.sum() - mask.sum())
    wanted = amount if isinstance(amount, int) else amount * left
    if abs(pruned - wanted) > (0 if isinstance(amount, int) else 0.5 + 1e-9):
        raise PropertyError(
            f"prunes {_weights(pruned)} of {left}, where amount={amount} asks for {wanted:g}. Equal weights need an "
            "order, too. If a method does not promise a number of weights, check it with exact=False.",
            f"the mask {shown(before)} became {shown(mask)}",
        )


def _check_product(layer: nn.Module, name: str, when: str) -> None:
    original = layer._parameters[f"{name}_orig"]
    assert original is not None
    product, expected = getattr(layer, name), original.detach() * _mask(layer, name)
    if product.dtype != expected.dtype or not product.detach().equal(expected):
        raise PropertyError(
            f"leaves a {name!r} {when} that is not '{name}_orig' times '{name}_mask'.",
            f"{shown(product)}, not {shown(expected)}",
        )


def _check_copies(prune: Prune, layer: nn.Module, case: LayerCase, random: bool) -> None:
    """Raise a PropertyError unless a deep copy, and a layer that loads the state, have the same pruned tensor."""
    refresh(layer)  # after a forward pass the product is part of a graph, which torch cannot copy
    other = case.layer()
    with torch.no_grad():
        getattr(other, case.name).neg_().add_(1)
    for amount in case.amounts:
        call(partial(prune, other, case.name, amount), may_draw=random)
    copied = call(lambda: copy.deepcopy(layer))
    call(lambda: other.load_state_dict(layer.state_dict()))
    for made, how in ((copied, "A deep copy of the layer"), (other, "A layer that loads the state_dict of the layer")):
        _forward(made)
        if not getattr(made, case.name).equal(getattr(layer, case.name)):
            raise PropertyError(
                f"keeps more than the parameter '{case.name}_orig' and the buffer '{case.name}_mask'. {how} computes "
                "with other weights.",
                f"{shown(getattr(made, case.name))}, not {shown(getattr(layer, case.name))}",
            )


def _check_removal(layer: nn.Module, name: str) -> None:
    expected = getattr(layer, name).detach().clone()
    call(lambda: torch_prune.remove(layer, name))  # type: ignore[no-untyped-call]
    parameter = layer._parameters.get(name)
    if parameter is None or not parameter.detach().equal(expected) or torch_prune.is_pruned(layer):
        raise PropertyError(
            f"cannot be removed: torch.nn.utils.prune.remove must leave the pruned values in the parameter {name!r}.",
            f"{shown(getattr(layer, name))}, not {shown(expected)}",
        )


def _forward(layer: nn.Module) -> None:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    call(lambda: layer(torch.ones(1, *weight.shape[1:], dtype=weight.dtype)))


def _weights(number: int) -> str:
    return "1 weight" if number == 1 else f"{number} weights"
