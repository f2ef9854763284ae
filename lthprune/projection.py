"""The plain form of a pruned model: its parameters stay what they are, and pruned entries are kept at zero.

A parameter keeps its name, its identity and its place in the module. Its mask acts in three places:

- on its gradient, by a tensor hook, so that gradient norms and optimisers see surviving weights only;
- after every step of any ``torch.optim`` optimiser, by one global hook;
- before every forward pass of a module that holds it, however deep, for whatever else writes to parameters.

Wherever the module's code reads the parameter, it reads zeros; no forward pass multiplies by a mask.
"""

import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle, unserializable_hook

from lthprune.errors import PruningError
from lthprune.naming import join, named_modules, unwrapped

_MARK = "_lthprune_kept"  # the attribute of a parameter that leads to its mask
_SHARDED = "masks cannot follow a model that is sharded (FSDP, tensor parallelism). Train with DistributedDataParallel."


class KeptMask:
    """The mask of one parameter: ones and zeros in the parameter's type, edited in place from level to level.

    Attributes:
        values: the mask, of the parameter's shape, type and device: multiplying by booleans takes several times as
            long.
        prunes: whether the mask holds a zero.
        received: whether a gradient has come since ``received`` was last set to False.
        pending: whether a gradient has come since pruned entries were last set to zero.
        called: whether a module that owns the parameter has been called.
        uncalled: whether a gradient has come before any such call: the model reads the parameter by itself.
        overwritten: how many pruned entries held weights when somebody last wrote to the parameter (a checkpoint was
            loaded), if no gradient has come since.
        version: the parameter's version when its pruned entries were last set to zero, or looked at.
    """

    def __init__(self, mask: Tensor, parameter: Tensor) -> None:
        self.values = mask.to(parameter.device, parameter.dtype, copy=True)
        self.prunes = not bool(mask.all())
        self.received = self.pending = self.called = self.uncalled = False
        self.overwritten, self.version = 0, -1
        self._handle: RemovableHandle | None = None

    def write(self, mask: Tensor) -> None:
        """Make this the mask, in place: a captured or compiled step reads the same memory."""
        self.values.copy_(mask)
        self.prunes = not bool(mask.all())

    def attach(self, parameter: Tensor) -> None:
        """Mark a parameter as masked, and mask its gradients."""
        if kept_mask(parameter) is not self:
            setattr(parameter, _MARK, _Mark(self))
        if self._handle is None and parameter.requires_grad:
            hook = partial(self._masked, weakref.ref(parameter))
            self._handle = parameter.register_hook(unserializable_hook(hook))  # type: ignore[no-untyped-call]

    def detach(self, parameter: Tensor) -> None:
        """Undo ``attach``."""
        if kept_mask(parameter) is self:
            delattr(parameter, _MARK)
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def for_tensor(self, tensor: Tensor) -> Tensor:
        """Return the mask in the type and on the device of a tensor."""
        return self.values.to(tensor.device, tensor.dtype)

    def follow(self, parameter: Tensor) -> Tensor:
        """Return the mask, moved to where the parameter is now."""
        if self.values.shape != parameter.shape:
            raise PruningError(
                f"a masked parameter of the shape {tuple(self.values.shape)} has the shape {tuple(parameter.shape)} "
                f"now: {_SHARDED}"
            )
        if self.values.device != parameter.device or self.values.dtype != parameter.dtype:
            self.values = self.for_tensor(parameter)
        return self.values

    def look_at(self, parameter: Tensor) -> None:
        """Note how many pruned entries hold weights that were written there, not by a step of training."""
        self.overwritten = int((parameter.data != 0).logical_and_(self.follow(parameter) == 0).sum())
        self.version = _version(parameter)

    def _masked(self, parameter: "weakref.ref[Tensor]", gradient: Tensor) -> Tensor:
        if self.pending and not torch.compiler.is_compiling():
            self._refuse_regrown(parameter())
        self.received = self.pending = True
        self.uncalled |= not self.called
        self.overwritten = 0
        if not self.prunes:
            return gradient
        mask = self.for_tensor(gradient)
        if gradient.is_sparse:  # of an embedding: rows of it
            rows = gradient._indices()
            values = gradient._values() * mask[tuple(rows)]
            return torch.sparse_coo_tensor(rows, values, gradient.shape, check_invariants=False)  # unsaid, torch warns
        return gradient * mask

    def _refuse_regrown(self, parameter: Tensor | None) -> None:
        """Raise a PruningError if a gradient comes of pruned entries that are not zero.

        Two gradients without a forward pass of the model between them are rare, and usually rightly so.
        """
        if parameter is not None and parameter.shape == self.values.shape and self.prunes:
            number = int((parameter.data != 0).logical_and_(self.for_tensor(parameter) == 0).sum())
            if number:
                raise PruningError(
                    f"{number:,} pruned weights of a parameter of the shape {tuple(parameter.shape)} were not zero in "
                    "a forward pass that no hook of the model noticed, after a step that was not that of an optimizer "
                    "of torch.optim. If the model was compiled and called before the search, call "
                    "torch._dynamo.reset() before it. If the loop reads parameters without calling modules, let a "
                    "torch.optim optimizer make the steps."
                )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None}


