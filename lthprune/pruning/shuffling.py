"""Random masks with as many weights as given ones: the controls of masks that a criterion chose."""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from lthprune.arguments import check_word
from lthprune.pruning.masks import Masks, number_left
from lthprune.pruning.ranking import keep_highest

Densities = Literal["layers", "global", "uniform", "erk"]


def random_masks(masks: Mapping[str, Tensor], densities: Densities, generator: torch.Generator) -> Masks:
    """Return masks of the same shapes that keep as many weights in total, drawn at random.

    The same generator state draws nested masks for nested ``masks``: what a sparser level keeps, a denser one keeps. At
    uniform and ERK densities, rounding may exempt a weight of each tensor.

    Args:
        masks: boolean, by tensor name.
        densities: how many weights each tensor keeps.

            - ``"layers"``: as many as before; that is, each mask is shuffled.
            - ``"global"``: what chance gives it; that is, all masks are shuffled as one.
            - ``"uniform"``: the same fraction in all tensors.
            - ``"erk"``: the fraction is proportional to the sum of the tensor's dimensions, divided by their product,
              but at most 1 (Erdős-Rényi-Kernel: Mocanu et al. 2018, Evci et al. 2020, section 3).
        generator: on the CPU.

    Examples:
        >>> masks = {"w": torch.tensor([True, True, False, False, False])}
        >>> random_masks(masks, "layers", torch.Generator().manual_seed(1))
        {'w': tensor([False, False,  True, False,  True])}
    """
    check_word("densities", densities, get_args(Densities))
    scores = {name: torch.rand(mask.shape, generator=generator, dtype=torch.float64) for name, mask in masks.items()}
    everything = {name: torch.ones(mask.shape, dtype=torch.bool) for name, mask in masks.items()}
    if densities == "global":
        return keep_highest(scores, everything, _left(masks))
    counts = _COUNTS[densities](masks)
    return {name: keep_highest({name: scores[name]}, {name: everything[name]}, counts[name])[name] for name in masks}


def _own_counts(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: number_left(mask) for name, mask in masks.items()}


def _uniform_counts(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return _apportioned(masks, dict.fromkeys(masks, 1.0))


def _erk_counts(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return _apportioned(masks, {name: sum(mask.shape) / max(1, mask.numel()) for name, mask in masks.items()})


_COUNTS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, int]]] = {
    "layers": _own_counts,
    "uniform": _uniform_counts,
    "erk": _erk_counts,
}


def _apportioned(masks: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, int]:
    """Return counts with the total of the masks, whose densities are proportional to ``weights``, but at most 1.

    Rounded down, and the tensors with the largest remainders then get one weight more.
    """
    left, dense = _left(masks), set[str]()
    while True:
        open_ones = {name: mask.numel() for name, mask in masks.items() if name not in dense}
        rest = left - sum(masks[name].numel() for name in dense)
        total = sum(weights[name] * size for name, size in open_ones.items())
        scale = rest / total if total else 0.0
        full = {name for name, size in open_ones.items() if size and scale * weights[name] > 1}
        if not full:
            break
        dense |= full
    exact = {name: scale * weights[name] * size for name, size in open_ones.items()}
    counts = {name: min(int(exact[name]), size) for name, size in open_ones.items()}
    missing = rest - sum(counts.values())
    for name in sorted(open_ones, key=lambda name: counts[name] - exact[name])[:missing]:
        counts[name] += 1
    return {name: mask.numel() if name in dense else counts[name] for name, mask in masks.items()}


def _left(masks: Mapping[str, Tensor]) -> int:
    return sum(number_left(mask) for mask in masks.values())
