"""Pruning a model once: what competes with what, how many stay, and the masks that follow."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from lthprune.arguments import check_word, whole_number
from lthprune.errors import LayerCollapseWarning, NothingPrunedWarning, PruningError
from lthprune.pruning.coverage import warn_of_gaps
from lthprune.pruning.forms import FORMS, Form, write_masks
from lthprune.pruning.kinds import is_bias_name
from lthprune.pruning.masks import Count, Masks, count, keep_highest
from lthprune.pruning.naming import join
from lthprune.pruning.schedules import Pool, Schedule, check_rate_names, left_after, plan_counts, rate_of
from lthprune.pruning.scores import SCORES, Candidate, Score, magnitude, one_footing, score_named
from lthprune.pruning.selection import PrunableTensor, Selection, select
from lthprune.seeds import Seeds

Scope = Literal["global", "layerwise"]
BiasPruning = Literal["separate", "together"] | bool


@dataclass(frozen=True)
class Pruning:
    """How to prune, whatever the schedule.

    - ``scope``: ``"global"`` (all weights compete) or ``"layerwise"`` (each layer on its own).
    - ``score``: a score function or the name of one; the lowest scores are pruned.
    - ``bias``: ``False`` leaves biases alone; ``"separate"`` (or ``True``) prunes them in scopes of their own, at
      the same rate; ``"together"`` lets them compete with the weights, on one footing.
    - ``selection``: which layers are prunable.
    - ``min_survivors``: so many weights stay in every tensor at least. Under a global scope the total is still
      exact; under a layerwise one the tensor keeps more than its schedule says.
    """

    scope: Scope = "global"
    score: Score | str = magnitude
    bias: BiasPruning = False
    selection: Selection = field(default_factory=Selection)
    min_survivors: int = 0

    def __post_init__(self) -> None:
        check_word("scope", self.scope, ("global", "layerwise"))
        if not isinstance(self.bias, bool):
            check_word("bias", self.bias, ("separate", "together"))
        if not isinstance(self.selection, Selection):
            raise PruningError(
                f"selection = {self.selection!r}: this must be a Selection, as in Selection(kinds=('conv',))."
            )
        object.__setattr__(self, "min_survivors", whole_number("min_survivors", self.min_survivors))
        object.__setattr__(self, "score", score_named(self.score))

    def tensors(self, model: nn.Module) -> list[PrunableTensor]:
        """Return the tensors of a model that this prunes."""
        return select(model, self.selection, bias=bool(self.bias))

    def pools(self, model: nn.Module) -> list[Pool]:
        """Return the groups of tensors that compete with one another, with what each has left."""
        groups: dict[tuple[str, ...], list[PrunableTensor]] = {}
        for tensor in self.tensors(model):
            where = f"{tensor.layer} {tensor.kind}" if self.scope == "layerwise" else ""  # kinds have rates
            which = "bias" if tensor.is_bias and self.bias != "together" else ""
            groups.setdefault((where, which), []).append(tensor)
        return [
            Pool(
                names=tuple(tensor.name for tensor in group),
                kinds=tuple(tensor.kind for tensor in group),
                left=sum(_left(tensor) for tensor in group),
                total=sum(tensor.parameter.numel() for tensor in group),
                minimum=sum(min(self.min_survivors, _left(tensor)) for tensor in group),
            )
            for group in groups.values()
        ]

    def plan(self, model: nn.Module, schedule: Schedule, levels: int) -> list[tuple[int, ...]]:
        """Return how many weights every pool keeps at levels 0, 1, ...; nothing is pruned."""
        pools = self.pools(model)
        plan = plan_counts(schedule, pools, levels)
        return [tuple(self.kept(left, pool) for left, pool in zip(row, pools, strict=True)) for row in plan]

    def kept(self, left: int, pool: Pool) -> int:
        """Return how many weights a pool keeps where a schedule says ``left``: the minimum has a say in it."""
        if self.scope == "layerwise":
            return max(left, pool.minimum)
        if left < pool.minimum:
            raise PruningError(
                f"cannot keep only {left:,} weights with at least {self.min_survivors:,} in each of "
                f"{', '.join(pool.names)}, which takes {pool.minimum:,}. Lower min_survivors or stop sooner."
            )
        return left


def choose_masks(
    pruning: Pruning,
    pools: Sequence[Pool],
    left: Sequence[int],
    *,
    masks: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    initial: Mapping[str, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Masks:
    """Return the masks that keep ``left[i]`` weights of ``pools[i]``; a function of tensors, no model involved.

    Args:
        pruning: what decides.
        pools: what competes.
        left: exact counts, one for each pool.
        masks: what was left before.
        final: trained weights by name.
        initial: weights at initialisation by name, for scores that compare.
        generator: for scores that draw.
    """
    score = score_named(pruning.score)
    check_finite(final, masks)
    chosen: Masks = {}
    for pool, keep in zip(pools, left, strict=True):
        scores = {
            name: score(
                Candidate(
                    name,
                    _for_scoring(final[name], score),
                    _for_scoring(initial[name], score) if initial and name in initial else None,
                    generator,
                )
            )
            for name in pool.names
        }
        held = {name: masks[name].cpu() for name in pool.names}
        if pruning.bias == "together":
            for name in pool.names:
                weight = weight_of(name)
                if weight not in scores:  # of attention with keys of another width
                    weight = weight.replace("in_proj_weight", "q_proj_weight")
                if weight in scores and weight != name:
                    scores[name] = one_footing(scores[weight], held[weight], scores[name], held[name])
        chosen |= keep_highest(scores, held, keep, minimum=pruning.min_survivors)
    collapsed = [
        repr(name)
        for name, mask in chosen.items()
        if bool(masks[name].any()) and not bool(mask.any()) and weight_of(name) == name
    ]
    if collapsed:
        warnings.warn(
            f"layer collapse: no weight of {', '.join(collapsed)} is left, so nothing passes through. "
            "min_survivors= keeps some in every tensor.",
            LayerCollapseWarning,
            stacklevel=3,
        )
    return {name: chosen[name] for name in masks}


def check_finite(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Raise a PruningError that names every tensor with a remaining weight that is not finite."""
    diverged = [
        name
        for name, mask in masks.items()
        if not bool(weights[name].isfinite().all()) and not bool(weights[name].isfinite()[mask].all())
    ]
    if diverged:
        raise PruningError(
            f"{', '.join(map(repr, diverged))}: some weights are NaN or infinite, so that they cannot be ranked. The "
            "training before this pruning diverged; a lower learning rate usually helps."
        )


