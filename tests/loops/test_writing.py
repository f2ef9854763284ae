"""Loops that write to the weights themselves: projections, steps written by hand, noise, new initialisations."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import lthprune
from lthprune.errors import PruningError
from tests.loops.checked import FORMS, Train, loss_of, replay, search
from tests.nets import net


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def stepping(
    before: Callable[[nn.Module], object] = lambda model: None,
    after: Callable[[nn.Module], object] = lambda model: None,
    penalty: Callable[[nn.Module], Tensor | float] = lambda model: 0.0,
    top: Callable[[nn.Module], object] = lambda model: None,
) -> Train:
    def train(model: nn.Module) -> None:
        top(model)
        optimizer = sgd(model)
        for step in range(5):
            before(model)
            optimizer.zero_grad()
            extra = penalty(model)
            (loss_of(model, step) + extra).backward()
            optimizer.step()
            after(model)

    return train


def weights(model: nn.Module) -> list[Tensor]:
    return [model[1].weight, model[3].weight, model[5].weight]


def originals(model: nn.Module) -> list[Tensor]:
    """The same tensors on a model that torch prunes."""
    return [getattr(model[index], "weight_orig", model[index].weight) for index in (1, 3, 5)]


def clamped(of: Callable[[nn.Module], list[Tensor]]) -> Callable[[nn.Module], None]:
    def clamp(model: nn.Module) -> None:
        with torch.no_grad():
            for weight in of(model):
                weight.clamp_(-0.3, 0.3)

    return clamp


def test_clamped_weights_stay_clamped() -> None:
    tickets = search(net(), stepping(after=clamped(weights)))
    assert all(float(ticket.trained[name].abs().max()) < 0.3001 for ticket in tickets for name in ticket.masks)
    replay(net, stepping(after=clamped(originals)), tickets)


def limited(of: Callable[[nn.Module], list[Tensor]]) -> Callable[[nn.Module], None]:
    def limit(model: nn.Module) -> None:
        for weight in of(model):
            weight.data.mul_((0.4 / weight.data.norm(dim=1, keepdim=True)).clamp(max=1))

    return limit


def test_a_limit_of_the_norm_written_through_data_holds() -> None:
    tickets = search(net(), stepping(after=limited(weights)))
    for ticket in tickets:
        assert all(float(ticket.trained[name].norm(dim=1).max()) <= 0.4001 for name in ticket.masks)
    replay(net, stepping(after=limited(originals)), tickets)


@pytest.mark.parametrize("write", [clamped(weights), lambda model: model[1].reset_parameters()])
def test_writes_to_layer_weights_are_refused_in_torchs_form(write: Callable[[nn.Module], None]) -> None:
    with pytest.raises(PruningError, match=r"'weight' of a Linear in torch's pruned form was written to.*weight_orig"):
        lthprune.imp(net(), stepping(before=write), levels=1, rate=0.5, form="torch")


def test_a_write_after_the_last_forward_pass_is_refused_in_torchs_form() -> None:
    with pytest.raises(PruningError, match=r"'weight' of a Linear in torch's pruned form was written to.*weight_orig"):
        lthprune.imp(net(), stepping(after=clamped(weights)), levels=1, rate=0.5, form="torch")


def test_a_limit_of_the_norm_written_through_data_is_refused_in_torchs_form() -> None:
    with pytest.raises(PruningError, match="was written to"):
        lthprune.imp(net(), stepping(after=limited(weights)), levels=1, rate=0.5, form="torch")


def by_hand(*, lives_on: bool, through_data: bool, momentum: float = 0.9) -> Train:
    """SGD with momentum written by hand; no hook of an optimiser runs."""
    buffers: dict[nn.Parameter, Tensor] = {}

    def train(model: nn.Module) -> None:
        if not lives_on:
            buffers.clear()
        for step in range(5):
            model.zero_grad()
            loss_of(model, step).backward()
            for parameter in model.parameters():
                assert parameter.grad is not None
                buffer = buffers.setdefault(parameter, torch.zeros_like(parameter))
                buffer.mul_(momentum).add_(parameter.grad)
                if through_data:
                    parameter.data.add_(buffer, alpha=-0.1)
                else:
                    with torch.no_grad():
                        parameter -= 0.1 * buffer

    return train


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("through_data", [False, True])
@pytest.mark.parametrize("lives_on", [False, True])
def test_steps_written_by_hand_bring_back_no_weight(lives_on: bool, through_data: bool, form: str) -> None:
    words = {"lives_on": lives_on, "through_data": through_data}
    replay(net, by_hand(**words), search(net(), by_hand(**words), form=form))


def by_autograd(model: nn.Module) -> None:
    parameters = list(model.parameters())
    for step in range(5):
        gradients = torch.autograd.grad(loss_of(model, step), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.2 * gradient + 0.002 * parameter


@pytest.mark.parametrize("form", FORMS)
def test_gradients_asked_of_autograd_are_masked(form: str) -> None:
    replay(net, by_autograd, search(net(), by_autograd, form=form))


def reset(model: nn.Module) -> None:
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()


def initialised(model: nn.Module) -> None:
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
            nn.init.uniform_(layer.bias)


@pytest.mark.parametrize("fresh_weights", [reset, initialised])
def test_a_new_initialisation_at_the_top_of_train_is_one(fresh_weights: Callable[[nn.Module], None]) -> None:
    drawn: list[dict[str, Tensor]] = []

    def train(model: nn.Module) -> None:
        torch.manual_seed(100 + len(drawn))
        fresh_weights(model)
        drawn.append({name: parameter.detach().clone() for name, parameter in model.named_parameters()})
        stepping()(model)

    tickets = search(net(), train)
    fresh = net()
    for level, ticket in enumerate(tickets):
        torch.manual_seed(100 + level)
        fresh_weights(fresh)
        expected = dict(fresh.named_parameters())
        for name, tensor in drawn[level].items():
            assert torch.equal(tensor, expected[name])
            assert not torch.equal(tensor, ticket.weights[name])
        trained = net()
        trained.load_state_dict(drawn[level])
        for name, mask in ticket.masks.items():
            torch.nn.utils.prune.custom_from_mask(trained.get_submodule(name.rpartition(".")[0]), "weight", mask)
        stepping()(trained)
        for name, mask in ticket.masks.items():
            weight = trained.get_parameter(f"{name}_orig")
            torch.testing.assert_close(weight[mask], ticket.trained[name][mask])


def l1(of: Callable[[nn.Module], list[Tensor]]) -> Callable[[nn.Module], Tensor]:
    return lambda model: 0.01 * sum((weight.abs().sum() for weight in of(model)), torch.zeros(()))


def test_an_l1_penalty_computed_before_the_forward_pass_trains_every_level() -> None:
    replay(net, stepping(penalty=l1(originals)), search(net(), stepping(penalty=l1(weights))))


def test_an_l1_penalty_of_layer_weights_before_the_forward_pass_is_refused_in_torchs_form() -> None:
    with pytest.raises(PruningError, match=r"a gradient reached '\d\.weight'.*'\d\.weight_orig' is a parameter"):
        lthprune.imp(net(), stepping(penalty=l1(weights)), levels=1, rate=0.5, form="torch")


def test_the_gradient_of_a_layers_weight_can_be_read_at_every_level() -> None:
    norms: list[float] = []
    tickets = search(net(), stepping(after=lambda model: norms.append(float(model[1].weight.grad.norm()))))
    assert len(norms) == 5 * len(tickets)
    assert all(norm > 0 for norm in norms)


def noise(model: nn.Module, seed: int) -> list[Tensor]:
    """The same for the same layer, in whatever order the parameters come."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {len(parameter): torch.randn(parameter.shape, generator=generator) for parameter in net().parameters()}
    return [0.05 * drawn[len(parameter)].reshape(parameter.shape[0], -1)[:, :1] for parameter in model.parameters()]


