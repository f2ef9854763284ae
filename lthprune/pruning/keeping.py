"""The mask of one parameter in the plain form: its state, its gradient hook, and setting pruned entries to zero."""

import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle, unserializable_hook

from lthprune.errors import PruningError
from lthprune.pruning.masks import number_left
from lthprune.pruning.steps import after_every_step

SHARDED = "masks cannot follow a model that is sharded (FSDP, tensor parallelism). Train with DistributedDataParallel."
_CHUNK = 1 << 18  # entries at a time: what is computed of them stays in the cache
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # the whole numbers of as many bytes
_MARK = "_lthprune_kept"  # the attribute by which a parameter refers to its mask


class KeptMask:
    """The mask of one parameter: ones and zeros in the parameter's type, edited in place from level to level.

    Attributes:
        values: the mask, of the parameter's shape, type and device; multiplying by a boolean mask is several times
            slower.
        prunes: whether the mask contains a zero.
        received: whether a gradient was computed since ``received`` was last set to False.
        pending: whether a gradient was computed since pruned entries were last set to zero.
        called: whether a module that owns the parameter was called.
        uncalled: whether a gradient was computed before any such call: the model's code reads the parameter without
            calling its module.
        overwritten: whether pruned entries were not zero after the last write to the parameter (a loaded checkpoint),
            and no gradient was computed since.
        version: the parameter's version when its pruned entries were last set to zero or checked.
        watched: whether a training is running that will be verified. If so, passes without gradients, whose speed
            matters less, also check for writes through ``.data``.
        released: whether the mask no longer applies to the parameter.
    """

    def __init__(self, mask: Tensor, parameter: Tensor) -> None:
        self.values = mask.to(parameter.device, parameter.dtype, copy=True)
        self.prunes = number_left(mask) < mask.numel()
        self.received = self.pending = self.called = self.uncalled = False
        self.overwritten = self.watched = self.released = False
        self.version = -1
        self._handle: RemovableHandle | None = None

    def write(self, mask: Tensor) -> None:
        """Write a new mask in place, since captured or compiled steps read the same memory."""
        self.values.copy_(mask)
        self.prunes = number_left(mask) < mask.numel()

    def attach(self, parameter: Tensor) -> None:
        """Mark a parameter as masked, and mask its gradients."""
        if kept_mask(parameter) is not self:
            setattr(parameter, _MARK, _Mark(self))
        if self._handle is None and parameter.requires_grad:
            hook = partial(self._masked, weakref.ref(parameter))
            self._handle = parameter.register_hook(unserializable_hook(hook))  # type: ignore[no-untyped-call]

    def detach(self, parameter: Tensor) -> None:
        """Undo ``attach``; projections of other modules that still hold this mask ignore it from now on."""
        self.released = True
        if kept_mask(parameter) is self:
            delattr(parameter, _MARK)
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def for_tensor(self, tensor: Tensor) -> Tensor:
        """Return the mask in the type and on the device of a tensor."""
        return self.values.to(tensor.device, tensor.dtype)

    def follow(self, parameter: Tensor) -> Tensor:
        """Return the mask, moved to the parameter's current device and type."""
        if self.values.shape != parameter.shape:
            raise PruningError(
                f"a masked parameter of shape {tuple(self.values.shape)} now has the shape {tuple(parameter.shape)}: "
                f"{SHARDED}"
            )
        if self.values.device != parameter.device or self.values.dtype != parameter.dtype:
            self.values = self.for_tensor(parameter)
        return self.values

    def regrown(self, parameter: Tensor) -> bool:
        """Return whether a pruned entry has become a finite value other than zero (a diverged training makes NaN)."""
        values, mask = parameter.data, self.follow(parameter)
        if all(torch.equal(some, some * kept) for some, kept in chunks(values, mask)):
            return False
        return bool(values.isfinite().logical_and_(values != 0).logical_and_(mask == 0).any())

    def spoiled(self, parameter: Tensor) -> bool:
        """Return whether some pruned entries are NaN or infinite while all unpruned entries are finite."""
        if all_finite(parameter.data):
            return False
        invalid = parameter.data.isfinite().logical_not_()
        return bool((self.follow(parameter)[invalid] == 0).all())

    def look_at(self, parameter: Tensor) -> None:
        """Record whether something other than a training step has written to pruned entries."""
        before = self.overwritten and self.version == version_of(parameter)
        self.overwritten = before or self.regrown(parameter)
        self.version = version_of(parameter)

    def note_zeros(self, parameter: Tensor) -> None:
        """Record that pruned entries are zero."""
        self.pending = False
        if not torch.compiler.is_compiling():
            self.version = version_of(parameter)

    def _masked(self, parameter: "weakref.ref[Tensor]", gradient: Tensor) -> Tensor | None:
        if self.pending and not torch.compiler.is_compiling():
            self._refuse_regrown(parameter())
        self.received = self.pending = True
        self.uncalled |= not self.called
        self.overwritten = False
        if not self.prunes:
            return None
        mask = self.for_tensor(gradient)
        if gradient.is_sparse:  # some rows of an embedding's gradient
            rows = gradient._indices()
            values = gradient._values() * mask[tuple(rows)]
            return torch.sparse_coo_tensor(rows, values, gradient.shape, check_invariants=False)  # silences a warning
        return gradient * mask

    def _refuse_regrown(self, parameter: Tensor | None) -> None:
        """Raise a PruningError if a gradient was computed while pruned entries were not zero.

        Called only for a second gradient without a forward pass of the model in between, which is rare and usually
        legitimate.
        """
        if parameter is not None and parameter.shape == self.values.shape and self.prunes and self.regrown(parameter):
            raise PruningError(
                f"pruned weights of a parameter of shape {tuple(parameter.shape)} were not zero in a forward pass that "
                "ran no hooks of the model, after a step that no torch.optim optimizer made. If the model was compiled "
                "and called before the search, call torch._dynamo.reset() first. If the loop reads parameters without "
                "calling modules, use a torch.optim optimizer for the steps."
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None}


