"""One pruning round: which weights compete, how many each group keeps, and the resulting masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lthprune.arguments import check_word, whole_number
from lthprune.errors import LayerCollapseWarning, NothingPrunedWarning, PruningError, warn_caller
from lthprune.pruning.coverage import warn_of_gaps
from lthprune.pruning.forms import FORMS, Form, write_masks
from lthprune.pruning.keeping import all_finite
from lthprune.pruning.kinds import is_bias_name
from lthprune.pruning.masks import Count, Masks, count, number_left
from lthprune.pruning.naming import join
from lthprune.pruning.prunable import PrunableTensor, select
from lthprune.pruning.ranking import LazyScores, keep_highest
from lthprune.pruning.schedules import Pool, Schedule, check_rate_names, counts_per_level, left_after, rate_of
from lthprune.pruning.scores import ELEMENTWISE, SCORES, Candidate, Score, magnitude, scale_bias_scores, score_named
from lthprune.pruning.selection import Selection
from lthprune.seeds import Seeds

Scope = Literal["global", "layerwise"]
BiasPruning = Literal["separate", "together"] | bool


@dataclass(frozen=True)
class Pruning:
    """How to prune: all settings but the schedule.

    - ``scope``: ``"global"`` (all weights compete) or ``"layerwise"`` (weights compete within their layer).
    - ``score``: a score function or the name of one; the lowest scores are pruned.
    - ``bias``: ``False`` does not prune biases; ``"separate"`` (or ``True``) prunes them at the same rate, but they
      compete among themselves only; ``"together"`` lets them compete with the weights, with scaled scores.
    - ``selection``: which layers are prunable.
    - ``min_survivors``: the least number of weights to keep in every tensor. With a global scope the total is still
      exact; with a layerwise scope the tensor keeps more than its schedule says.

    Raises:
        PruningError: an argument has the wrong type, or its value is unknown.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [pool.names for pool in Pruning(scope="layerwise").pools(model)]
        [('0.weight',), ('2.weight',)]
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
        """Return the prunable tensors of a model."""
        return select(model, self.selection, bias=bool(self.bias))

    def pools(self, model: nn.Module) -> list[Pool]:
        """Return the groups of tensors whose weights compete with one another, with their remaining weights."""
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

    def counts(self, model: nn.Module, schedule: Schedule, levels: int) -> list[tuple[int, ...]]:
        """Return how many weights each pool keeps at levels 0, 1, ...; prunes nothing."""
        pools = self.pools(model)
        scheduled = counts_per_level(schedule, pools, levels)
        return [tuple(self.kept(left, pool) for left, pool in zip(row, pools, strict=True)) for row in scheduled]

    def kept(self, left: int, pool: Pool) -> int:
        """Return how many weights a pool keeps if its schedule leaves ``left`` of them, given the minimum."""
        if self.scope == "layerwise":
            return max(left, pool.minimum)
        if left < pool.minimum:
            raise PruningError(
                f"cannot keep only {left:,} weights: with min_survivors = {self.min_survivors:,}, "
                f"{', '.join(pool.names)} keep at least {pool.minimum:,} in total. Lower min_survivors, or end at a "
                "higher density."
            )
        return left


def choose_masks(
    pruning: Pruning,
    pools: Sequence[Pool],
    counts: Sequence[int],
    *,
    masks: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    initial: Mapping[str, Tensor] | None = None,
    generator: torch.Generator | None = None,
    level: int | None = None,
) -> Masks:
    """Return the masks that keep ``counts[i]`` weights of ``pools[i]``. Works on tensors, without a model.

    Args:
        pruning: score, treatment of biases and minimum.
        pools: the groups of tensors whose weights compete.
        counts: how many weights each pool keeps.
        masks: the masks before, boolean, by name; a pruned weight stays pruned.
        final: trained weights by name.
        initial: weights at initialisation by name, for scores that compare with them.
        generator: for random scores.
        level: the pruning round, for warnings.

    Raises:
        PruningError: a remaining weight or its score is not finite, a score has the wrong shape, or a pool cannot
            keep that many weights.

    Examples:
        >>> pools = [Pool(("fc.weight",), ("dense",), left=3, total=4)]
        >>> masks = {"fc.weight": torch.tensor([True, True, False, True])}
        >>> choose_masks(Pruning(), pools, [2], masks=masks, final={"fc.weight": torch.tensor([0.3, -0.1, 0.0, -0.2])})
        {'fc.weight': tensor([ True, False, False,  True])}
    """
    score, together = score_named(pruning.score), pruning.bias == "together"
    check_finite(final, masks)
    chosen: Masks = {}
    for pool, keep in zip(pools, counts, strict=True):
        scores = {
            name: _scores(name, score, final[name], (initial or {}).get(name), generator, whole=together)
            for name in pool.names
        }
        held = {name: masks[name].cpu() for name in pool.names}
        if together:
            for name in pool.names:
                weight = weight_of(name)
                if weight not in scores:  # attention whose keys have a width of their own
                    weight = weight.replace("in_proj_weight", "q_proj_weight")
                if weight in scores and weight != name:
                    scores[name] = scale_bias_scores(scores[weight], held[weight], scores[name], held[name])
        chosen |= keep_highest(scores, held, keep, minimum=pruning.min_survivors)
    collapsed = [
        repr(name)
        for name, mask in chosen.items()
        if not number_left(mask) and bool(masks[name].any()) and weight_of(name) == name
    ]
    if collapsed:
        when = "" if level is None else f" at level {level}"
        warn_caller(
            f"layer collapse{when}: pruning removed the last weight of {', '.join(collapsed)}, so no signal passes "
            "through. Keep some weights in every tensor with min_survivors=1, use scope='layerwise', or prune less.",
            LayerCollapseWarning,
        )
    return {name: chosen[name] for name in masks}