def weight_of(name: str) -> str:
    """Return the name of the weight that goes with a bias; a weight's own name.

    Examples:
        >>> weight_of("dense1.bias"), weight_of("lstm.bias_ih_l0"), weight_of("dense1.weight")
        ('dense1.weight', 'lstm.weight_ih_l0', 'dense1.weight')
    """
    layer, _, attribute = name.rpartition(".")
    return join(layer, attribute.replace("bias", "weight")) if is_bias_name(attribute) else name


def _for_scoring(tensor: Tensor, score: Score) -> Tensor:
    """Return a tensor on the CPU, where all scores are made, so that a resumed search makes the same.

    Somebody else's function gets a copy, for it may work in place.
    """
    on_cpu = tensor.detach().cpu()
    return on_cpu if score in SCORES.values() else on_cpu.clone()


def prune(
    model: nn.Module,
    amount: float | int | Mapping[str, float],
    *,
    scope: Scope = "global",
    score: Score | str = magnitude,
    bias: BiasPruning = False,
    selection: Selection | None = None,
    min_survivors: int = 0,
    initial: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    form: Form = "torch",
) -> dict[str, Count]:
    """Prune a model once, in place, and return what is left of each tensor.

    Args:
        model: any module; parts of it may be pruned already.
        amount: what to prune of each scope: a fraction of the weights left, an exact number, or (layerwise)
            fractions by layer kind or name pattern.
        scope: see ``Pruning``, as for ``score``, ``bias``, ``selection`` and ``min_survivors``.
        score: the criterion.
        bias: whether and how biases are pruned.
        selection: which layers are prunable.
        min_survivors: how many weights stay in every tensor at least.
        initial: the weights at initialisation by name, for scores that compare with them.
        seed: the root seed for scores that draw.
        form: ``"torch"`` (``weight_orig``, ``weight_mask`` and a hook) or ``"plain"``, which reaches every parameter;
            see [`convert`][lthprune.convert].

    Raises:
        PruningError: the model or the amount is refused; the model is unchanged then.

    Examples:
        >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 5))
        >>> left = prune(model, 0.2)
        >>> sum(count.left for count in left.values())
        200
    """
    pruning = Pruning(scope, score, bias, selection or Selection(), min_survivors)
    if selection is None:
        warn_of_gaps(model, stacklevel=2)
    check_word("form", form, FORMS)
    generator = Seeds(seed).generator("mask")
    pools, tensors = pruning.pools(model), pruning.tensors(model)
    if isinstance(amount, Mapping):
        check_rate_names(amount, pools)
    left = []
    for pool in pools:
        share = rate_of(pool, amount) if isinstance(amount, Mapping) else amount
        left.append(pruning.kept(left_after(share, pool.left), pool))
        if share and left[-1] == pool.left:
            warnings.warn(
                f"{share:.3g} of the {pool.left} weights left in {', '.join(pool.names)} rounds to none; "
                "nothing was pruned there.",
                NothingPrunedWarning,
                stacklevel=2,
            )
    masks = choose_masks(
        pruning,
        pools,
        left,
        masks=current_masks(tensors),
        final={tensor.name: tensor.parameter for tensor in tensors},
        initial=initial,
        generator=generator,
    )
    write_masks(model, masks, form)
    return count(masks)


def current_masks(tensors: Sequence[PrunableTensor]) -> Masks:
    """Return copies of the masks as they stand; a tensor that is not pruned is all there."""
    return {
        tensor.name: torch.ones_like(tensor.parameter, dtype=torch.bool)
        if tensor.mask is None
        else tensor.mask.to(torch.bool, copy=True)
        for tensor in tensors
    }


def _left(tensor: PrunableTensor) -> int:
    return tensor.parameter.numel() if tensor.mask is None else int(tensor.mask.count_nonzero())