class _Mark:
    """What a masked parameter carries: pickled, it is nothing, so that ``torch.load`` reads parameters as ever."""

    def __init__(self, kept: KeptMask) -> None:
        self.kept = kept

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return OrderedDict, ()


@dataclass(frozen=True, eq=False)
class Place:
    """A masked parameter where a module holds it."""

    module: nn.Module
    attribute: str
    parameter: nn.Parameter
    kept: KeptMask


@dataclass(eq=False)
class _Entered:
    """A module in whose forward pass we are.

    Attributes:
        projection: its own.
        frame: the call's stack frame: after a call that Ctrl-C broke off, it is on no stack any more.
        swapped: the tensors that its parameters stand in for until it ends.
        again: how often it has been entered since, by itself.
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
    """The hooks of one module, before and after its forward pass, that keep pruned entries below it at zero.

    Modules inside one that has just been entered have nothing to do. Copies of the module, pickled ones too, bring
    their own projection along.
    """

    def __init__(self, module: nn.Module, places: tuple[Place, ...]) -> None:
        self.places = places
        self._own = [place.kept for place in places if place.module is module]
        self._covered = frozenset(id(place.kept) for place in places)
        self._handles = [
            module.register_forward_pre_hook(self, prepend=True),
            module.register_forward_hook(self.leave, always_call=True),
        ]
        if self._own:
            handle = module.register_load_state_dict_post_hook(self.loaded)  # type: ignore[no-untyped-call]
            self._handles.append(handle)

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Set pruned entries to zero before a forward pass."""
        if torch.compiler.is_compiling():
            self._project_traced()
            return
        for kept in self._own:
            kept.called = True
        stack, frame = _inside.stack, sys._getframe(1)
        if stack:
            _drop_interrupted(stack, frame)
        if stack and self._covered <= stack[-1].projection._covered:
            stack[-1].again += stack[-1].projection is self
            return
        entered = _Entered(self, frame, [])
        stack.append(entered)
        here: dict[int, Place] = {}
        for place in self.places:
            current = place.module._parameters.get(place.attribute)
            if current is place.parameter:
                here[id(place.kept)] = place
            else:
                place.module._parameters[place.attribute] = _stand_in(place, current)  # type: ignore[assignment]
                entered.swapped.append((place.module, place.attribute, current))
        for place in here.values():
            place.kept.attach(place.parameter)
            if not place.kept.pending and place.kept.version != _version(place.parameter):
                place.kept.look_at(place.parameter)
        project((place.parameter, place.kept) for place in here.values())

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Note that the forward pass is over."""
        stack = _inside.stack
        if torch.compiler.is_compiling() or not stack or stack[-1].projection is not self:
            return
        if stack[-1].again:
            stack[-1].again -= 1
            return
        for owner, attribute, tensor in stack.pop().swapped:
            owner._parameters[attribute] = tensor  # type: ignore[assignment]

    def loaded(self, module: nn.Module, incompatible_keys: Any) -> None:
        """Look at what ``load_state_dict`` has written to the parameters of the module itself."""
        for place in self.places:
            if place.module is module and module._parameters.get(place.attribute) is place.parameter:
                place.kept.look_at(place.parameter)

    def holds(self, places: tuple[Place, ...]) -> bool:
        """Say whether these are the places that it is for."""
        own, others = ([(id(p.module), p.attribute, id(p.kept)) for p in each] for each in (self.places, places))
        return own == others

    def remove(self) -> None:
        """Take the hooks off the module."""
        for handle in self._handles:
            handle.remove()

    def _project_traced(self) -> None:
        """Do as ``project`` does, in operations that ``torch.compile`` can trace.

        It may compile any part of the model, so that every module does this; inductor fuses what is done twice.
        """
        with torch.no_grad():
            for place in self.places:
                current = place.module._parameters[place.attribute]
                if current is place.parameter:
                    current.mul_(place.kept.values)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._covered = frozenset(id(place.kept) for place in self.places)
        for place in self.places:
            place.kept.attach(place.parameter)
        _watch_optimizers()


def keep(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Make these the masks of a model in plain form, and set what they prune to zero.

    Masks are named by plain name. A parameter that several modules share has one mask, whichever of its names is
    given. Other masks of the model, in plain form, stay.
    """
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
    """Stop keeping these parameters of a model at zero, by default all of them; their values stay."""
    model = unwrapped(model)
    parameters = dict(_named_parameters(model))
    for name in parameters if names is None else names:
        kept = kept_mask(parameters[name])
        if kept is not None:
            kept.detach(parameters[name])
    _install(model)


