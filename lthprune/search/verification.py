"""Checks after every training: masks, parameters, types, zeros and gradients are as a search needs them."""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lthprune.errors import PruningError, UnmovedWarning
from lthprune.pruning import (
    Masks,
    PrunableTensor,
    State,
    chunks,
    join,
    kept_mask,
    live_masks,
    live_state,
    number_left,
    project,
)


class TrainingCheck:
    """Checks one training of one model: created before it, ``finish`` called after it.

    Args:
        model: with its masks, at the start of the training.
        tensors: its prunable tensors.
        masks: the masks of the search, by tensor name.
    """

    def __init__(self, model: nn.Module, tensors: list[PrunableTensor], masks: Masks) -> None:
        self._model, self._tensors, self._masks = model, tensors, masks
        before = live_state(model)
        self._dtypes = {name: tensor.dtype for name, tensor in before.items()}
        self._parameters = _parameter_names(before)
        self._received: set[str] = set()
        self._handles: list[RemovableHandle] = []
        for tensor in tensors:
            kept = kept_mask(tensor.parameter)
            if kept is not None:
                kept.received, kept.watched = False, True
            elif tensor.parameter.requires_grad:
                handle = tensor.parameter.register_hook(_Noting(self._received, tensor.name))  # type: ignore[no-untyped-call]
                self._handles.append(handle)

    def finish(self, start: State, moved: frozenset[str], *, graded: bool = False) -> bool:
        """Verify the training.

        Args:
            start: the weights that it started from, by plain name.
            moved: the names of the tensors that the dense training moved.
            graded: whether the dense training computed gradients of these parameters.

        Returns:
            Whether this training computed gradients of the prunable parameters.

        Raises:
            PruningError: parameters or types were changed, masks are not those of the search, a pruned weight is not
                zero, or a tensor that the dense training moved has not received a gradient where others have.
        """
        self.end()
        self._refuse_other_parameters()
        self._refuse_other_masks()
        self._refuse_regrown()
        self._refuse_spoiled()
        self._name_unmoved(start, moved, graded=graded)
        return bool(self._received)

    def end(self) -> None:
        """Stop watching the training; of one that diverged, nothing is verified."""
        for handle in self._handles:
            handle.remove()
        for tensor in self._tensors:
            kept = kept_mask(tensor.parameter)
            if kept is not None:
                kept.watched = False
                if kept.received:
                    self._received.add(tensor.name)

    def _refuse_other_parameters(self) -> None:
        live = live_state(self._model)
        added = sorted(self._parameters ^ _parameter_names(live))
        if added:
            raise PruningError(
                f"train() added or removed parameters: {', '.join(added[:5])}{', ...' if len(added) > 5 else ''}. A "
                "search rewinds the model to its initial weights, so its architecture must not change. Build the whole "
                "model before the search."
            )
        replaced = [
            tensor.name
            for tensor in self._tensors
            for layer, _, attribute in tensor.places
            if live.get(join(layer, attribute)) is not tensor.parameter
            or tensor.parameter.shape != self._masks[tensor.name].shape
        ]
        if replaced:
            raise PruningError(
                f"train() replaced or removed {', '.join(dict.fromkeys(replaced))}. The parameters of a model in a "
                "search stay the same objects: write new values into them (with torch.no_grad(): "
                "parameter.copy_(...)), wrap the model (DistributedDataParallel) rather than shard it (FSDP), and "
                "replace layers, if at all, before the search."
            )
        converted = {
            name: (before, live[name].dtype)
            for name, before in self._dtypes.items()
            if name in live and live[name].dtype != before
        }
        if converted:
            name, (before, after) = next(iter(converted.items()))
            raise PruningError(
                f"train() converted {len(converted)} tensors ({name!r} and others) from {before} to {after}, so that a "
                "rewind could not restore them bit for bit. Convert the model before the search, as in "
                "imp(model.bfloat16(), ...), or compute in the other type by torch.autocast."
            )

    def _refuse_other_masks(self) -> None:
        live = live_masks(self._model)
        changed = [
            tensor.name
            for tensor in self._tensors
            for layer, _, attribute in tensor.places
            if not _same_mask(live.get(join(layer, attribute)), self._masks[tensor.name])
        ]
        if changed:
            raise PruningError(
                f"train() changed the masks of {', '.join(dict.fromkeys(changed))}. It may not load weights with other "
                "masks (those of an earlier level), remove the pruning (strip, prune.remove) or prune."
            )

    def _refuse_regrown(self) -> None:
        regrown = []
        for tensor in self._tensors:
            kept, parameter = kept_mask(tensor.parameter), tensor.parameter
            if kept is not None and kept.prunes:
                overwritten = kept.overwritten and kept.version == parameter._version
                if kept.pending:  # the last step of an optimiser that calls no hooks
                    project([(parameter, kept)])
                if overwritten or kept.regrown(parameter):
                    regrown.append(tensor.name)
        if regrown:
            raise PruningError(
                f"after train(), pruned weights are not zero in {', '.join(map(repr, regrown))}. They were written "
                "after the last backward pass, not by an optimiser step: from a checkpoint of an earlier level (a best "
                "model kept over levels), or from another model or copy that was trained without masks. Keep such "
                "state within one call of train(), and train the model that train() receives. To set these weights to "
                "zero instead, end train() with lthprune.pruning.refresh(model)."
            )

    def _refuse_spoiled(self) -> None:
        spoiled = [
            tensor.name
            for tensor in self._tensors
            if (kept := kept_mask(tensor.parameter)) is not None and kept.prunes and kept.spoiled(tensor.parameter)
        ]
        if spoiled:
            raise PruningError(
                f"after train(), the pruned weights of {', '.join(map(repr, spoiled))} are NaN or infinite, and all "
                "others are finite: the gradient of the loss does not exist where a weight is zero, as with "
                "weight.abs().sqrt() or a norm of single weights. Add a small constant, (weight.abs() + 1e-8).sqrt()."
            )

    def _name_unmoved(self, start: State, moved: frozenset[str], *, graded: bool) -> None:
        unmoved = [
            tensor.name
            for tensor in self._tensors
            if tensor.name in moved
            and tensor.parameter.requires_grad
            and number_left(self._masks[tensor.name]) > 0
            and _equal(tensor.parameter, start[tensor.name], self._masks[tensor.name])
        ]
        cut_off = [name for name in unmoved if name not in self._received]
        if cut_off and (self._received or graded):
            raise PruningError(
                f"{', '.join(cut_off)}: moved in the dense training, but received no gradient and did not change in "
                "this one. Something in train() works with other tensors than the model's parameters: a copy of the "
                "model or of its weights, made at an earlier level, or weights read outside of the graph. In torch's "
                'form (form="torch"), layer.weight itself is such a copy.'
            )
        if unmoved:
            named = ", ".join(unmoved[:5]) + (f" and {len(unmoved) - 5} others" if len(unmoved) > 5 else "")
            warnings.warn(
                f"{named}: moved in the dense training, and now no weight has changed. Either the remaining weights "
                "are cut off from the outputs, so that their gradients are zero, or the optimizer does not hold them.",
                UnmovedWarning,
                stacklevel=2,
            )


