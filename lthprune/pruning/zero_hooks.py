"""Projections: the hooks of the plain form, which keep pruned entries of ordinary parameters at zero.

A parameter keeps its name, its identity and its place in the module. Its mask is applied

- to its gradient, by a tensor hook, so that gradient norms and optimisers use unpruned weights only;
- after every step of any ``torch.optim`` optimiser, by one global hook;
- before every forward pass of a module that contains it, at any depth, in case other code has written to it.

The module's code therefore always reads zeros; no forward pass multiplies by a mask.
"""

import sys
import threading
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.errors import PruningError
from lthprune.pruning.keeping import SHARDED, KeptMask, project, version_of, watch_optimizers

_STAND_IN = "_lthprune_stand_in"  # marks a masked tensor that replaces another one during a forward pass


@dataclass(frozen=True, eq=False)
class Place:
    """A masked parameter, and the module and attribute that hold it."""

    module: nn.Module
    attribute: str
    parameter: nn.Parameter
    kept: KeptMask


@dataclass(eq=False)
class _Entered:
    """A module whose forward pass is running.

    Attributes:
        projection: the module's projection.
        frame: the stack frame of the call; after Ctrl-C interrupts the call, the frame is no longer on the stack.
        swapped: (module, attribute, tensor) of the tensors that are replaced by masked ones until the pass ends.
        again: the number of recursive calls in progress.
    """

    projection: "Projection"
    frame: FrameType
    swapped: list[tuple[nn.Module, str, Tensor | None]]
    again: int = 0


class _Inside(threading.local):
    def __init__(self) -> None:
        self.stack: list[_Entered] = []


_inside = _Inside()


