"""Loops with an optimiser of ``torch.optim``: created in ``train``, or kept over the levels."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import lthprune
from lthprune.errors import PruningError
from tests.loops.checked import FORMS, Train, loss_of, replay, search
from tests.nets import net

MADE: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.05, weight_decay=0.1),
    "adamw, for each": lambda parameters: torch.optim.AdamW(parameters, 0.05, weight_decay=0.1, foreach=True),
    "adamw, fused": lambda parameters: torch.optim.AdamW(parameters, 0.05, weight_decay=0.1, fused=True),
}


def stepping(optimizer_for: Callable[[nn.Module], torch.optim.Optimizer], steps: int = 5) -> Train:
    """A loop that asks for its optimiser at the start of every training."""

    def train(model: nn.Module) -> None:
        optimizer = optimizer_for(model)
        for step in range(steps):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()

    return train


def made_once(make: Callable[..., torch.optim.Optimizer]) -> Train:
    """A loop whose optimiser is made at its first call and lives on, with its momentum."""
    kept: list[torch.optim.Optimizer] = []

    def optimizer_for(model: nn.Module) -> torch.optim.Optimizer:
        if not kept:
            kept.append(make(model.parameters()))
        return kept[0]

    return stepping(optimizer_for)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MADE)
def test_an_optimiser_made_in_train_trains_each_ticket_as_torchs_pruning_does(name: str, form: str) -> None:
    def train() -> Train:
        return stepping(lambda model: MADE[name](model.parameters()))

    replay(net, train(), search(net(), train(), form=form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MADE)
def test_an_optimiser_that_lives_on_over_levels_brings_back_no_weight(name: str, form: str) -> None:
    replay(net, made_once(MADE[name]), search(net(), made_once(MADE[name]), form=form))


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_both_forms_find_the_same_tickets(name: str) -> None:
    plain, torchs = (search(net("normalised"), made_once(MADE[name]), form=form) for form in FORMS)
    for one, other in zip(plain, torchs, strict=True):
        for key, mask in one.masks.items():
            assert torch.equal(mask, other.masks[key])
            assert torch.equal(one.trained[key], other.trained[key])


def test_an_optimiser_made_before_the_search_trains_every_level() -> None:
    def prepared(model: nn.Module) -> Train:
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
        return stepping(lambda model: optimizer)

    model, reference = net(), net()
    replay(lambda: reference, prepared(reference), search(model, prepared(model)))


def of_layer_weights(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([model[1].weight, model[3].weight, model[5].weight], 0.1, momentum=0.9)


def test_an_optimiser_built_from_layer_weights_trains_every_level() -> None:
    tickets = search(net(), stepping(of_layer_weights))
    replay(net, stepping(lambda model: torch.optim.SGD(weights_of(model), 0.1, momentum=0.9)), tickets)


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in model.named_parameters() if "weight" in name]


def test_an_optimiser_built_from_layer_weights_is_refused_in_torchs_form() -> None:
    with pytest.raises(PruningError, match=r"the optimizer holds '1\.weight'.*model\.parameters\(\).*form=\"plain\""):
        lthprune.imp(net(), stepping(of_layer_weights), levels=1, rate=0.5, form="torch")


def by_name(model: nn.Module) -> torch.optim.Optimizer:
    named = list(model.named_parameters())
    decayed = [parameter for name, parameter in named if name.endswith("weight")]
    others = [parameter for name, parameter in named if not name.endswith("weight")]
    assert (len(decayed), len(others)) == (3, 3)
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}], 0.05)


def test_decay_groups_chosen_by_name_are_the_same_at_every_level() -> None:
    def reference(model: nn.Module) -> torch.optim.Optimizer:
        groups = {
            decay: [parameter for name, parameter in model.named_parameters() if ("weight" in name) == bool(decay)]
            for decay in (0.3, 0.0)
        }
        groups_of = [{"params": group, "weight_decay": decay} for decay, group in groups.items()]
        return torch.optim.AdamW(groups_of, 0.05)

    replay(net, stepping(reference), search(net(), stepping(by_name)))


def test_parameters_that_are_frozen_for_a_while_train_when_they_are_unfrozen() -> None:
    def train(model: nn.Module) -> None:
        optimizer = torch.optim.AdamW(model.parameters(), 0.05)
        for step in range(6):
            for parameter in model[1].parameters():
                parameter.requires_grad_(step >= 3)
            optimizer.zero_grad(set_to_none=step != 3)
            loss_of(model, step).backward()
            optimizer.step()

    tickets = search(net(), train)
    replay(net, train_unfrozen_by_original, tickets)


def train_unfrozen_by_original(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), 0.05)
    for step in range(6):
        for parameter in model[1].parameters():
            parameter.requires_grad_(step >= 3)
        optimizer.zero_grad(set_to_none=step != 3)
        loss_of(model, step).backward()
        optimizer.step()


def test_layers_frozen_before_the_search_and_unfrozen_in_it_are_masked_too() -> None:
    def train(model: nn.Module) -> None:
        model.requires_grad_(True)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for step in range(4):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            for name, mask in lthprune.pruning.state.masks_of(model).items():
                assert not model.get_parameter(name).grad[~mask].any(), name
            optimizer.step()
        model[1].requires_grad_(False)

    search(net().requires_grad_(False), train)