def check_finite(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, what: str | None = None) -> None:
    """Raise a PruningError that names ``what`` and all its tensors with a remaining weight that is NaN or infinite."""
    diverged = [
        name
        for name, mask in masks.items()
        if not all_finite(weights[name]) and not bool(weights[name].isfinite()[mask].all())
    ]
    if diverged:
        raise PruningError(
            f"{'' if what is None else f'{what}: '}{', '.join(map(repr, diverged))}: some weights are NaN or infinite "
            "and cannot be ranked: the training before this pruning diverged. A lower learning rate usually helps."
        )


def weight_of(name: str) -> str:
    """Return the name of the weight in the same layer as a bias; a weight's own name.

    Examples:
        >>> weight_of("dense1.bias"), weight_of("lstm.bias_ih_l0"), weight_of("dense1.weight")
        ('dense1.weight', 'lstm.weight_ih_l0', 'dense1.weight')
    """
    layer, _, attribute = name.rpartition(".")
    return join(layer, attribute.replace("bias", "weight")) if is_bias_name(attribute) else name


def _scores(
    name: str,
    score: Score,
    final: Tensor,
    initial: Tensor | None,
    generator: torch.Generator | None,
    *,
    whole: bool,
) -> Any:
    """Return the scores of a tensor: chunk by chunk if each weight's score depends on that weight alone.

    Scores are computed on the CPU, so that a resumed search computes the same ones. User-defined functions get copies,
    because they may work in place.
    """
    fits = initial is None or (initial.shape == final.shape and all_finite(initial))
    if score in ELEMENTWISE and fits and not whole:
        flat, first = final.detach().reshape(-1), None if initial is None else initial.detach().reshape(-1)

        def compute(some: slice | Tensor) -> Tensor:
            taken: list[Any] = [each[some].cpu() for each in (flat, first) if each is not None]
            if any(each.dtype not in (torch.float32, torch.float64) for each in taken):
                return score(Candidate(name, *taken))
            return torch.from_numpy(score(Candidate(name, *(each.numpy() for each in taken))))

        return LazyScores(final, compute)
    on_cpu = [each.detach().cpu() for each in (final, initial) if each is not None]
    copies = on_cpu if score in SCORES.values() else [each.clone() for each in on_cpu]
    return score(Candidate(name, copies[0], copies[1] if initial is not None else None, generator))


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
    """Prune a model once, in place, and return how many weights of each tensor remain.

    Args:
        model: any module; it may be pruned already.
        amount: how many weights to prune in each scope: a fraction of the remaining weights, an exact number, or
            (layerwise) fractions by layer kind or name pattern.
        scope: ``"global"`` (all weights compete) or ``"layerwise"`` (weights compete within their layer).
        score: the criterion, a function of a ``Candidate`` or the name of one; the lowest scores are pruned.
        bias: whether and how to prune biases; see ``Pruning``.
        selection: which layers are prunable.
        min_survivors: the least number of weights to keep in every tensor.
        initial: the weights at initialisation by name, for scores that compare with them.
        seed: the root seed of random scores.
        form: ``"torch"`` (``weight_orig``, ``weight_mask`` and a hook) or ``"plain"``, which reaches every parameter;
            see [`convert`][lthprune.convert].

    Raises:
        PruningError: the model or an argument is refused; the model stays unchanged.

    Examples:
        >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 5))
        >>> left = prune(model, 0.2)
        >>> sum(count.left for count in left.values())
        200
    """
    pruning = Pruning(scope, score, bias, selection or Selection(), min_survivors)
    if selection is None:
        warn_of_gaps(model)
    check_word("form", form, FORMS)
    generator = Seeds(seed).generator("mask")
    pools, tensors = pruning.pools(model), pruning.tensors(model)
    if isinstance(amount, Mapping):
        check_rate_names(amount, pools)
    counts = []
    for pool in pools:
        share = rate_of(pool, amount) if isinstance(amount, Mapping) else amount
        counts.append(pruning.kept(left_after(share, pool.left), pool))
        if share and counts[-1] == pool.left:
            warn_caller(
                f"nothing was pruned in {', '.join(pool.names)}: a fraction of {share:.3g} of its {pool.left:,} "
                "remaining weights rounds to 0 weights, or min_survivors keeps all of them. Prune a larger fraction, "
                "or an exact number.",
                NothingPrunedWarning,
            )
    masks = choose_masks(
        pruning,
        pools,
        counts,
        masks=current_masks(tensors),
        final={tensor.name: tensor.parameter for tensor in tensors},
        initial=initial,
        generator=generator,
    )
    write_masks(model, masks, form)
    return count(masks)


def current_masks(tensors: Sequence[PrunableTensor]) -> Masks:
    """Return copies of the current masks; the mask of a tensor that is not pruned is all true."""
    return {
        tensor.name: torch.ones_like(tensor.parameter, dtype=torch.bool)
        if tensor.mask is None
        else tensor.mask.to(torch.bool, copy=True)
        for tensor in tensors
    }


def _left(tensor: PrunableTensor) -> int:
    return tensor.parameter.numel() if tensor.mask is None else int(tensor.mask.count_nonzero())
