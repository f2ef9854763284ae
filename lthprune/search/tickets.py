"""Tickets: the result of a level; saving, loading and applying them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from lthprune.arguments import check_module, check_word, described
from lthprune.errors import PruningError, StorageError
from lthprune.files import read_tensors, write_tensors
from lthprune.pruning import (
    FORMS,
    Count,
    Form,
    Masks,
    State,
    check_fit,
    count,
    first_names,
    live_state,
    masks_of,
    pack,
    refuse_unreached,
    registered_buffers,
    restore,
    unpack,
    write_masks,
)
from lthprune.search.metrics import Metrics, with_arrays, without_arrays

_FORMAT = 1


@dataclass(frozen=True, eq=False)  # tensors have no truth value to compare by
class Ticket:
    """A sparse network: masks, and the weights to train it from.

    Attributes:
        level: the pruning round; 0 is the dense network.
        masks: for every prunable tensor, true where a weight is unpruned.
        weights: the rewound weights and buffers that training starts from. Shared between tickets, so do not
            change them.
        trained: the weights and buffers after training this ticket; pruned weights are zero.
        metrics: what ``train`` returned: numbers, texts, arrays (as numpy's), or dicts of these.
        provenance: how the ticket was found: driver, scope, score, schedule, rewind, seed, trial.
        late_buffers: the names of the buffers that the model registered or filled in training, such as caches.
        tied: for every further name of a tied tensor, its name in ``masks``.
    """

    level: int
    masks: Masks
    weights: State
    trained: State
    metrics: Metrics = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    late_buffers: tuple[str, ...] = ()
    tied: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        metrics = f", metrics: {', '.join(self.metrics)}" if self.metrics else ""
        return f"<Ticket of level {self.level}: density {self.density:.2%}, {self.left:,} weights left{metrics}>"

    @property
    def counts(self) -> dict[str, Count]:
        """The numbers of remaining and of all weights of every prunable tensor."""
        return count(self.masks)

    @property
    def left(self) -> int:
        """The number of remaining prunable weights."""
        return sum(tensor.left for tensor in self.counts.values())

    @property
    def density(self) -> float:
        """The fraction of prunable weights that remain, in [0, 1]: the paper's P_m."""
        return self.left / sum(mask.numel() for mask in self.masks.values())

    @property
    def sparsity(self) -> float:
        """The fraction of prunable weights pruned: 1 - density."""
        return 1 - self.density

    def apply(
        self, model: nn.Module, weights: Literal["rewound", "trained"] = "rewound", *, form: Form = "plain"
    ) -> nn.Module:
        """Give a model the weights, buffers and masks of this ticket.

        Args:
            model: fresh, dense or pruned, wrapped (``torch.compile``, data-parallel) or not. Parameters that the ticket
                does not prune are unpruned afterwards.
            weights: ``"rewound"``, to train from, or ``"trained"``.
            form: the form of the pruned model; see [`convert`][lthprune.convert].

        Returns:
            The same model.

        Raises:
            PruningError: ``model`` is no module, or ``weights`` or ``form`` is unknown, or torch's form does not
                reach a tensor of the ticket. The model is unchanged.
            StorageError: names or shapes differ. The model is unchanged.
        """
        check_module(model)
        if any(parameter.is_meta for parameter in model.parameters()):
            raise PruningError(
                "the model is on the meta device and can hold no values. Move it first: model.to_empty(device='cpu')."
            )
        check_word("weights", weights, ("rewound", "trained"))
        check_word("form", form, FORMS)
        if form == "torch":
            refuse_unreached(model, self.masks)
        live, what = live_state(model), f"the ticket of level {self.level}"
        late = {name: live[name] for name in self.late_buffers if name in live}  # keep those that the ticket lacks
        state = late | (self.weights if weights == "rewound" else self.trained)
        registered = registered_buffers(model) | set(self.late_buffers)
        check_fit(model, state, what=what, may_bring=self.late_buffers)
        first, masks = first_names(model), self.masks | {name: self.masks[own] for name, own in self.tied.items()}
        self._refuse_untied(first, masks)
        everything = {first[name]: torch.ones_like(mask) for name, mask in masks_of(model).items()}
        write_masks(model, everything | {first[name]: mask for name, mask in masks.items()}, form)
        restore(model, state, what=what, registered=registered)
        return model

    def _refuse_untied(self, first: Mapping[str, str], masks: Masks) -> None:
        """Refuse a model that ties parameters which differ in this ticket."""
        for name, own in first.items():
            weights = all(torch.equal(state[name], state[own]) for state in (self.weights, self.trained))
            whole = torch.ones_like(self.weights[own], dtype=torch.bool)
            if name != own and not (weights and torch.equal(masks.get(name, whole), masks.get(own, whole))):
                raise StorageError(
                    f"the ticket of level {self.level} does not fit: the model ties {own!r} and {name!r}, which are "
                    "different tensors in the ticket. Build the model as it was when the ticket was found."
                )

    def save(self, path: str | Path) -> Path:
        """Write the ticket to a safetensors file, masks packed to one bit per weight; see ``load_ticket``."""
        path = Path(path)
        arrays: dict[str, Tensor] = {}
        header = {
            "format": _FORMAT,
            "level": self.level,
            "masked": list(self.masks),
            "metrics": without_arrays(self.metrics, arrays),
            "provenance": self.provenance,
            "late_buffers": list(self.late_buffers),
            "tied": self.tied,
        }
        tensors = {f"masks/{name}": pack(mask) for name, mask in self.masks.items()}
        tensors |= {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"trained/{name}": tensor for name, tensor in self.trained.items()}
        tensors |= {f"metrics/{place}": array for place, array in arrays.items()}
        write_tensors(path, tensors, json.dumps(header))
        return path


def load_ticket(path: str | Path) -> Ticket:
    """Read a ticket that ``Ticket.save`` wrote.

    Raises:
        StorageError: the file is missing, damaged or no ticket, or ``path`` is no path.
    """
    if not isinstance(path, str | Path):
        raise StorageError(f"a ticket is read from a file; name its path. This is {described(path)}.")
    tensors, text = read_tensors(Path(path))
    try:
        header = json.loads(text)
        if header["format"] != _FORMAT:
            raise StorageError(f"{path} is a ticket of format {header['format']}; this lthprune reads {_FORMAT}.")
        if header.get("initial"):
            raise StorageError(
                f"{path} is not a ticket: it holds the initial weights of a trial. The tickets are beside it, one for "
                "each level, as in level-00.safetensors."
            )
        parts: dict[str, State] = {"masks": {}, "weights": {}, "trained": {}, "metrics": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition("/")
            parts[part][name] = tensor
        return Ticket(
            level=header["level"],
            masks={
                name: unpack(parts["masks"][name], tuple(parts["weights"][name].shape)) for name in header["masked"]
            },
            weights=parts["weights"],
            trained=parts["trained"],
            metrics=with_arrays(header["metrics"], parts["metrics"]),
            provenance=header["provenance"],
            late_buffers=tuple(header.get("late_buffers", ())),
            tied=header.get("tied", {}),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is not a ticket: its header cannot be read ({error!r}).") from error


class Tickets(Sequence[Ticket]):
    """The tickets of one search, level by level; ``tickets[0]`` is the dense network."""

    def __init__(self, tickets: Iterable[Ticket]) -> None:
        self._tickets = tuple(tickets)

    @overload
    def __getitem__(self, index: int) -> Ticket: ...
    @overload
    def __getitem__(self, index: slice) -> "Tickets": ...
    def __getitem__(self, index: int | slice) -> "Ticket | Tickets":
        return Tickets(self._tickets[index]) if isinstance(index, slice) else self._tickets[index]

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets)

    def __repr__(self) -> str:
        lines = [f"level {t.level:2d}  density {t.density:7.2%}  {_brief(t.metrics)}".rstrip() for t in self]
        return "\n".join(["Tickets:", *lines])

    def smallest(self, condition: Callable[[Ticket], bool] = lambda ticket: True) -> Ticket:
        """Return the ticket with the fewest weights among those that fulfil a condition.

        Raises:
            PruningError: no ticket fulfils it.
        """
        fitting = [ticket for ticket in self if condition(ticket)]
        if not fitting:
            raise PruningError(f"none of the {len(self)} tickets fulfils the condition.")
        return min(fitting, key=lambda ticket: ticket.left)


def _brief(metrics: Metrics) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float))
