"""Pruning methods for ``torch.nn.utils.prune``: ``BasePruningMethod`` subclasses that edit masks in place.

``torch.nn.utils.prune`` adds another method and mask to a tensor at every round. Here a tensor gets one method;
further rounds edit its ``weight_mask`` buffer. ``prune.is_pruned``, ``prune.remove`` and torch's own methods work
before, between and after these. (``prune.global_unstructured`` always adds a method of torch's own, whichever method it
is given; ``lthprune.prune`` does not.)
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from lthprune.errors import PruningError
from lthprune.pruning.keeping import kept_mask
from lthprune.pruning.kinds import Kind
from lthprune.pruning.masks import number_left
from lthprune.pruning.ranking import keep_highest
from lthprune.pruning.schedules import Pool, left_after, rate_of
from lthprune.pruning.scores import Candidate, magnitude, random, scale_bias_scores
from lthprune.pruning.torch_form import check_unwritten, recompute, stamped


class PruningMethod(torch_prune.BasePruningMethod):
    """Prune exactly ``amount`` of the remaining weights of a tensor, those with the lowest scores.

    ``amount`` is how many weights to prune: an int, or a fraction of the remaining weights, which is rounded to the
    nearest whole number (a half up). To turn a criterion into a torch pruning method, subclass it and set ``score``:

    Examples:
        >>> class LargestFirst(PruningMethod):
        ...     score = staticmethod(lambda candidate: -candidate.final.abs())
        >>> linear = nn.Linear(10, 10)
        >>> for _ in range(3):
        ...     _ = LargestFirst.apply(linear, "weight", amount=0.5)
        >>> int(linear.weight_mask.sum()), len(linear._forward_pre_hooks)
        (12, 1)
    """

    PRUNING_TYPE = "unstructured"

    @staticmethod
    def score(candidate: Candidate) -> Tensor:
        """Return the scores of the weights; the lowest are pruned."""
        return magnitude(candidate)

    def __init__(self, amount: float | int) -> None:
        left_after(
            amount, amount if isinstance(amount, int) else 1
        )  # raises for a negative number or a fraction above 1
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Return the new mask of a tensor, or of the vector of its unpruned entries; torch passes either."""
        mask = default_mask.bool()
        scores = type(self).score(Candidate("tensor", t.detach()))
        left = left_after(self.amount, number_left(mask))
        return keep_highest({"tensor": scores}, {"tensor": mask}, left)["tensor"]

    def apply_mask(self, module: nn.Module) -> Tensor:
        """Return the dense tensor times its mask, without first copying the mask as torch does.

        Multiplying by booleans takes several times as long, and so does converting them, unless as bytes.
        """
        name = self._tensor_name
        original, mask = getattr(module, f"{name}_orig"), getattr(module, f"{name}_mask")
        if mask.dtype == torch.bool:
            mask = mask.view(torch.uint8).to(original.dtype)
        pruned: Tensor = original * mask
        return stamped(pruned, before=module.__dict__.get(name))

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        """Compute the pruned tensor before a forward pass; raise a PruningError if the last one was written to."""
        if not torch.compiler.is_compiling():
            check_unwritten(module, self._tensor_name)
        super().__call__(module, inputs)  # type: ignore[no-untyped-call]

    @classmethod
    def apply(
        cls, module: nn.Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> torch_prune.BasePruningMethod:
        """Prune ``module.name``. If it is pruned already, its method stays and its mask is edited.

        Raises:
            PruningError: ``importance_scores`` has another shape than the tensor, the tensor is pruned in the plain
                form, or the method refuses its arguments.
        """
        if importance_scores is not None and importance_scores.shape != getattr(module, name).shape:
            raise PruningError(
                f"the importance scores have the shape {tuple(importance_scores.shape)}, the tensor {name!r} "
                f"{tuple(getattr(module, name).shape)}. Pass one score for every weight."
            )
        if kept_mask(getattr(module, name)) is not None:
            raise PruningError(
                f"{name!r} of this {type(module).__name__} is pruned in the plain form, which torch's methods do not "
                'support. Convert the model first: lthprune.convert(model, "torch").'
            )
        existing = _method_on(module, name)
        if existing is None:
            with _place_held(module, name, f"{name}_orig"):
                existing = super().apply(module, name, *args, importance_scores=importance_scores, **kwargs)  # type: ignore[no-untyped-call]
        else:
            scored = getattr(module, f"{name}_orig") if importance_scores is None else importance_scores
            mask = getattr(module, f"{name}_mask")
            mask.copy_(cls(*args, **kwargs).compute_mask(scored, mask))
        if cls is not _Masked:
            recompute(module)
        return existing


class LayerwiseMagnitude(PruningMethod):
    """Magnitude pruning of one tensor on its own.

    Examples:
        >>> linear = nn.Linear(10, 10)
        >>> _ = LayerwiseMagnitude.apply(linear, "weight", amount=0.2)
        >>> int(linear.weight_mask.sum()), torch_prune.is_pruned(linear)
        (80, True)
    """


class GlobalMagnitude(PruningMethod):
    """Magnitude pruning over many tensors, for use with ``torch.nn.utils.prune.global_unstructured``.

    Examples:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        >>> tensors = [(net[0], "weight"), (net[1], "weight")]
        >>> torch_prune.global_unstructured(tensors, pruning_method=GlobalMagnitude, amount=0.25)
        >>> int(net[0].weight_mask.sum() + net[1].weight_mask.sum())
        24
    """


class RandomPruning(PruningMethod):
    """Random pruning, a control: all weights are equally likely to be pruned. Uses torch's default generator.

    Examples:
        >>> linear = nn.Linear(10, 10)
        >>> _ = RandomPruning.apply(linear, "weight", amount=7)
        >>> int(linear.weight_mask.sum())
        93
    """

    @staticmethod
    def score(candidate: Candidate) -> Tensor:
        """Return random scores."""
        return random(candidate)


class PerLayerRates(PruningMethod):
    """Magnitude pruning at the rate for a layer's name or kind.

    Examples:
        >>> rates = {"dense": 0.2, "output": 0.1}
        >>> output = nn.Linear(10, 10)
        >>> _ = PerLayerRates.apply(output, "weight", rates, layer="head", kind="output")
        >>> int(output.weight_mask.sum())
        90
    """

    def __init__(self, rates: Mapping[str, float], *, layer: str = "layer", kind: Kind = "dense") -> None:
        super().__init__(rate_of(Pool((f"{layer}.weight",), (kind,), 0, 0), rates))


class BiasAware(PruningMethod):
    """Magnitude pruning of weights and biases.

    ``apply`` ranks one tensor at a time, so weights and biases do not compete. To let them compete, pass torch the
    scaled scores that ``importance_scores`` returns; otherwise biases, which start at zero, would be pruned first:

    Examples:
        >>> net = nn.Sequential(nn.Linear(10, 10))
        >>> _ = nn.init.zeros_(net[0].bias)
        >>> tensors = [(net[0], "weight"), (net[0], "bias")]
        >>> scores = BiasAware.importance_scores(tensors)
        >>> torch_prune.global_unstructured(tensors, BiasAware, importance_scores=scores, amount=11)
        >>> int(net[0].bias_mask.sum()), int(net[0].weight_mask.sum())
        (10, 89)
    """

    @staticmethod
    def importance_scores(parameters: Sequence[tuple[nn.Module, str]]) -> dict[tuple[nn.Module, str], Tensor]:
        """Return magnitudes in which each layer's bias is scaled to the mean of its weight."""
        scores, masks = {}, {}
        for module, name in parameters:
            tensor = getattr(module, f"{name}_orig", getattr(module, name)).detach()
            scores[module, name] = tensor.abs()
            masks[module, name] = getattr(module, f"{name}_mask", torch.ones_like(tensor)).bool()
        for module, name in parameters:
            if name == "bias" and (module, "weight") in scores:
                scores[module, name] = scale_bias_scores(
                    scores[module, "weight"],
                    masks[module, "weight"],
                    scores[module, name],
                    masks[module, name],
                )
        return scores


class _Masked(PruningMethod):
    """The method behind ``place_mask``: the importance scores that it is given are the mask."""

    def __init__(self) -> None:
        super().__init__(0)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return t.to(default_mask.device, torch.bool, copy=True)


def write_mask(module: nn.Module, name: str, mask: Tensor) -> None:
    """Set the mask of ``module.name``, in place if lthprune or torch has already pruned the tensor."""
    place_mask(module, name, mask)
    recompute(module)


def place_mask(module: nn.Module, name: str, mask: Tensor) -> None:
    """Set the mask of ``module.name`` and drop the pruned tensor, which the next ``recompute`` computes.

    For large models: pruned tensors that are replaced at once leave gaps in memory.
    """
    _Masked.apply(module, name, importance_scores=mask)
    del module.__dict__[name]


def erase_mask(module: nn.Module, name: str) -> Tensor:
    """Remove the mask of a tensor that lthprune or torch has pruned, and return it.

    The parameter gets its plain name back, and its pruned entries become zero. ``prune.remove`` does nearly the same,
    but moves the parameter to other memory, so that it is no longer shared.
    """
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, torch_prune.BasePruningMethod) and hook._tensor_name == name:
            del module._forward_pre_hooks[key]
    mask = module._buffers.pop(f"{name}_mask")
    parameter = module._parameters[f"{name}_orig"]
    assert mask is not None
    assert parameter is not None
    parameter.data.mul_(mask)
    with _place_held(module, f"{name}_orig", name):
        del module._parameters[f"{name}_orig"]
        delattr(module, name)
        setattr(module, name, parameter)
    return mask


@contextmanager
def _place_held(module: nn.Module, old: str, new: str) -> Iterator[None]:
    """Keep a parameter's position among the module's parameters while it is renamed.

    Optimisers load their state by position. If torch has moved ``weight_orig`` behind ``bias``, this puts the weight
    first again.
    """
    order = [new if name == old else name for name in module._parameters]
    if new == "weight" and sorted(order) == ["bias", "weight"]:
        order = ["weight", "bias"]
    yield
    parameters = dict(module._parameters)
    module._parameters.clear()
    module._parameters.update({name: parameters[name] for name in order})


def is_pruning_method(hook: object) -> bool:
    """Return whether a module's hook is a pruning method, of torch or lthprune."""
    return isinstance(hook, torch_prune.BasePruningMethod)


def _method_on(module: nn.Module, name: str) -> torch_prune.BasePruningMethod | None:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, torch_prune.BasePruningMethod) and hook._tensor_name == name:
            return hook
    return None
