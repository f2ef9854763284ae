"""The straight line between two trained copies of a network: errors and losses on it, and the distance of its ends."""

import copy
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lthprune.arguments import check_word, whole_number
from lthprune.errors import PruningError
from lthprune.pruning import State, check_fit, modes_restored, refresh, restore

Measure = Callable[[nn.Module], Mapping[str, tuple[float, float]]]
"""From a model to its error and its loss on each split of the data, by the split's name."""


@dataclass(frozen=True, eq=False)
class LinearPath:
    """Errors and losses on the straight line between two copies of a network.

    Attributes:
        at: the positions, (points + 2,), from 0, the first copy, to 1, the second one.
        errors: 1 - accuracy at each position, in [0, 1], by the name of the data.
        losses: the losses, likewise.
    """

    at: np.ndarray
    errors: Mapping[str, np.ndarray]
    losses: Mapping[str, np.ndarray]

    def barrier(self, data: str = "test") -> float:
        """Return the error barrier on some data; see [`error_barrier`][lthprune.analysis.error_barrier]."""
        check_word("data", data, self.errors)
        return error_barrier(self.errors[data])


def error_barrier(errors: Sequence[float] | np.ndarray) -> float:
    """Return the highest error on a path minus the mean of the errors at its two ends.

    This is the linear interpolation instability of Frankle, Dziugaite, Roy & Carbin (2020), section 2. The ends belong
    to the path, so a barrier is never negative.

    Args:
        errors: at least two, in order.

    Examples:
        >>> error_barrier([0.125, 0.5, 0.375])
        0.25
    """
    values = np.asarray(errors, dtype=float)
    return float(values.max() - (values[0] + values[-1]) / 2)


def interpolated(one: State, other: State, at: float) -> State:
    """Return the state ``at`` of the way from one state to another: ``(1 - at) * one + at * other``.

    Tensors of integers, such as counters of batches, are those of ``one``. Both ends are exact.

    Args:
        one: tensors by name.
        other: tensors of the same names and shapes.
        at: in [0, 1].

    Examples:
        >>> interpolated({"weight": torch.tensor([0.0, 8.0])}, {"weight": torch.tensor([4.0, 0.0])}, 0.25)
        {'weight': tensor([1., 6.])}
    """
    return {
        name: torch.lerp(tensor, other[name], at) if tensor.is_floating_point() or tensor.is_complex() else tensor
        for name, tensor in one.items()
    }


def follow_path(
    model: nn.Module,
    one: State,
    other: State,
    measure: Measure,
    *,
    batches: Iterable[Tensor] = (),
    points: int = 30,
) -> LinearPath:
    """Measure networks on the straight line between two copies of a network, in the space of weights.

    There are ``points`` positions at even distances between the copies, and the two copies themselves. Batch-norm
    statistics cannot be interpolated, so at every position, the ends included, they are recomputed from ``batches``.

    Args:
        model: of the copies' architecture; with masks, if they are tickets. It is not changed.
        one: the state of the first copy, as ``lthprune.pruning.snapshot`` returns it.
        other: the state of the second copy.
        measure: returns the error and the loss of a model on each split of the data, by its name. Called without
            gradients, with a model in evaluation mode whose parameters require none.
        batches: training inputs, needed by models that keep statistics of their batches. They are read at every
            position, so a list rather than an iterator.
        points: how many positions to measure between the copies; Frankle et al. (2020) use 30.

    Raises:
        PruningError: ``points`` is less than 1, or the model needs batches.
        StorageError: a state does not fit the model.

    Examples:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> ends = [{"weight": torch.tensor([[value]])} for value in (-1.0, 1.0)]
        >>> measure = lambda model: {"test": (float(model.weight == 0), float(model.weight**2))}
        >>> path = follow_path(model, *ends, measure, points=1)
        >>> path.at.tolist(), path.losses["test"].tolist(), path.barrier()
        ([0.0, 0.5, 1.0], [1.0, 0.0, 1.0], 1.0)
    """
    if not whole_number("points", points):
        raise PruningError("points = 0: measure at least one position between the copies.")
    for state, what in ((one, "the first copy"), (other, "the second copy")):
        check_fit(model, state, what=what)
    refresh(model)
    # Autocast keeps what it cast from parameters that require gradients, although they are written to in between.
    scratch = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    positions = np.linspace(0, 1, points + 2)
    measured: list[Mapping[str, tuple[float, float]]] = []
    for at in positions:
        restore(scratch, interpolated(one, other, float(at)))
        recompute_statistics(scratch, batches)
        with torch.no_grad():
            measured.append(measure(scratch))
    errors, losses = (
        {name: np.array([each[name][place] for each in measured]) for name in measured[0]} for place in (0, 1)
    )
    return LinearPath(positions, errors, losses)


