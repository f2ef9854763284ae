"""What a module in torch's pruned form holds, and what is refused there because torch's form cannot do it.

``torch.nn.utils.prune`` keeps a pruned tensor as the parameter ``weight_orig`` and the buffer ``weight_mask``; a hook
on the module computes ``weight``, their product, before each of its forward passes. Where nothing calls the module,
an optimiser holds ``weight`` or somebody writes to it, ``weight_orig`` never learns of it, and torch does not say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.errors import PruningError
from lthprune.pruning.naming import join, named_modules
from lthprune.pruning.steps import after_every_step

_CLOSELY = 4  # products that are compared: a loop that writes to weights does so from its first steps on
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
    """Return what a parameter is called without pruning, given the names of ``masked_by_torch``.

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
    """What a product was when it was computed.

    Attributes:
        tensor: its identity: a copy of it has the same stamp.
        version: its version, which changes when somebody writes to it, except through ``.data``.
        copy: its values, while ``closely`` is above 0.
        closely: how many more products, this one included, are compared with their values.
    """

    tensor: int
    version: int
    copy: Tensor | None
    closely: int


def stamped(pruned: Tensor, *, before: object) -> Tensor:
    """Return a product with a stamp; ``before`` is the product that it replaces."""
    last = getattr(before, _STAMP, None)
    return _stamp(pruned, max(0, last.closely - 1) if isinstance(last, _Stamp) else 0)


def _stamp(pruned: Tensor, closely: int) -> Tensor:
    if not torch.compiler.is_compiling() and not pruned.is_inference():
        transformed = torch._C._functorch.is_functorch_wrapped_tensor(pruned)  # it has no values of its own
        copied = pruned.detach().clone() if closely and not transformed else None
        setattr(pruned, _STAMP, _Stamp(id(pruned), pruned._version, copied, closely))
    return pruned


def check_unwritten(module: nn.Module, name: str) -> None:
    """Raise a PruningError if a module's product has been written to since it was computed.

    Writes through ``weight.data`` leave no trace, so the first products after a mask or a state was written are
    compared with their values.
    """
    pruned = module.__dict__.get(name)
    if not isinstance(pruned, Tensor) or pruned.is_inference():
        return
    stamp = getattr(pruned, _STAMP, None)
    if not isinstance(stamp, _Stamp) or stamp.tensor != id(pruned):
        return
    if stamp.version != pruned._version or not _equal(pruned, stamp.copy):
        raise PruningError(
            f"{name!r} of a {type(module).__name__} in torch's pruned form was written to, which is lost: it is "
            f"computed anew from '{name}_orig' before every forward pass. Write to '{name}_orig'. {_PLAIN}"
        )


def _equal(pruned: Tensor, copied: Tensor | None) -> bool:
    if copied is None:
        return True
    now = pruned.detach()
    if now.shape != copied.shape or now.device != copied.device or now.dtype != copied.dtype:
        return True  # moved with its module
    return bool(((now == copied) | (now.isnan() & copied.isnan())).all())


def _product(name: str, original: Tensor, mask: Tensor) -> Tensor:
    """Return the pruned tensor that a module holds between two forward passes: a leaf, which can be copied."""
    pruned = original.detach() * mask
    if original.requires_grad:
        pruned.requires_grad_()
        pruned.register_hook(_Refusal(name))  # type: ignore[no-untyped-call]
    setattr(pruned, _NAME, name)
    after_every_step(_refuse_products)
    return _stamp(pruned, _CLOSELY)


class _Refusal:
    """A hook on the gradient of a product: nothing would train by it."""

    __torch_unserializable__ = True  # pickling a model needs no word about it

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, gradient: Tensor) -> None:
        raise PruningError(
            f"a gradient reached {self._name!r} of a model in torch's pruned form, and would train nothing: something "
            f"read {self._name!r} without calling its module, and only '{self._name}_orig' is a parameter. {_PLAIN}"
        )


def _refuse_products(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = getattr(parameter, _NAME, None)
            if name is not None:
                raise PruningError(
                    f"the optimizer holds {name!r} of a model in torch's pruned form, which is computed anew before "
                    f"every forward pass; the parameter is '{name}_orig'. Hand it model.parameters(). {_PLAIN}"
                )