class Projection:
    """The hooks of one module that set pruned entries inside it to zero before its forward pass.

    While a module's forward pass runs, the projections of its submodules do nothing. Copies of the module, including
    pickled ones, have projections of their own.
    """

    _depth = 2  # how far above `_drop_interrupted` on the stack the outer module's call was, the last time

    def __init__(self, module: nn.Module, places: tuple[Place, ...]) -> None:
        self.places = places
        self._own = [place for place in places if place.module is module]
        self._covered = frozenset(id(place.kept) for place in places)
        self._traced: list[tuple[nn.Module, str, Tensor]] = []  # replaced while torch.compile traces a call
        self._handles = [
            module.register_forward_pre_hook(self, prepend=True),
            module.register_forward_hook(self.leave, always_call=True),
        ]
        if self._own:
            handle = module.register_load_state_dict_post_hook(self.loaded)  # type: ignore[no-untyped-call]
            self._handles.append(handle)

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Set pruned entries to zero before a forward pass."""
        for place in self._own:
            place.kept.called = True
        if torch.compiler.is_compiling():
            self._project_traced()
            return
        if torch._C._get_tracing_state() is not None:  # torch.jit.trace
            return
        stack = _inside.stack
        if stack:
            self._drop_interrupted(stack)
        if stack and self._covered <= stack[-1].projection._covered and not self._changed():
            stack[-1].again += stack[-1].projection is self
            return
        entered = _Entered(self, sys._getframe(1), [])
        stack.append(entered)
        here: dict[int, Place] = {}
        for place in self.places:
            if place.kept.released:
                continue
            current = place.module._parameters.get(place.attribute)
            if current is place.parameter:
                here[id(place.kept)] = place
            else:
                place.module._parameters[place.attribute] = _stand_in(place, current)  # type: ignore[assignment]
                entered.swapped.append((place.module, place.attribute, current))
        for place in here.values():
            kept = place.kept
            kept.attach(place.parameter)
            if not kept.pending and (
                (kept.watched and not torch.is_grad_enabled()) or kept.version != version_of(place.parameter)
            ):
                kept.look_at(place.parameter)
        project([(place.parameter, place.kept) for place in here.values()])

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Put back the tensors that were replaced for the forward pass."""
        if torch.compiler.is_compiling():
            for owner, attribute, original in self._traced:
                owner._parameters[attribute] = original  # type: ignore[assignment]
            self._traced = []
            return
        stack = _inside.stack
        if not stack or stack[-1].projection is not self:
            return
        if stack[-1].again:
            stack[-1].again -= 1
            return
        for owner, attribute, tensor in stack.pop().swapped:
            owner._parameters[attribute] = tensor  # type: ignore[assignment]

    def loaded(self, module: nn.Module, incompatible_keys: Any) -> None:
        """Check what ``load_state_dict`` has written to the module's own parameters."""
        for place in self._own:
            if place.kept.released:
                continue
            if module._parameters.get(place.attribute) is not place.parameter:
                raise PruningError(
                    f"load_state_dict(assign=True) replaced the masked parameter {place.attribute!r} of a "
                    f"{type(module).__name__}, and its mask with it. Load without assign, or strip the model first: "
                    "lthprune.strip(model)."
                )
            place.kept.look_at(place.parameter)

    def _changed(self) -> bool:
        """Return whether one of the module's own parameters was written to or replaced since the last projection."""
        for place in self._own:
            kept = place.kept
            if not kept.released:
                current = place.module._parameters.get(place.attribute)
                if current is place.parameter:
                    if kept.version != version_of(current):
                        return True
                elif not hasattr(current, _STAND_IN):
                    return True
        return False

    def _drop_interrupted(self, stack: list[_Entered]) -> None:
        """Discard records of interrupted forward passes; their callers have already put replaced parameters back."""
        try:
            if sys._getframe(self._depth) is stack[-1].frame:  # usually; walking up the stack takes much longer
                return
        except ValueError:  # the stack is shorter this time
            pass
        while stack:
            depth = 2
            caller: FrameType | None = sys._getframe(depth)
            while caller is not None and caller is not stack[-1].frame:
                depth, caller = depth + 1, caller.f_back
            if caller is not None:
                self._depth = depth
                return
            stack.pop()

    def holds(self, places: tuple[Place, ...]) -> bool:
        """Return whether this projection is for these places."""
        own, others = ([(id(p.module), p.attribute, id(p.kept)) for p in each] for each in (self.places, places))
        return own == others

    def remove(self) -> None:
        """Remove the hooks from the module."""
        for handle in self._handles:
            handle.remove()

    def _project_traced(self) -> None:
        """Set pruned entries to zero by operations that ``torch.compile`` can trace.

        Every module does this, since ``torch.compile`` may compile any part of the model; inductor fuses repeated
        operations.
        """
        for place in self.places:
            if place.kept.released:
                continue
            current = place.module._parameters[place.attribute]
            if current is place.parameter:
                with torch.no_grad():
                    current.mul_(place.kept.values)
            elif current is not None:  # passed by torch.func.functional_call
                place.module._parameters[place.attribute] = current * place.kept.values  # type: ignore[assignment]
                self._traced.append((place.module, place.attribute, current))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._covered = frozenset(id(place.kept) for place in self.places)
        for place in self.places:
            if not place.kept.released:
                place.kept.attach(place.parameter)
        watch_optimizers()


def is_projection(hook: object) -> bool:
    """Return whether a module's hook belongs to a projection."""
    return isinstance(getattr(hook, "__self__", hook), Projection)


def forget_interrupted() -> None:
    """Discard records of forward passes that Ctrl-C interrupted; the drivers call this before every training."""
    _inside.stack.clear()


def _stand_in(place: Place, current: Tensor | None) -> Tensor:
    """Return the masked tensor that a forward pass reads if another tensor has replaced the masked parameter."""
    if current is None:
        raise PruningError(
            f"the masked parameter {place.attribute!r} of a {type(place.module).__name__} is gone: it was deleted, "
            "replaced or pruned by torch.nn.utils.prune while lthprune kept its mask. To use torch's pruning "
            f"functions, convert the model first: lthprune.convert(model, 'torch'). If the loop sharded it: {SHARDED}"
        )
    if hasattr(current, "device_mesh"):
        raise PruningError(
            f"the masked parameter {place.attribute!r} of a {type(place.module).__name__} was replaced by a shard: "
            f"{SHARDED}"
        )
    if _is_batched(current):
        raise PruningError(
            f"the parameter {place.attribute!r} of a {type(place.module).__name__} comes from several models "
            "(torch.func.stack_module_state) with different masks, but the plain form applies only one. Use "
            'form="torch", in which masks are buffers and are stacked, too.'
        )
    masked = current * place.kept.for_tensor(current)
    setattr(masked, _STAND_IN, True)
    return masked


def _is_batched(tensor: Tensor) -> bool:
    """Return whether ``torch.vmap`` maps over this tensor."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False
