"""Trained supermasks: what is drawn, what is learned, and what stays as it is."""

import copy

import pytest
import torch
from torch import nn

import lthprune
from lthprune.data import DataSpec, load_data
from lthprune.errors import PruningError
from lthprune.pruning import snapshot
from lthprune.search import Supermask
from lthprune.training import TrainingPlan, evaluate, train
from tests.nets import all_bits


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))


def test_the_gradient_of_a_score_is_that_of_its_probability_whatever_was_drawn() -> None:
    layer = nn.Linear(3, 2, bias=False)
    inputs = torch.tensor([[1.0, -2.0, 3.0]])
    for seed in range(4):
        learner = Supermask(layer, density=0.3, rescale=False, generator=seeded(seed))
        learner(inputs).sum().backward()
        (scores,) = learner.scores
        assert torch.allclose(scores.grad, inputs * layer.weight.detach() * 0.3 * 0.7, atol=1e-6)


def test_the_gradient_of_rescaled_weights_includes_that_of_the_factor() -> None:
    layer, inputs = nn.Linear(3, 2, bias=False).double(), torch.tensor([[1.0, -2.0, 3.0]]).double()
    learner = Supermask(layer, generator=seeded(5))
    learner(inputs).sum().backward()
    mask = Supermask(layer, generator=seeded(5)).masks()["weight"].double()  # the same draw
    chances = mask.clone().requires_grad_()  # d mask / d chance is 1
    (inputs * layer.weight.detach() * chances * 6 / chances.sum()).sum().backward()
    assert chances.grad is not None
    assert torch.allclose(learner.scores[0].grad, chances.grad * 0.25)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_a_ticket_computes_what_the_network_computes_with_the_same_draw(rescale: bool, constant: bool) -> None:
    model = network()
    learner, again = (Supermask(model, rescale=rescale, constant=constant, generator=seeded(2)) for _ in range(2))
    inputs = torch.randn(5, 1, 5, 5, generator=seeded())
    ticket = again.eval().ticket()
    applied = ticket.apply(copy.deepcopy(model)).eval()
    assert torch.allclose(applied(inputs), learner.eval()(inputs), atol=1e-6)
    for name, mask in ticket.masks.items():
        assert (ticket.trained[name][~mask] == 0).all()
        values = ticket.trained[name][mask].abs()
        assert constant == bool(torch.allclose(values, values[0].expand_as(values)))
        deviation = snapshot(model)[name].std(correction=0)
        if constant:
            factor = mask.numel() / mask.sum() if rescale else 1
            assert torch.allclose(values[0], deviation * factor)


def test_weights_remain_with_the_probability_that_was_given() -> None:
    learner = Supermask(nn.Linear(200, 100), density=0.2, generator=seeded())
    drawn = torch.stack([learner.masks()["weight"] for _ in range(5)]).float()
    assert float(drawn.mean()) == pytest.approx(0.2, abs=0.01)
    assert float(drawn.std(0).mean()) > 0


def test_training_changes_the_scores_alone_and_draws_from_the_generator_alone() -> None:
    model = network()
    before, state = all_bits(snapshot(model)), torch.get_rng_state()
    learner = Supermask(model, generator=seeded())
    optimizer = torch.optim.SGD(learner.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
    frozen = {name: values.clone() for name, values in learner.network.named_parameters()}
    for seed in range(3):
        optimizer.zero_grad()
        learner(torch.randn(5, 1, 5, 5, generator=seeded(seed))).square().mean().backward()
        optimizer.step()
    assert all_bits(snapshot(model)) == before
    assert all(values.equal(frozen[name]) for name, values in learner.network.named_parameters())
    assert all(scores.abs().max() > 0 for scores in learner.scores)
    assert torch.get_rng_state().equal(state)


def test_masks_of_frozen_random_weights_learn_digits_by_the_bundled_loop() -> None:
    digits = load_data(DataSpec(name="digits", validation=237))
    recipe = lthprune.load_recipe("lenet-digits")
    model = recipe.build_model(digits.input_shape, digits.outputs, 0)
    learner = Supermask(model, constant=True, generator=seeded())
    before = evaluate(learner, digits.x_test, digits.y_test, digits.tasks).acc
    plan = TrainingPlan(optimizer="adam", lr=0.1, batch_size=60, steps=150, evaluate_every=150)
    train(learner, digits, plan, seeded())
    assert before < 0.3
    assert evaluate(learner, digits.x_test, digits.y_test, digits.tasks).acc > 0.85


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.second(self.first(inputs).relu())
        return outputs


def test_the_ticket_of_tied_weights_fits_a_network_that_ties_them() -> None:
    learner = Supermask(Tied(), generator=seeded(1))
    learner_again = Supermask(learner.network, generator=seeded(1))
    ticket, inputs = learner.ticket(), torch.randn(3, 4)
    assert ticket.tied == {"second.weight": "first.weight"}
    assert torch.equal(ticket.apply(Tied())(inputs), learner_again(inputs))


def test_a_pruned_model_and_a_density_without_a_score_are_refused() -> None:
    for density in (0, 1):
        with pytest.raises(PruningError, match=f"density = {density}"):
            Supermask(nn.Linear(3, 2), density=density)
    for form in ("torch", "plain"):
        model = nn.Linear(8, 8)
        lthprune.prune(model, 0.5, form=form)
        with pytest.raises(PruningError, match="needs a dense model"):
            Supermask(model)
