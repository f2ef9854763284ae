"""Tickets: the result of a level; saving, loading and applying them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lthprune.arguments import check_module, check_word, described
from lthprune.errors import PruningError, StorageError
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
    refuse_unreached,
    registered_buffers,
    restore,
    write_masks,
)
from lthprune.search.failures import Failure
from lthprune.search.lazy_states import Continued, Pruned, Read, Reread, pack_all, unpack_all
from lthprune.search.metrics import Metrics
from lthprune.search.ticket_files import Packed, Part, Source, TicketFile, write_ticket


@dataclass(frozen=True, eq=False, init=False)  # tensors have no truth value to compare by
class Ticket:
    """A sparse network: masks, and the weights to train it from.

    A ticket holds its masks packed, one bit for each weight. A ticket of a search with a store holds no tensors: it
    reads them from its file whenever they are asked for, and refuses a file that is no longer what was written.

    Args:
        level: as below, like the arguments after it.
        masks: boolean masks by name, or a function that reads them, as for ``weights`` and ``trained``.
        weights: tensors by name; or ``Continued``, which keeps no copy of the trained weights that it names.
        trained: tensors by name.
        metrics: none by default.
        provenance: empty by default.
        late_buffers: none by default.
        tied: none by default.

    Attributes:
        level: the pruning round; 0 is the dense network.
        metrics: what ``train`` returned: numbers, texts, arrays (as numpy's), or dicts of these.
        provenance: how the ticket was found: driver, scope, score, schedule, rewind, seed, trial.
        late_buffers: the names of the buffers that the model registered or filled in training, such as caches.
        tied: for every further name of a tied tensor, its name in ``masks``.
    """

    level: int
    metrics: Metrics
    provenance: dict[str, Any]
    late_buffers: tuple[str, ...]
    tied: dict[str, str]
    _counts: dict[str, Count] | None
    _packed: Packed | None  # None if the masks are in a file
    _pruned: Pruned | None  # None if the weights are in a file, or are no other ticket's trained ones
    _masks: Read
    _weights: Read
    _trained: Read

    def __init__(
        self,
        level: int,
        masks: Masks | Read,
        weights: State | Read | Continued,
        trained: State | Read,
        metrics: Metrics | None = None,
        provenance: dict[str, Any] | None = None,
        late_buffers: tuple[str, ...] = (),
        tied: dict[str, str] | None = None,
    ) -> None:
        self._set(level=level, metrics=metrics or {}, provenance=provenance or {})
        self._set(late_buffers=late_buffers, tied=tied or {}, _counts=None, _packed=None, _pruned=None)
        if not callable(masks):
            packed = pack_all(masks)
            self._set(_packed=packed, _counts=count(masks))
            masks = partial(unpack_all, packed)
        if isinstance(weights, Continued):
            pruned = Pruned(weights.trained, self._packed or {}, self.tied)
            self._set(_pruned=pruned)
            weights = partial(dict, pruned)
        self._let(masks, weights, trained)

    def _set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def _let(self, masks: Read, weights: State | Read, trained: State | Read) -> None:
        self._set(_masks=Reread(masks))
        self._set(_weights=Reread(weights) if callable(weights) else partial(_same, weights))
        self._set(_trained=Reread(trained) if callable(trained) else partial(_same, trained))

    def release(self, read: Callable[[Part], State]) -> None:
        """Let go of the tensors, which ``read`` reads from now on when they are asked for."""
        self._set(_counts=self.counts, _packed=None, _pruned=None)
        self._let(partial(read, "masks"), partial(read, "weights"), partial(read, "trained"))

    @property
    def trial(self) -> int:
        """The number of the trial, or of the model in its population; 0 if nothing says otherwise."""
        return int(self.provenance.get("trial", 0))

    @property
    def failure(self) -> Failure | None:
        """How the trained network has failed, if the training has said so in its metrics, as those of recipes do."""
        failed = self.metrics.get("failure")
        return None if failed is None else Failure(trial=self.trial, level=self.level, **failed)

    @property
    def masks(self) -> Masks:
        """For every prunable tensor, true where a weight is unpruned."""
        return self._masks()

    @property
    def weights(self) -> State:
        """The rewound weights and buffers that training starts from. Shared between tickets, so do not change them."""
        return self._weights()

    @property
    def trained(self) -> State:
        """The weights and buffers after training this ticket; pruned weights are zero."""
        return self._trained()

    def __repr__(self) -> str:
        metrics = f", metrics: {', '.join(self.metrics)}" if self.metrics else ""
        return f"<Ticket of level {self.level}: density {self.density:.2%}, {self.left:,} weights left{metrics}>"

    @property
    def counts(self) -> dict[str, Count]:
        """The numbers of remaining and of all weights of every prunable tensor."""
        counts = self._counts if self._counts is not None else count(self.masks)
        self._set(_counts=counts)
        return dict(counts)

    @property
    def left(self) -> int:
        """The number of remaining prunable weights."""
        return sum(tensor.left for tensor in self.counts.values())

    @property
    def density(self) -> float:
        """The fraction of prunable weights that remain, in [0, 1]: the paper's P_m."""
        return self.left / sum(tensor.total for tensor in self.counts.values())

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
        masks = self.masks
        if form == "torch":
            refuse_unreached(model, masks)
        live, what = live_state(model), f"the ticket of level {self.level}"
        late = {name: live[name] for name in self.late_buffers if name in live}  # keep those that the ticket lacks
        state = late | (self.weights if weights == "rewound" else self.trained)
        registered = registered_buffers(model) | set(self.late_buffers)
        check_fit(model, state, what=what, may_bring=self.late_buffers)
        first, masks = first_names(model), masks | {name: masks[own] for name, own in self.tied.items()}
        self._refuse_untied(first, masks)
        everything = {first[name]: torch.ones_like(mask) for name, mask in masks_of(model).items()}
        write_masks(model, everything | {first[name]: mask for name, mask in masks.items()}, form)
        restore(model, state, what=what, registered=registered)
        return model

    def _refuse_untied(self, first: Mapping[str, str], masks: Masks) -> None:
        """Refuse a model that ties parameters which differ in this ticket."""
        tied = {name: own for name, own in first.items() if name != own}
        states = (self.weights, self.trained) if tied else ()
        for name, own in tied.items():
            weights = all(torch.equal(state[name], state[own]) for state in states)
            if not weights or not _same_masks(masks.get(name), masks.get(own)):
                raise StorageError(
                    f"the ticket of level {self.level} does not fit: the model ties {own!r} and {name!r}, which are "
                    "different tensors in the ticket. Build the model as it was when the ticket was found."
                )

    def save(self, path: str | Path) -> Path:
        """Write the ticket to a safetensors file, masks packed to one bit per weight; see ``load_ticket``."""
        path = Path(path)
        self.write(path)
        return path

    def write(self, path: Path, sources: Sequence[Source] = ()) -> str:
        """Write the ticket to a file that may refer to ``sources`` in its folder, and return the file's SHA-256."""
        about = {
            "level": self.level,
            "provenance": self.provenance,
            "late_buffers": list(self.late_buffers),
            "tied": self.tied,
        }
        return write_ticket(
            path,
            about,
            masks=self._packed if self._packed is not None else pack_all(self.masks),
            weights=self.weights if self._pruned is None else self._pruned,
            trained=self.trained,
            metrics=self.metrics,
            sources=sources,
        )


def _same(state: State) -> State:
    return state


def _same_masks(one: Any, other: Any) -> bool:
    """Return whether two masks are equal; None stands for one that prunes nothing."""
    if one is None or other is None:
        return all(each is None or bool(each.all()) for each in (one, other))
    return torch.equal(one, other)


def load_ticket(path: str | Path) -> Ticket:
    """Read a ticket that ``Ticket.save`` wrote, or one of a store, whose files have to be together in their folder.

    Raises:
        StorageError: the file is missing, damaged or no ticket, or ``path`` is no path.
    """
    if not isinstance(path, str | Path):
        raise StorageError(f"a ticket is read from a file; name its path. This is {described(path)}.")
    file = TicketFile(Path(path))
    return Ticket(
        masks=file.read("masks"),
        weights=file.read("weights"),
        trained=file.read("trained"),
        metrics=file.read_metrics(),
        **file.about,
    )
