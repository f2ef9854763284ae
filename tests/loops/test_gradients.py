"""Loops that treat gradients specially: accumulated, clipped, scaled, recomputed, applied one by one."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import lthprune
from tests.loops.checked import FORMS, Train, batch_of, loss_of, replay, same, search
from tests.nets import net


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)


def fit(model: nn.Module) -> None:
    optimizer = sgd(model)
    for step in range(5):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [sgd, lambda model: torch.optim.AdamW(model.parameters(), 0.05)])
def test_accumulated_gradients_step_as_those_of_the_whole_batch(
    make: Callable[[nn.Module], torch.optim.Optimizer], form: str
) -> None:
    def train(parts: int) -> Train:
        def accumulate(model: nn.Module) -> None:
            optimizer = make(model)
            for step in range(4):
                optimizer.zero_grad()
                inputs, labels = batch_of(step, size=8)
                for x, y in zip(inputs.chunk(parts), labels.chunk(parts), strict=True):
                    (cross_entropy(model(x), y) / parts).backward()
                optimizer.step()

        return accumulate

    tickets = search(net(), train(4), form=form)
    replay(net, train(4), tickets)
    same(tickets, search(net(), train(1), form=form), rtol=1e-4, atol=1e-5)


CLIPS: dict[str, Callable[[nn.Module], Any]] = {
    "norm": lambda model: torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1),
    "norm, for each": lambda model: torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1, foreach=True),
    "largest": lambda model: torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05, norm_type=float("inf")),
    "value": lambda model: torch.nn.utils.clip_grad_value_(model.parameters(), 0.01),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CLIPS)
def test_gradients_are_clipped_by_the_norm_of_surviving_weights(name: str, form: str) -> None:
    norms: list[float] = []

    def train(model: nn.Module) -> None:
        optimizer = sgd(model)
        for step in range(5):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            norms.append(float(CLIPS[name](model) or 0))
            optimizer.step()

    tickets = search(net(), train, form=form)
    replay(net, train, tickets)
    found, expected = norms[: len(norms) // 2], norms[len(norms) // 2 :]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected))


def test_the_clipped_norm_is_that_of_masks_multiplied_by_hand() -> None:
    """Not by torch's pruning: by a functional call with products."""
    norms: list[tuple[float, float]] = []

    def train(model: nn.Module) -> None:
        masks = lthprune.pruning.state.masks_of(model)
        loss_of(model, 0).backward()
        dense = {name: tensor.detach().requires_grad_() for name, tensor in model.named_parameters()}
        products = {name: tensor * masks.get(name, 1) for name, tensor in dense.items()}
        inputs, labels = batch_of(0)
        outputs = torch.func.functional_call(copy.deepcopy(lthprune.strip(copy.deepcopy(model))), products, (inputs,))
        gradients = torch.autograd.grad(cross_entropy(outputs, labels), list(dense.values()))
        expected = torch.stack([gradient.norm() for gradient in gradients]).norm()
        norms.append((float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)), float(expected)))
        fit(model)

    search(net(), train)
    assert len(norms) == 3
    assert all(found == pytest.approx(expected, rel=1e-6) for found, expected in norms)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scaled", [False, True])
def test_autocast_with_a_scaler_trains_surviving_weights_only(scaled: bool, form: str) -> None:
    def train(model: nn.Module) -> None:
        optimizer = sgd(model)
        scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=2.0**40, growth_interval=2)
        for step in range(8):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, step)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()

    tickets = search(net(), train, form=form)
    replay(net, train, tickets)


class Checkpointed(nn.Sequential):
    """Computes its forward pass again in the backward pass."""

    reentrant = False

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = checkpoint(super().forward, inputs.requires_grad_(), use_reentrant=self.reentrant)
        assert isinstance(hidden, Tensor)
        return hidden


class Reentrant(Checkpointed):
    reentrant = True


@pytest.mark.parametrize("kind", [Checkpointed, Reentrant])
def test_a_checkpointed_model_finds_the_tickets_of_the_plain_one(kind: type[Checkpointed]) -> None:
    same(search(kind(*net()), fit), search(net(), fit))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("by_hand", [False, True])
def test_layers_checkpointed_by_the_loop_find_the_same_tickets(reentrant: bool, by_hand: bool) -> None:
    def train(model: nn.Module) -> None:
        optimizer = sgd(model)
        for step in range(5):
            optimizer.zero_grad()
            inputs, labels = batch_of(step)
            if by_hand:
                hidden = inputs.requires_grad_()
                for layer in model:
                    hidden = checkpoint(layer, hidden, use_reentrant=reentrant)
            else:
                hidden = checkpoint_sequential(model, 2, inputs.requires_grad_(), use_reentrant=reentrant)
            cross_entropy(hidden, labels).backward()
            optimizer.step()

    same(search(net(), train), search(net(), fit))


@pytest.mark.parametrize("form", FORMS)
def test_an_optimiser_for_each_parameter_that_steps_in_the_backward_pass(form: str) -> None:
    def train(model: nn.Module) -> None:
        optimizers = {
            parameter: torch.optim.SGD([parameter], 0.1, momentum=0.9, weight_decay=0.1)
            for parameter in model.parameters()
        }

        def step_now(parameter: Tensor) -> None:
            optimizers[parameter].step()
            optimizers[parameter].zero_grad()

        handles = [parameter.register_post_accumulate_grad_hook(step_now) for parameter in optimizers]
        for step in range(5):
            loss_of(model, step).backward()
        for handle in handles:
            handle.remove()

    same(search(net(), train, form=form), search(net(), fit))


def test_two_forward_passes_before_one_backward_pass() -> None:
    def train(model: nn.Module) -> None:
        optimizer = sgd(model)
        for step in range(4):
            optimizer.zero_grad()
            (loss_of(model, step) + loss_of(model, step + 10)).backward()
            optimizer.step()

    replay(net, train, search(net(), train))


def test_two_backward_passes_through_one_graph() -> None:
    def train(model: nn.Module) -> None:
        optimizer = sgd(model)
        for step in range(4):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward(retain_graph=True)
            loss.backward()
            optimizer.step()

    replay(net, train, search(net(), train))


def test_gradients_of_gradients_are_masked() -> None:
    """A gradient penalty, which differentiates twice through surviving weights."""

    def train(model: nn.Module) -> None:
        optimizer = sgd(model)
        for step in range(4):
            optimizer.zero_grad()
            inputs, labels = batch_of(step)
            loss = cross_entropy(model(inputs.requires_grad_()), labels)
            (gradient,) = torch.autograd.grad(loss, inputs, create_graph=True)
            parameters = list(model.parameters())
            penalty = sum(each.square().sum() for each in torch.autograd.grad(loss, parameters, create_graph=True))
            (loss + gradient.square().sum() + 0.1 * penalty).backward()
            optimizer.step()

    replay(net, train, search(net(), train))


def test_sharpness_aware_steps_use_surviving_weights_only() -> None:
    """SAM: a step towards higher loss and back, with a forward pass in between."""

    def train(model: nn.Module) -> None:
        optimizer = sgd(model)
        parameters = [parameter for _, parameter in sorted(model.named_parameters(), key=lambda named: named[0])]
        for step in range(4):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            norm = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
            up = [0.05 * parameter.grad / norm for parameter in parameters]
            with torch.no_grad():
                for parameter, move in zip(parameters, up, strict=True):
                    parameter.add_(move)
            optimizer.zero_grad()
            loss_of(model, step).backward()
            with torch.no_grad():
                for parameter, move in zip(parameters, up, strict=True):
                    parameter.sub_(move)
            optimizer.step()

    replay(net, train, search(net(), train))
