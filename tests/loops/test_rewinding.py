"""Rewinding of state outside the weights: schedulers, generators, and buffers registered during training."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau

import lthprune
from lthprune.pruning.state import live_state
from tests.loops.checked import FORMS, batch_of, loss_of, same, search
from tests.nets import all_bits, net

STEPS = 5
SCHEDULES = {
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, STEPS),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, 0.2, total_steps=STEPS + 1),
    "warm-up": lambda optimizer: LambdaLR(optimizer, lambda step: (step + 1) / STEPS),
}


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), 0.05, weight_decay=0.1)


def scheduled(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: object, rates: list[float]) -> None:
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(loss.detach())
        else:
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_scheduler_that_lives_on_starts_again_at_every_level(name: str, form: str) -> None:
    model, rates, expected = net(), [], []
    optimizer = adam(model)
    scheduler = SCHEDULES[name](optimizer)
    rewinder = lthprune.Rewinder(scheduler=scheduler)
    living = search(model, lambda m: scheduled(m, optimizer, scheduler, rates), form=form, rewind=rewinder)

    def train(model: nn.Module) -> None:
        optimizer = adam(model)
        scheduled(model, optimizer, SCHEDULES[name](optimizer), expected)

    same(living, search(net(), train, form=form))
    assert rates == pytest.approx(expected)


def test_a_scheduler_that_depends_on_losses_is_rewound_too() -> None:
    model, rates = net(), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=1.0)
    rewinder = lthprune.Rewinder(scheduler=scheduler)
    search(model, lambda m: scheduled(m, optimizer, scheduler, rates), rewind=rewinder)
    assert rates[:STEPS] == rates[STEPS : 2 * STEPS] == rates[2 * STEPS :]
    assert rates[0] > rates[STEPS - 1]


@pytest.mark.parametrize("form", FORMS)
def test_late_rewinding_with_a_living_optimiser_starts_each_level_alike(form: str) -> None:
    model = net("normalised")
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    rewinder = lthprune.Rewinder(at=2, optimizer=optimizer)
    starts: list[dict[str, Tensor]] = []

    def train(model: nn.Module) -> None:
        starts.append({name: tensor.clone() for name, tensor in live_state(model).items()})
        for step in range(rewinder.start, 6):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
            rewinder.step()

    tickets = search(model, train, form=form, rewind=rewinder)
    for ticket, start in list(zip(tickets, starts, strict=True))[1:]:
        for name, tensor in start.items():
            mask = ticket.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
            assert torch.equal(tensor[mask], ticket.weights[name][mask])


class Cached(nn.Module):
    """Registers a buffer, fills another and resizes a third in its first forward pass."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner, self.head = nn.Linear(16, 8), nn.Linear(8, 3)
        self.register_buffer("filled", None)
        self.register_buffer("resized", torch.zeros(0))

    def forward(self, inputs: Tensor) -> Tensor:
        if "registered" not in self._buffers:
            self.register_buffer("registered", torch.ones(8))
        if self.filled is None:
            self.filled = torch.zeros(8)
        if not len(self.resized):
            self.resized = torch.ones(8)
        hidden = torch.tanh(self.inner(inputs.flatten(1)))
        self.filled = 0.9 * self.filled + hidden.detach().mean(0)
        output = self.head(hidden * self.registered * self.resized - self.filled)
        assert isinstance(output, Tensor)
        return output


def fit(model: nn.Module) -> None:
    optimizer = adam(model)
    for step in range(4):
        optimizer.zero_grad()
        inputs, labels = batch_of(step)
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()


@pytest.mark.parametrize("form", FORMS)
def test_buffers_made_in_the_first_forward_pass_start_every_level_as_at_the_first(form: str) -> None:
    seen = []

    def train(model: nn.Module) -> None:
        seen.append((set(model._buffers) - {"inner", "head"}, model.filled, len(model.resized)))
        fit(model)

    tickets = search(Cached(), train, form=form)
    assert seen == [({"filled", "resized"}, None, 0)] * 3
    assert all({"registered", "filled", "resized"} <= ticket.trained.keys() for ticket in tickets)


class BrokenOffError(Exception):
    pass


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("broken_off_after", [1, 2])
def test_an_interrupted_search_of_such_a_model_continues(tmp_path: Path, broken_off_after: int, form: str) -> None:
    calls = []

    def broken(model: nn.Module) -> None:
        if len(calls) == broken_off_after:
            raise BrokenOffError
        calls.append(None)
        fit(model)

    words = {"levels": 2, "rate": 0.5, "form": form}
    with pytest.raises(BrokenOffError):
        lthprune.imp(Cached(), broken, store=tmp_path / "store", **words)
    resumed = lthprune.imp(Cached(), fit, store=tmp_path / "store", **words)
    whole = lthprune.imp(Cached(), fit, **words)
    for one, other in zip(resumed, whole, strict=True):
        assert all_bits(one.masks) == all_bits(other.masks)
        assert all_bits(one.trained) == all_bits(other.trained)


def test_a_finished_search_of_such_a_model_is_read_from_its_store(tmp_path: Path) -> None:
    words = {"levels": 1, "rate": 0.5, "store": tmp_path / "store"}
    found = lthprune.imp(Cached(), fit, **words)
    model = Cached()
    again = lthprune.imp(model, fit, **words)
    assert all_bits(again[1].trained) == all_bits(found[1].trained)
    assert model.registered is not None


def test_a_search_that_rewinds_to_after_the_first_forward_pass_continues_too(tmp_path: Path) -> None:
    calls = []

    def broken(model: nn.Module) -> None:
        calls.append(None)
        if len(calls) == 2:
            raise BrokenOffError
        late(model)

    rewinder = lthprune.Rewinder(at=1)

    def late(model: nn.Module) -> None:
        optimizer = adam(model)
        for step in range(rewinder.start, 4):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
            rewinder.step()

    with pytest.raises(BrokenOffError):
        lthprune.imp(Cached(), broken, levels=1, rate=0.5, store=tmp_path / "store", rewind=rewinder)
    rewinder = lthprune.Rewinder(at=1)
    lthprune.imp(Cached(), late, levels=1, rate=0.5, store=tmp_path / "store", rewind=rewinder)


def test_a_ticket_of_such_a_model_goes_onto_one_that_was_called_and_onto_one_that_was_not() -> None:
    ticket = lthprune.imp(Cached(), fit, levels=1, rate=0.5)[1]
    called = Cached()
    called(batch_of(0)[0])
    inputs = batch_of(1)[0]
    expected = ticket.apply(called, "trained")(inputs)
    assert torch.equal(ticket.apply(Cached(), "trained")(inputs), expected)
