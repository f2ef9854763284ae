"""Coverage: which parameters of a model are prunable, which are left out, and why."""

import math
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from torch import nn

from lthprune.errors import CoverageWarning, warn_caller
from lthprune.pruning.eligibility import Eligibility, assess
from lthprune.pruning.kinds import Kind, ModelParameter
from lthprune.pruning.selection import Selection

if TYPE_CHECKING:
    from rich.table import Table

COMPUTED = "computed from other parameters"
_ENOUGH = 0.9  # of the weights in matrices


@dataclass(frozen=True)
class CoveredParameter:
    """A parameter of a model, and whether it is prunable.

    Attributes:
        names: its plain names, several if it is tied.
        kind: its kind; see [`Selection`][lthprune.Selection].
        shape: its shape.
        is_bias: whether it is the bias of a layer.
        reason: why it is left out; empty if it is prunable.
    """

    names: tuple[str, ...]
    kind: Kind
    shape: tuple[int, ...]
    is_bias: bool
    reason: str

    @property
    def numel(self) -> int:
        """The number of its entries."""
        return math.prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it holds weights: two or more dimensions, and no bias."""
        return len(self.shape) >= 2 and not self.is_bias


@dataclass(frozen=True)
class Coverage:
    """Which parameters of a model are prunable; see [`describe`][lthprune.describe]. ``print`` shows a table.

    Attributes:
        parameters: all parameters, in the order of registration, a tied one once.
    """

    parameters: tuple[CoveredParameter, ...]

    @property
    def prunable(self) -> tuple[CoveredParameter, ...]:
        """The prunable parameters."""
        return tuple(each for each in self.parameters if not each.reason)

    @property
    def left_out(self) -> tuple[CoveredParameter, ...]:
        """The parameters that are not prunable."""
        return tuple(each for each in self.parameters if each.reason)

    @property
    def matrix_share(self) -> float:
        """The fraction of the weights in matrices that are prunable, in [0, 1]."""
        matrices = [each for each in self.parameters if each.is_matrix]
        total = sum(each.numel for each in matrices)
        return sum(each.numel for each in matrices if not each.reason) / total if total else 0.0

    def __repr__(self) -> str:
        prunable, everything = (sum(each.numel for each in some) for some in (self.prunable, self.parameters))
        share = f"{self.matrix_share:.1%} of the weights in matrices"
        return f"<Coverage: {prunable:,} of {everything:,} parameters are prunable, {share}>"

    def __str__(self) -> str:
        from rich.console import Console

        text = StringIO()
        Console(file=text, width=100).print(self)
        return text.getvalue().rstrip()

    def __rich__(self) -> "Table":
        from rich.table import Table

        table = Table(box=None, pad_edge=False, caption=repr(self)[1:-1], caption_justify="left")
        table.add_column("parameter", overflow="fold")
        table.add_column("kind", no_wrap=True)
        table.add_column("shape", no_wrap=True)
        table.add_column("weights", justify="right", no_wrap=True)
        table.add_column("left out because")
        small: dict[str, list[CoveredParameter]] = {}
        for each in self.parameters:
            if each.reason and not each.is_matrix:
                small.setdefault(each.reason, []).append(each)
            else:
                shape = " x ".join(map(str, each.shape))
                table.add_row(", ".join(each.names), each.kind, shape, f"{each.numel:,}", each.reason or "-")
        for reason, some in small.items():
            table.add_row(f"{len(some)} others", "", "", f"{sum(each.numel for each in some):,}", reason)
        return table


def describe(model: nn.Module, selection: Selection | None = None, *, bias: bool = False) -> Coverage:
    """Return which parameters of a model are prunable, and why the others are left out.

    Args:
        model: any module, dense or pruned.
        selection: which parameters are prunable; the default is that of ``imp`` and ``prune``.
        bias: whether to include biases.

    Returns:
        All parameters, with their names, kinds and shapes. ``print`` shows them as a table.

    Raises:
        PruningError: the selection does not fit the model, or the model is not initialised.

    Examples:
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.LSTM(4, 3), nn.LayerNorm(3))
        >>> coverage = describe(model)
        >>> coverage
        <Coverage: 84 of 154 parameters are prunable, 67.7% of the weights in matrices>
        >>> [(each.names[0], each.reason) for each in coverage.left_out][:1]
        [('0.weight', "kind 'embedding' is not selected")]
    """
    return Coverage(tuple(_covered(each) for each in assess(model, selection or Selection(), bias=bias)))


def warn_of_gaps(model: nn.Module) -> None:
    """Warn if the default selection covers less than 90 % of the entries of a model's weight matrices."""
    coverage = describe(model)
    will_be_refused = not coverage.matrix_share or any(each.reason == COMPUTED for each in coverage.parameters)
    if coverage.matrix_share >= _ENOUGH or will_be_refused:
        return
    gaps = sorted((each for each in coverage.left_out if each.is_matrix), key=lambda each: -each.numel)[:5]
    named = ", ".join(f"{each.names[0]!r} ({each.kind}, {each.numel:,} weights)" for each in gaps)
    kinds = tuple(dict.fromkeys(each.kind for each in gaps))
    warn_caller(
        f"the default selection prunes only {coverage.matrix_share:.1%} of the weights in the matrices of this "
        f"{type(model).__name__}; rates and densities are fractions of those. Left out, largest first: {named}. To "
        f"prune these, too, pass selection=Selection(kinds=(*Selection.kinds, {', '.join(map(repr, kinds))})). To keep "
        "the default without this warning, pass selection=Selection(). lthprune.describe(model) lists all parameters.",
        CoverageWarning,
    )


def _covered(eligibility: Eligibility) -> CoveredParameter:
    place = eligibility.places[0]
    computed = place.parameter is None
    return CoveredParameter(
        names=tuple(each.name for each in eligibility.places),
        kind=eligibility.kind,
        shape=_shape(place),
        is_bias=eligibility.is_bias,
        reason=eligibility.reason or (COMPUTED if computed else ""),
    )


def _shape(place: ModelParameter) -> tuple[int, ...]:
    """Return a parameter's shape, without computing it: reading it would update a spectral norm's buffers."""
    if place.parameter is not None:
        return tuple(place.parameter.shape)
    own = place.module._parameters.get(place.attribute, vars(place.module).get(place.attribute))
    if own is not None:
        return tuple(own.shape)
    originals = place.module.parametrizations[place.attribute].parameters()  # type: ignore[index, union-attr]
    return max((tuple(original.shape) for original in originals), key=math.prod)