def kept_masks(model: nn.Module) -> dict[str, KeptMask]:
    """Return the masks of a model in plain form by all plain names of their parameters."""
    named = ((name, kept_mask(parameter)) for name, parameter in _named_parameters(model))
    return {name: kept for name, kept in named if kept is not None}


def kept_mask(parameter: Tensor) -> KeptMask | None:
    """Return the mask of a parameter in plain form, if it has one."""
    mark = getattr(parameter, _MARK, None)
    return mark.kept if isinstance(mark, _Mark) else None


def project(masked: Iterable[tuple[nn.Parameter, KeptMask]]) -> None:
    """Set the pruned entries of parameters to zero.

    The version counters of the parameters stay as they are: between the forward pass and the backward pass of a loop
    that calls the model twice, autograd would otherwise refuse zeros written over zeros.
    """
    values, masks = [], []
    for parameter, kept in masked:
        if kept.prunes:
            values.append(parameter.data)
            masks.append(kept.follow(parameter))
        kept.pending = False
        if not torch.compiler.is_compiling():
            kept.version = _version(parameter)
    if values:
        with torch.no_grad():
            torch._foreach_mul_(values, masks)


def project_model(model: nn.Module) -> None:
    """Set the pruned entries of all parameters of a model to zero, whatever was written there."""
    masked = [(parameter, kept) for parameter in model.parameters() if (kept := kept_mask(parameter)) is not None]
    project(masked)
    for _, kept in masked:
        kept.overwritten = 0


def is_projection(hook: object) -> bool:
    """Say whether a hook of a module is one that keeps pruned entries at zero."""
    return isinstance(getattr(hook, "__self__", hook), Projection)


def forget_interrupted() -> None:
    """Forget forward passes that were broken off by Ctrl-C; the drivers call this before every training."""
    _inside.stack.clear()


def _drop_interrupted(stack: list[_Entered], frame: FrameType) -> None:
    """Forget forward passes that are not under way any more; whoever swapped parameters there has put them back."""
    while stack:
        caller: FrameType | None = frame
        while caller is not None and caller is not stack[-1].frame:
            caller = caller.f_back
        if caller is not None:
            return
        stack.pop()


def _stand_in(place: Place, current: Tensor | None) -> Tensor:
    """Return what a forward pass reads where something else than the masked parameter is in its place."""
    if current is None:
        raise PruningError(
            f"the masked parameter {place.attribute!r} of a {type(place.module).__name__} is gone: it was deleted, "
            "replaced or pruned by torch.nn.utils.prune while lthprune kept its mask. To prune by torch's functions, "
            f"convert the model first: lthprune.convert(model, 'torch'). If the loop sharded it: {_SHARDED}"
        )
    if hasattr(current, "device_mesh"):
        raise PruningError(
            f"the masked parameter {place.attribute!r} of a {type(place.module).__name__} was replaced by a part of "
            f"it: {_SHARDED}"
        )
    if _is_batched(current):
        raise PruningError(
            f"the parameter {place.attribute!r} of a {type(place.module).__name__} comes from several models "
            "(torch.func.stack_module_state), each of which has a mask of its own, and a call reads one mask. "
            'Use torch\'s form, in which masks are buffers and are stacked, too: form="torch".'
        )
    return current * place.kept.for_tensor(current)


def _version(parameter: Tensor) -> int:
    """Return a number that changes when somebody writes to a parameter, except through ``.data``."""
    return -1 if parameter.is_inference() else parameter._version


def _is_batched(tensor: Tensor) -> bool:
    """Say whether ``torch.vmap`` runs over this tensor."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def _install(model: nn.Module) -> None:
    """Give every module that holds masked parameters, directly or below it, its projection, and no other module."""
    for module in model.modules():
        places = _places(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, Projection):
                if hook.holds(places):  # a compiled model may have it built in
                    break
                hook.remove()
        else:
            if places:
                Projection(module, places)
    _watch_optimizers()


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


_watching: list[RemovableHandle] = []


def _watch_optimizers() -> None:
    """See to it that pruned entries are set to zero after every step of every optimiser."""
    if not _watching:
        _watching.append(register_optimizer_step_post_hook(_after_step))


def _after_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    masked = []
    for group in optimizer.param_groups:  # plain loops: torch.compile fails on generators with conditions
        for parameter in group["params"]:
            kept = kept_mask(parameter)
            if kept is not None:
                masked.append((parameter, kept))
    project(masked)