def test_noise_on_gradients_and_on_weights_reaches_surviving_weights_only() -> None:
    def train(model: nn.Module) -> None:
        optimizer = sgd(model)
        for step in range(5):
            clean = [parameter.detach().clone() for parameter in model.parameters()]
            with torch.no_grad():
                for parameter, drawn in zip(model.parameters(), noise(model, step), strict=True):
                    parameter.add_(drawn.reshape(-1, *[1] * (parameter.ndim - 1)))
            optimizer.zero_grad()
            loss_of(model, step).backward()
            with torch.no_grad():
                for parameter, value in zip(model.parameters(), clean, strict=True):
                    parameter.copy_(value)
            for parameter, drawn in zip(model.parameters(), noise(model, 100 + step), strict=True):
                parameter.grad.add_(drawn.reshape(-1, *[1] * (parameter.ndim - 1)))
            optimizer.step()

    replay(net, train, search(net(), train))


def test_pretrained_weights_loaded_at_the_top_of_train_are_masked() -> None:
    pretrained = {name: tensor.clone() for name, tensor in net(seed=5).state_dict().items()}
    tickets = search(net(), stepping(top=lambda model: model.load_state_dict(pretrained)))
    for ticket in tickets:
        model = net(seed=5)
        for name, mask in ticket.masks.items():
            torch.nn.utils.prune.custom_from_mask(model.get_submodule(name.rpartition(".")[0]), "weight", mask)
        stepping()(model)
        for name, mask in ticket.masks.items():
            torch.testing.assert_close(model.get_parameter(f"{name}_orig")[mask], ticket.trained[name][mask])
