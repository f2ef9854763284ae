"""A search with checks during every training, and a plain reference that trains the same tickets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune as torch_prune

import lthprune
from lthprune.pruning.state import live_state, masks_of, snapshot
from lthprune.search.collection import Tickets
from lthprune.search.tickets import Ticket
from tests.nets import CLASSES

Train = Callable[[Any], Any]
FORMS = ("plain", "torch")
LEVELS, RATE = 2, 0.5


def search(
    model: nn.Module, train: Train, *, form: str = "plain", levels: int = LEVELS, spied: bool = True, **words: Any
) -> Tickets:
    """Search as a user would, and assert that every level was right.

    Args:
        model: what to search.
        train: the loop.
        form: the form of the model while it trains.
        levels: how many.
        spied: whether to look at the weights during every forward pass, by a hook on the layers, which
            ``torch.compile`` would have to trace.
        words: what else ``imp`` takes.
    """
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    passes = []

    def watched(model: nn.Module) -> Any:
        masks = masks_of(model)
        if form == "plain":
            assert {name: id(parameter) for name, parameter in model.named_parameters()} == before
        with spying(model, masks) if spied else unspied() as seen:
            metrics = train(model)
        if form == "plain":
            assert {name: id(parameter) for name, parameter in model.named_parameters()} == before
        passes.append(seen)
        return metrics

    def check(ticket: Ticket) -> None:
        weights = live_state(model) if form == "plain" else computed_with(model)
        assert {name: int(mask.sum()) for name, mask in ticket.masks.items()} == {
            name: int((weights[name] != 0).sum()) for name in ticket.masks
        }
        assert all(not bool((weights[name] != 0)[~mask].any()) for name, mask in ticket.masks.items())
        for name, mask in ticket.masks.items():
            assert mask.any()
            assert not torch.equal(ticket.weights[name][mask], ticket.trained[name][mask]), f"{name} has not moved"

    words = {"rate": RATE, "final_form": form} | words
    tickets = lthprune.imp(model, watched, levels=levels, form=form, on_level=check, **words)
    assert [ticket.level for ticket in tickets] == list(range(levels + 1))
    if spied:
        assert all(seen for seen in passes), "a training without a forward pass"
    return tickets


@contextmanager
def spying(model: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Assert during every forward pass that each layer computes with zeros where its mask has them."""
    seen: list[str] = []
    handles = []
    for name, module in model.named_modules():
        own = {key.rpartition(".")[2]: mask for key, mask in masks.items() if key.rpartition(".")[0] == name}
        if module._parameters:
            handles.append(module.register_forward_hook(_Spy(name, own, seen)))
    yield seen
    for handle in handles:
        handle.remove()


@contextmanager
def unspied() -> Iterator[list[str]]:
    yield []


class _Spy:
    """A hook that looks at a layer's weights after its forward pass; with a class, models can be pickled."""

    def __init__(self, name: str, masks: Mapping[str, Tensor], seen: list[str]) -> None:
        self.name, self.masks, self.seen = name, masks, seen

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.seen.append(self.name)
        for attribute, mask in self.masks.items():
            with torch.no_grad():
                pruned = torch.where(mask, 0, getattr(module, attribute).detach())
                assert not bool((pruned != 0).any()), f"{self.name}.{attribute} computes with weights that are pruned"


def computed_with(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that each layer computes with; in torch's form, the product."""
    lthprune.pruning.refresh(model)
    return {
        f"{name}.{attribute}".strip("."): getattr(module, attribute).detach()
        for name, module in model.named_modules()
        for attribute in ("weight", "bias")
        if isinstance(getattr(module, attribute, None), Tensor)
    }


def replay(build: Callable[[], nn.Module], train: Train, tickets: Tickets) -> None:
    """Train the tickets again on a model that ``torch.nn.utils.prune`` masks, and compare the trained weights.

    ``train`` must be a fresh one: what lives on over the levels, optimisers say, belongs to one model.
    """
    model = build()
    for ticket in tickets:
        reference = trained_by_torch(model, ticket, train)
        for name, weights in ticket.trained.items():
            torch.testing.assert_close(
                reference[name], weights, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )


def trained_by_torch(model: nn.Module, ticket: Ticket, train: Train) -> dict[str, Tensor]:
    """Train a ticket by torch's own pruning, on a model that this was called with before or on a fresh one."""
    for name, mask in ticket.masks.items():
        layer, _, attribute = name.rpartition(".")
        module = model.get_submodule(layer)
        if mask.all():
            continue
        if hasattr(module, f"{attribute}_mask"):
            getattr(module, f"{attribute}_mask").copy_(mask)
        else:
            torch_prune.custom_from_mask(module, attribute, mask)
    with torch.no_grad():
        for name, tensor in live_state(model).items():
            tensor.copy_(ticket.weights[name] * ticket.masks.get(name, 1))
    model.zero_grad(set_to_none=True)
    train(model)
    return snapshot(model)


def loss_of(model: nn.Module, step: int, *, size: int = 6) -> Tensor:
    inputs, labels = batch_of(step, size)
    return cross_entropy(model(inputs), labels)


def batch_of(step: int, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(size, 1, 4, 4, generator=generator), torch.randint(CLASSES, (size,), generator=generator)


def same(one: Tickets, other: Tickets, **tolerance: float) -> None:
    """Assert that two searches found the same tickets."""
    for mine, theirs in zip(one, other, strict=True):
        for name, mask in mine.masks.items():
            assert torch.equal(mask, theirs.masks[name]), name
        for name, weights in mine.trained.items():
            torch.testing.assert_close(weights, theirs.trained[name], **({"rtol": 1e-5, "atol": 1e-6} | tolerance))