class _Mark:
    """A parameter's reference to its mask. It is not pickled, so that ``torch.load`` can read the parameter."""

    def __init__(self, kept: KeptMask) -> None:
        self.kept = kept

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return OrderedDict, ()


def set_zeros(values: Tensor, mask: Tensor) -> None:
    """Set the entries of a tensor to zero, never minus zero, that a mask of ones and zeros prunes; the others keep
    their bits. ``values.masked_fill_(mask == 0, 0)`` is the readable twin; it is several times slower on the CPU.
    """
    whole = _WHOLE.get(values.itemsize)
    if values.is_cpu and values.is_floating_point() and whole and values.is_contiguous():
        for some, kept in chunks(values, mask):
            some.view(whole).mul_(kept.bool())  # a product of whole numbers has no minus zero, and keeps all bits
    else:
        values.masked_fill_(mask == 0, 0)


def chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same entries of tensors of one shape, row-major, so many at a time that the cache holds them."""
    return zip(*(torch.split(tensor.reshape(-1), _CHUNK) for tensor in tensors), strict=True)


def all_finite(tensor: Tensor) -> bool:
    """Return whether no entry is NaN or infinite: neither the smallest nor the largest; takes no memory."""
    if not tensor.numel() or not tensor.is_floating_point():
        return not tensor.is_complex() or bool(tensor.isfinite().all())
    smallest, largest = torch.aminmax(tensor.detach())
    return bool(smallest.isfinite() & largest.isfinite())


def kept_mask(parameter: Tensor) -> KeptMask | None:
    """Return the mask of a parameter in the plain form, or None."""
    mark = getattr(parameter, _MARK, None)
    return mark.kept if isinstance(mark, _Mark) else None


def project(masked: Iterable[tuple[Tensor, KeptMask]]) -> None:
    """Set the pruned entries of parameters to zero.

    The version counters of the parameters do not change. Otherwise autograd would raise an error for a loop that calls
    the model twice before the backward pass, although zeros only overwrite zeros.
    """
    values, masks = [], []
    for parameter, kept in masked:
        if kept.prunes:
            values.append(parameter.data)
            masks.append(kept.follow(parameter))
        kept.note_zeros(parameter)
    if values:
        torch._foreach_mul_(values, masks)  # autograd records nothing: neither requires gradients


def watch_optimizers() -> None:
    """Have pruned entries set to zero after every step of every optimiser."""
    after_every_step(_after_step)


def _after_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    masked = []
    for group in optimizer.param_groups:  # plain loops: torch.compile fails on generators with conditions
        for parameter in group["params"]:
            kept = kept_mask(parameter)
            if kept is not None:
                masked.append((parameter, kept))
    project(masked)


def version_of(parameter: Tensor) -> int:
    """Return a number that changes with every write to a parameter, except through ``.data``."""
    return -1 if parameter.is_inference() else parameter._version