def recompute_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of normalisation layers by their averages over batches.

    Only these layers are in training mode meanwhile, so dropout draws nothing. Every call of a layer has the same
    weight, whatever its momentum (as in ``torch.optim.swa_utils.update_bn``). Models without such layers stay as they
    are.

    Args:
        model: dense or pruned; its modes are kept.
        batches: inputs, on the model's device.

    Raises:
        PruningError: the model has such layers, and there is no batch.

    Examples:
        >>> norm = nn.BatchNorm1d(1)
        >>> recompute_statistics(norm, [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])])
        >>> norm.running_mean, norm.running_var
        (tensor([3.]), tensor([2.]))
    """
    kind = nn.modules.batchnorm._NormBase  # batch norms, and instance norms that track statistics
    norms = [each for each in model.modules() if isinstance(each, kind) and each.running_mean is not None]
    if not norms:
        return
    momenta, read = [norm.momentum for norm in norms], 0
    calls, hooks = dict.fromkeys(norms, 0), []

    def weigh(norm: nn.modules.batchnorm._NormBase, _: object) -> None:
        calls[norm] += 1
        norm.momentum = 1 / calls[norm]  # None, torch's word for this average, would be 0 for instance norms

    try:
        with modes_restored(model), torch.no_grad():
            model.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.train()
                hooks.append(norm.register_forward_pre_hook(weigh))
            for batch in batches:
                model(batch)
                read += 1
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if not read:
        raise PruningError(
            f"this {type(model).__name__} normalises by statistics of its batches, which have to be recomputed for "
            "every network on the path. Give batches=[...], some batches of training inputs."
        )


def distance_between(one: State, other: State, names: Collection[str]) -> float:
    """Return the L2 distance of two states over the tensors of these names.

    Examples:
        >>> distance_between({"weight": torch.tensor([0.0, 3.0])}, {"weight": torch.tensor([4.0, 0.0])}, ["weight"])
        5.0
    """
    return math.sqrt(_product(one, other, one, other, names))


def angle_between(one: State, other: State, origin: State, names: Collection[str]) -> float:
    """Return the angle in degrees between the ways from a common origin to two states.

    0 is the same direction, 90 means that the two have no direction in common. NaN if one of them is at the origin.

    Args:
        one: where the first way ends.
        other: where the second way ends.
        origin: the state that both start from.
        names: the tensors that count.

    Examples:
        >>> origin, one = {"weight": torch.tensor([1.0, 1.0])}, {"weight": torch.tensor([1.0, 3.0])}
        >>> round(angle_between(one, {"weight": torch.tensor([5.0, 5.0])}, origin, ["weight"]))
        45
    """
    lengths = _product(one, origin, one, origin, names) * _product(other, origin, other, origin, names)
    if not lengths > 0:
        return math.nan
    cosine = _product(one, origin, other, origin, names) / math.sqrt(lengths)
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _product(one: State, first: State, other: State, second: State, names: Collection[str]) -> float:
    """Return the scalar product of the differences ``one - first`` and ``other - second``.

    The two parts of a complex number count as two numbers.
    """

    def difference(state: State, origin: State, name: str) -> Tensor:
        dtype = torch.promote_types(state[name].dtype, torch.float64)
        return state[name].to(dtype) - origin[name].to(dtype)

    products = [(difference(one, first, name).conj() * difference(other, second, name)).sum().real for name in names]
    return float(sum(products))
