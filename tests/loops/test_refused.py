"""Loops that work with other tensors than the model's, or convert them: refused, by name, never silently wrong."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

import lthprune
from lthprune.errors import PruningError
from lthprune.pruning.state import masks_of
from tests.loops.checked import FORMS, batch_of, loss_of, replay, same, search
from tests.nets import net


def fit(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for step in range(4):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def imp(train: Callable[[nn.Module], object], **words: object) -> lthprune.Tickets:
    return lthprune.imp(net("normalised"), train, levels=2, rate=0.5, **words)


def bfloat16(model: nn.Module) -> None:
    fit(model)
    model.bfloat16()


def double(model: nn.Module) -> None:
    model.to(torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for step in range(4):
        optimizer.zero_grad()
        inputs, labels = batch_of(step)
        cross_entropy(model(inputs.double()), labels).backward()
        optimizer.step()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("train", [bfloat16, double])
def test_a_model_converted_in_train_is_refused(train: Callable[[nn.Module], None], form: str) -> None:
    with pytest.raises(PruningError, match=r"train\(\) converted \d+ tensors \('0\.weight' and others\) from torch.fl"):
        imp(train, form=form)


def test_a_model_converted_for_a_while_and_back_is_right() -> None:
    def there_and_back(model: nn.Module) -> None:
        model.double()
        model.float()
        fit(model)

    same(search(net(), there_and_back), search(net(), fit))


def replaced(model: nn.Module) -> None:
    model[7] = nn.Linear(5, 3)
    fit(model)


def replaced_tensor(model: nn.Module) -> None:
    model[7].weight = nn.Parameter(model[7].weight.detach().clone())
    fit(model)


def removed(model: nn.Module) -> None:
    model[7].weight = None
    model[7].forward = lambda inputs: inputs[:, :3]
    fit(model)


@pytest.mark.parametrize("train", [replaced, replaced_tensor, removed])
@pytest.mark.parametrize("later", [False, True])
def test_a_layer_or_tensor_replaced_in_train_is_refused(train: Callable[[nn.Module], None], later: bool) -> None:
    calls = []

    def at_level(model: nn.Module) -> None:
        calls.append(None)
        (train if len(calls) > later else fit)(model)

    with pytest.raises(PruningError, match=r"7\.weight|'weight' of a Linear is gone"):
        imp(at_level)


@pytest.mark.parametrize("form", FORMS)
def test_a_detached_copy_that_is_read_from_level_1_on_is_refused_and_named(form: str) -> None:
    levels = []

    def train(model: nn.Module) -> None:
        levels.append(None)
        layer = model[1]
        copied = layer.weight.detach().clone()
        read = (lambda: layer.weight) if len(levels) == 1 else (lambda: copied)
        layer.forward = lambda inputs: linear(inputs, read(), layer.bias)
        fit(model)

    with pytest.raises(PruningError, match=r"^1\.weight: moved in the dense training, but received no gradient"):
        lthprune.imp(net(), train, levels=1, rate=0.5, form=form)


@pytest.mark.parametrize("form", FORMS)
def test_weights_read_in_a_functional_call_are_right_or_refused(form: str) -> None:
    """The first fault of torch's form: torchvision's Swin, BEiT and Mamba read weights so."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.qkv, self.head = nn.Linear(16, 8), nn.Linear(8, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            output = self.head(linear(inputs.flatten(1), self.qkv.weight, self.qkv.bias).tanh())
            assert isinstance(output, Tensor)
            return output

    class Called(Functional):
        def forward(self, inputs: Tensor) -> Tensor:
            output = self.head(self.qkv(inputs.flatten(1)).tanh())
            assert isinstance(output, Tensor)
            return output

    if form == "plain":
        tickets = lthprune.imp(Functional(), fit, levels=2, rate=0.5)
        same(tickets, search(Called(), fit))
        replay(Called, fit, tickets)
    else:
        with pytest.raises(PruningError, match=r"'qkv\.weight'.*form=\"plain\""):
            lthprune.imp(Functional(), fit, levels=2, rate=0.5, form="torch")


def test_a_copy_that_is_trained_instead_of_the_model_is_refused() -> None:
    twins: list[nn.Module] = []

    def train(model: nn.Module) -> None:
        if not twins:
            fit(model)
            twins.append(copy.deepcopy(model))
        else:
            fit(twins[0])
            model.load_state_dict(twins[0].state_dict())

    with pytest.raises(PruningError, match=r"after train\(\), pruned weights are not zero.*train the model that train"):
        lthprune.imp(net(), train, levels=1, rate=0.5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", [0, 1])
def test_weights_that_are_not_finite_are_named_before_anything_is_pruned(level: int, form: str) -> None:
    model, calls = net(), []

    def train(model: nn.Module) -> None:
        calls.append({name: mask.clone() for name, mask in masks_of(model).items()})
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for step in range(3):
            optimizer.zero_grad()
            (loss_of(model, step) * (float("nan") if len(calls) > level and step == 2 else 1.0)).backward()
            optimizer.step()

    with pytest.raises(PruningError, match=r"'1\.weight', '3\.weight', '5\.weight'.*NaN or infinite"):
        lthprune.imp(model, train, levels=level + 1, rate=0.5, form=form)
    assert len(calls) == level + 1
    masks = masks_of(model)
    assert all(torch.equal(mask, calls[-1].get(name, mask)) for name, mask in masks.items())


@pytest.mark.parametrize("inside", [1, 3])
def test_after_ctrl_c_in_a_forward_pass_a_new_search_on_the_same_model_works(inside: int) -> None:
    model, calls = net(), []

    def interrupt(*_: object) -> None:
        calls.append(None)
        if len(calls) == 7:
            raise KeyboardInterrupt

    handle = model[inside].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        lthprune.imp(model, fit, levels=2, rate=0.5)
    handle.remove()
    lthprune.strip(model).load_state_dict(net().state_dict())
    same(search(model, fit), search(net(), fit))


@pytest.mark.parametrize("called_before", [False, True])
@pytest.mark.parametrize("part", [slice(None), slice(1, 4), 3])
def test_after_ctrl_c_a_part_of_the_model_still_computes_with_zeros(part: slice | int, called_before: bool) -> None:
    model = net()
    lthprune.prune(model, 0.5, form="plain")
    masks = masks_of(model)
    if called_before:
        model(batch_of(0)[0])

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handle = model[4].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(batch_of(0)[0])
    handle.remove()
    for parameter in model.parameters():
        parameter.data.add_(0.1)
    called = model if part == slice(None) else model[part]
    called(torch.ones(2, 6) if part == 3 else batch_of(0)[0] if part == slice(None) else torch.ones(2, 16))
    held = {id(parameter) for parameter in called.parameters()}
    for name, mask in masks.items():
        if id(model.get_parameter(name)) in held:
            assert not model.get_parameter(name)[~mask].any()


def test_an_exception_in_a_forward_pass_leaves_the_model_usable() -> None:
    def train(model: nn.Module) -> None:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            model(torch.ones(2, 7))
        fit(model)

    same(search(net(), train), search(net(), fit))
