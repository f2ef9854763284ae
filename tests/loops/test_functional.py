"""Loops that call the model as a function of its parameters: ``functional_call``, ``torch.func.grad``, ``vmap``."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, jacrev, stack_module_state, vmap
from torch.nn.functional import cross_entropy

import lthprune
from lthprune.errors import PruningError
from tests.loops.checked import FORMS, batch_of, replay, same, search
from tests.nets import net


def fit(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(5):
        optimizer.zero_grad()
        inputs, labels = batch_of(step)
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()


def loss_at(parameters: dict[str, Tensor], model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(functional_call(model, parameters, (inputs,)), labels)


def functional(model: nn.Module) -> None:
    """Steps by ``torch.func.grad``; what is trained goes back into the model at the end."""
    parameters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    buffers = dict(model.named_buffers())
    for step in range(5):
        gradients, _ = grad_and_value(lambda moved, step=step: loss_at(moved | buffers, model, *batch_of(step)))(
            parameters
        )
        parameters = {name: tensor - 0.1 * gradients[name] for name, tensor in parameters.items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(parameters[name])


@pytest.mark.parametrize("form", FORMS)
def test_steps_by_torch_func_find_the_tickets_of_an_ordinary_loop(form: str) -> None:
    same(search(net(), functional, form=form), search(net(), fit))


def test_functional_parameters_that_are_dense_are_masked_where_they_are_read() -> None:
    def train(model: nn.Module) -> None:
        masks = lthprune.pruning.state.masks_of(model)
        inputs, labels = batch_of(0)
        dense = {name: torch.ones_like(parameter) for name, parameter in model.named_parameters()}
        masked = {name: tensor * masks.get(name, 1) for name, tensor in dense.items()}
        reference = functional_call(net(), masked, (inputs,))
        assert torch.equal(functional_call(model, dense, (inputs,)), reference)
        gradients = grad(loss_at)(dense, model, inputs, labels)
        assert all(not gradients[name][~mask].any() for name, mask in masks.items())
        assert all(parameter.data_ptr() for parameter in model.parameters())
        fit(model)

    replay(net, fit, search(net(), train))


def per_sample(model: nn.Module) -> None:
    """Gradients for every sample by ``vmap``, clipped one by one, as differentially private SGD does."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(5):
        inputs, labels = batch_of(step)
        parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
        buffers = dict(model.named_buffers())

        def loss(moved: dict[str, Tensor], x: Tensor, y: Tensor, buffers: Any = buffers) -> Tensor:
            return loss_at(moved | buffers, model, x.unsqueeze(0), y.unsqueeze(0))

        gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, inputs, labels)
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
        scale = (0.5 / torch.stack(squares).sum(0).sqrt()).clamp(max=1)
        for name, parameter in model.named_parameters():
            parameter.grad = torch.einsum("n,n...->...", scale, gradients[name]) / len(inputs)
        optimizer.step()


@pytest.mark.parametrize("form", FORMS)
def test_gradients_for_every_sample_are_those_of_surviving_weights(form: str) -> None:
    replay(net, per_sample, search(net(), per_sample, form=form))


def test_a_model_called_inside_a_transform_of_its_inputs_is_masked() -> None:
    def train(model: nn.Module) -> None:
        for parameter in model.parameters():
            parameter.data.add_(0.1)
        inputs, _ = batch_of(0)
        each = vmap(lambda x: model(x.unsqueeze(0)).squeeze(0), randomness="error")(inputs)
        jacobian = jacrev(lambda x: model(x).sum(0))(inputs)
        twin = lthprune.strip(copy.deepcopy(model))
        assert torch.allclose(each, twin(inputs), atol=1e-6)
        assert torch.allclose(jacobian, jacrev(lambda x: twin(x).sum(0))(inputs), atol=1e-6)
        fit(model)

    search(net(), train)


def ensemble(models: list[nn.Module]) -> None:
    """A population trained side by side by ``stack_module_state`` and ``vmap``."""
    parameters, buffers = stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(base, (parameters, buffers), (x,)), y)

    for step in range(4):
        inputs, labels = batch_of(step)
        gradients = vmap(grad(loss), in_dims=(0, 0, None, None))(parameters, buffers, inputs, labels)
        with torch.no_grad():
            for name, tensor in parameters.items():
                tensor.sub_(0.1 * gradients[name])
    with torch.no_grad():
        for index, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.copy_(parameters[name][index])


def views_are_batched() -> bool:
    """Whether ``torch.vmap`` supports views of another type, which that of torch 2.6 does not."""
    try:
        torch.vmap(lambda mask: mask.view(torch.uint8))(torch.ones(2, 3, dtype=torch.bool))
    except RuntimeError:
        return False
    return True


def test_a_stacked_ensemble_trains_in_torchs_form_as_its_models_do_alone() -> None:
    def one_by_one(models: list[nn.Module]) -> None:
        for model in models:
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            for step in range(4):
                optimizer.zero_grad()
                inputs, labels = batch_of(step)
                cross_entropy(model(inputs), labels).backward()
                optimizer.step()

    words: dict[str, Any] = {"levels": 2, "rate": 0.5}
    if not views_are_batched():
        with pytest.raises(RuntimeError, match="Batching rule not implemented"):
            lthprune.imp([net(seed=0), net(seed=1)], ensemble, form="torch", **words)
        return
    stacked = lthprune.imp([net(seed=0), net(seed=1)], ensemble, form="torch", **words)
    for one, other in zip(stacked, lthprune.imp([net(seed=0), net(seed=1)], one_by_one, **words), strict=True):
        same(one, other)


def test_a_stacked_ensemble_is_refused_in_the_plain_form() -> None:
    with pytest.raises(PruningError, match=r"comes from several models .*stack_module_state.*form=\"torch\""):
        lthprune.imp([net(seed=0), net(seed=1)], ensemble, levels=1, rate=0.5)


def test_a_compiled_functional_call_computes_with_the_masks() -> None:
    model = net()
    lthprune.prune(model, 0.5, form="plain")
    dense = {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}

    inputs, _ = batch_of(0)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(model, parameters, (inputs,)).square().sum()

    torch._dynamo.reset()
    parameters = dict(model.named_parameters())
    assert torch.compile(loss, backend="aot_eager")(dense).allclose(loss(dense))
    assert dict(model.named_parameters()) == parameters