class _Noting:
    """A tensor hook that records that a gradient was computed."""

    __torch_unserializable__ = True  # sharing a model with other processes drops the hook without a warning

    def __init__(self, received: set[str], name: str) -> None:
        self._received, self._name = received, name

    def __call__(self, gradient: Tensor) -> None:
        self._received.add(self._name)


def moved_between(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> frozenset[str]:
    """Return the names of the tensors that differ in some bit."""
    return frozenset(name for name, tensor in after.items() if name in before and not _same(before[name], tensor))


def _parameter_names(state: State) -> set[str]:
    return {name for name, tensor in state.items() if isinstance(tensor, nn.Parameter)}


def _same_mask(live: Tensor | None, mask: Tensor) -> bool:
    if live is None:
        return number_left(mask) == mask.numel()
    same = live.shape == mask.shape
    return same and not any(number_left(some.bool() ^ held) for some, held in chunks(live, mask.to(live.device)))


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.to(other.device), other)


def _equal(parameter: Tensor, start: Tensor, mask: Tensor) -> bool:
    """Return whether no remaining weight has changed; most trainings change one among the first."""
    device = parameter.device
    compared = chunks(parameter.detach(), start.to(device), mask.to(device))
    return not any(number_left((now != before).logical_and_(held)) for now, before, held in compared)
