"""torch's form of a pruned module: its tensors, and errors for uses that would silently have no effect.

``torch.nn.utils.prune`` stores a pruned tensor as the parameter ``weight_orig`` and the buffer ``weight_mask``; a hook
on the module computes ``weight``, their product, before each of its forward passes. If nothing calls the module, if an
optimiser holds ``weight`` or if code writes to ``weight``, then ``weight_orig`` is not updated, and torch reports no
error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.errors import PruningError
from lthprune.pruning.naming import join, named_modules
from lthprune.pruning.steps import after_every_step

_CLOSELY = 4  # how many products are compared: a loop that writes to weights does so from its first steps
_NAME, _STAMP = "_lthprune_product_of", "_lthprune_stamp"  # attributes of a product
_PLAIN = 'Train in the plain form: imp(..., form="plain"), or lthprune.convert(model, "plain") before the loop.'


def masked_by_torch(module: nn.Module) -> list[str]:
    """Return the names of a module's own tensors that are pruned in torch's form.

    Examples:
        >>> masked_by_torch(torch.nn.utils.prune.identity(nn.Linear(2, 2), "weight"))
        ['weight']
    """
    return [
        name.removesuffix("_orig")
        for name in module._parameters
        if name.endswith("_orig")
        and f"{name.removesuffix('_orig')}_mask" in module._buffers
        and any(getattr(h, "_tensor_name", "") == name[:-5] for h in module._forward_pre_hooks.values())
    ]


def plain_name(name: str, masked: Sequence[str]) -> str:
    """Return the name of a parameter without torch's suffix for pruned ones, given ``masked_by_torch``.

    Examples:
        >>> plain_name("weight_orig", ["weight"]), plain_name("scale_orig", ["weight"])
        ('weight', 'scale_orig')
    """
    plain = name.removesuffix("_orig")
    return plain if plain in masked else name


def recompute(model: nn.Module) -> None:
    """Recompute every ``weight`` that is pruned in torch's form from ``weight_orig`` and ``weight_mask``."""
    for prefix, module in named_modules(model):
        for name in masked_by_torch(module):
            original, mask = module._parameters[f"{name}_orig"], module._buffers[f"{name}_mask"]
            assert original is not None
            assert mask is not None
            setattr(module, name, _product(join(prefix, name), original, mask))


@dataclass(frozen=True, eq=False)
class _Stamp:
    """The state of a product when it was computed, by which later writes are detected.

    Attributes:
        tensor: its ``id``, since copies of the product share the stamp.
        version: its version, which changes with every write except those through ``.data``.
        copy: a copy of its values while ``closely`` is above 0, else None.
        closely: how many more products, including this one, are compared with their copies.
    """

    tensor: int
    version: int
    copy: Tensor | None
    closely: int


def stamped(pruned: Tensor, *, before: object) -> Tensor:
    """Stamp a product and return it; ``before`` is the product that it replaces."""
    last = getattr(before, _STAMP, None)
    return _stamp(pruned, max(0, last.closely - 1) if isinstance(last, _Stamp) else 0)


def _stamp(pruned: Tensor, closely: int) -> Tensor:
    if not torch.compiler.is_compiling() and not pruned.is_inference():
        transformed = torch._C._functorch.is_functorch_wrapped_tensor(pruned)  # has no values to copy
        copied = pruned.detach().clone() if closely and not transformed else None
        setattr(pruned, _STAMP, _Stamp(id(pruned), pruned._version, copied, closely))
    return pruned


def check_unwritten(module: nn.Module, name: str) -> None:
    """Raise a PruningError if a module's product was written to after it was computed.

    Writes through ``weight.data`` do not change the version, so the first products after a mask or a state was written
    are compared with copies.
    """
    pruned = module.__dict__.get(name)
    if not isinstance(pruned, Tensor) or pruned.is_inference():
        return
    stamp = getattr(pruned, _STAMP, None)
    if not isinstance(stamp, _Stamp) or stamp.tensor != id(pruned):
        return
    if stamp.version != pruned._version or not _equal(pruned, stamp.copy):
        raise PruningError(
            f"{name!r} of a {type(module).__name__} in torch's pruned form was written to, which has no effect: it is "
            f"recomputed from '{name}_orig' before every forward pass. Write to '{name}_orig'. {_PLAIN}"
        )


def _equal(pruned: Tensor, copied: Tensor | None) -> bool:
    if copied is None:
        return True
    now = pruned.detach()
    if now.shape != copied.shape or now.device != copied.device or now.dtype != copied.dtype:
        return True  # the module was moved
    return bool(((now == copied) | (now.isnan() & copied.isnan())).all())


def _product(name: str, original: Tensor, mask: Tensor) -> Tensor:
    """Return the pruned tensor that a module holds between forward passes: a leaf, so that it can be copied."""
    pruned = (original.detach() * mask).to(original.dtype)  # masks of other methods may have another type
    if original.requires_grad:
        pruned.requires_grad_()
        pruned.register_hook(_Refusal(name))  # type: ignore[no-untyped-call]
    setattr(pruned, _NAME, name)
    after_every_step(_refuse_products)
    return _stamp(pruned, _CLOSELY)


class _Refusal:
    """A gradient hook on a product that raises an error, because its gradient trains no parameter."""

    __torch_unserializable__ = True  # pickling a model then raises no warning about it

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, gradient: Tensor) -> None:
        raise PruningError(
            f"a gradient reached {self._name!r} of a model in torch's pruned form and would be lost: some code read "
            f"{self._name!r} without calling its module, and only '{self._name}_orig' is a parameter. {_PLAIN}"
        )


def _refuse_products(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = getattr(parameter, _NAME, None)
            if name is not None:
                raise PruningError(
                    f"the optimizer holds {name!r} of a model in torch's pruned form, which is recomputed before "
                    f"every forward pass; the parameter is '{name}_orig'. Create it with model.parameters(). {_PLAIN}"
                )
