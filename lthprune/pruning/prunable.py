"""Prunable tensors: the parameters that a selection prunes, with their masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lthprune.errors import PruningError
from lthprune.pruning.eligibility import Eligibility, assess, layers_of
from lthprune.pruning.keeping import kept_mask
from lthprune.pruning.kinds import ALL_KINDS, Kind, model_parameters
from lthprune.pruning.selection import Selection


@dataclass(frozen=True, eq=False)
class PrunableTensor:
    """A weight or bias that may be pruned, with all places in which the model holds it.

    Attributes:
        name: its plain name, such as ``"dense1.weight"``, pruned or not; the first name of a tied tensor.
        parameter: the dense parameter: in torch's form ``weight_orig``, else ``weight``.
        kind: the kind of its layer.
        is_bias: whether it is a bias.
        places: (layer, module, attribute) of every module that holds it.
    """

    name: str
    parameter: nn.Parameter
    kind: Kind
    is_bias: bool
    places: tuple[tuple[str, nn.Module, str], ...]

    @property
    def layer(self) -> str:
        """The plain name of the first module that holds it."""
        return self.places[0][0]

    @property
    def module(self) -> nn.Module:
        """The first module that holds it."""
        return self.places[0][1]

    @property
    def attribute(self) -> str:
        """Its name in that module."""
        return self.places[0][2]

    @property
    def mask(self) -> Tensor | None:
        """The mask, in either form; None while the tensor is not pruned."""
        kept = kept_mask(self.parameter)
        return kept.values if kept is not None else self.module._buffers.get(f"{self.attribute}_mask")


def select(model: nn.Module, selection: Selection | None = None, *, bias: bool = False) -> list[PrunableTensor]:
    """Return the prunable tensors of a model, in the order of registration; a tied one once.

    Args:
        model: any module, dense or pruned.
        selection: which parameters are prunable; by default ``Selection()``.
        bias: whether to include the biases of the selected layers.

    Raises:
        PruningError: the model is not a module, a pattern matches no layer, there is nothing to prune, or a selected
            tensor cannot be pruned: it is computed from others (parametrised, adapted), shares memory with another
            parameter, is not initialised yet, is on the meta device or sharded.

    Examples:
        >>> [(tensor.name, tensor.kind) for tensor in select(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Linear(8, 2)))]
        [('0.weight', 'conv'), ('1.weight', 'output')]
    """
    selection = selection or Selection()
    eligible = [each for each in assess(model, selection, bias=bias) if not each.reason]
    tensors = [
        PrunableTensor(
            name=each.name,
            parameter=each.places[0].parameter,
            kind=each.kind,
            is_bias=each.is_bias,
            places=tuple((place.layer, place.module, place.attribute) for place in each.places),
        )
        for each in eligible
        if each.places[0].parameter is not None
    ]
    _refuse_computed([each for each in eligible if each.places[0].parameter is None])
    _refuse_unusable(model, tensors)
    if not tensors:
        raise PruningError(
            f"the selection leaves nothing to prune in {type(model).__name__}: no layer passes "
            f"kinds={tuple(selection.kinds)} and its patterns.{_other_kinds(model, selection)} {layers_of(model)}"
        )
    return tensors


def _other_kinds(model: nn.Module, selection: Selection) -> str:
    """Return a sentence that names the kinds of parameters which only ``kinds`` excludes."""
    everything = replace(selection, kinds=ALL_KINDS)
    kinds = tuple(
        dict.fromkeys(each.kind for each in assess(model, everything) if not each.reason and not each.is_bias)
    )
    return f" Parameters of other kinds do: Selection(kinds={kinds!r}, ...) prunes them." if kinds else ""


def _refuse_computed(computed: Sequence[Eligibility]) -> None:
    if computed:
        names = [each.name for each in computed]
        raise PruningError(
            f"{', '.join(map(repr, names))}: computed from other parameters in every forward pass (a weight norm, a "
            "spectral norm, an adapter such as LoRA), so a mask would be overwritten. Remove the parametrisation or "
            f"merge the adapter first, or leave them all out: Selection(exclude={tuple(names)!r})."
        )


def _refuse_unusable(model: nn.Module, tensors: Sequence[PrunableTensor]) -> None:
    """Raise a PruningError if a tensor has no values of its own in this process, or values that cannot be ranked."""
    owners: dict[tuple[int, torch.device], dict[int, str]] = {}  # address and device -> {id of parameter: name}
    for each in model_parameters(model):
        if each.parameter is not None and each.parameter.numel() and not each.parameter.is_meta:
            place = (each.parameter.data_ptr(), each.parameter.device)
            owners.setdefault(place, {}).setdefault(id(each.parameter), each.name)
    for tensor in tensors:
        parameter = tensor.parameter
        if hasattr(parameter, "device_mesh"):
            raise PruningError(
                f"{tensor.name!r} is sharded over processes (FSDP2, tensor parallelism), and a mask has to be chosen "
                "from the whole of it. Search with the model as it is before sharding, or train with "
                "DistributedDataParallel."
            )
        if parameter.is_meta:
            raise PruningError(
                f"{tensor.name!r} is on the meta device and has no values to prune by. Create the model on a real "
                "device, or move it with model.to_empty(device='cpu') and initialise it."
            )
        if parameter.dtype.itemsize < 2:
            raise PruningError(
                f"{tensor.name!r} has the type {parameter.dtype}, which cannot be ranked. Convert it to a type of at "
                "least 16 bits, or leave it out: Selection(exclude=...)."
            )
        if parameter.numel() and len(sharing := owners[parameter.data_ptr(), parameter.device]) > 1:
            raise PruningError(
                f"{' and '.join(map(repr, sharing.values()))} are different parameters that share memory, so an "
                "optimiser would train the same values twice. Tie them as one parameter (a.weight = b.weight), or "
                "give each its own memory."
            )
