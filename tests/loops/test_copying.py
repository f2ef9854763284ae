"""Copies of a model, made at every moment, and averages and checkpoints of its weights."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import lthprune
from lthprune.pruning.state import masks_of
from tests.loops.checked import batch_of, loss_of, replay, search
from tests.nets import net, outputs


def fit(model: nn.Module, steps: int = 4, optimizer: torch.optim.Optimizer | None = None) -> None:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def regrown(model: nn.Module, masks: dict[str, Tensor]) -> int:
    parameters = dict(model.named_parameters())
    return sum(int((parameters[name][~mask] != 0).sum()) for name, mask in masks.items())


def pickled(model: nn.Module) -> nn.Module:
    copied: nn.Module = pickle.loads(pickle.dumps(model))
    return copied


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deep": copy.deepcopy,
    "pickled": pickled,
    "saved": saved,
    "deep, of a copy": lambda model: copy.deepcopy(pickled(copy.deepcopy(model))),
    "whole, of a wrapper": lambda model: copy.deepcopy(nn.Sequential(model))[0],
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_made_at_any_moment_computes_the_same_and_keeps_its_masks_when_trained(
    copied: Callable[[nn.Module], nn.Module],
) -> None:
    copies: list[tuple[nn.Module, dict[str, Tensor]]] = []

    def take(model: nn.Module) -> None:
        twin, masks = copied(model), masks_of(model)
        assert outputs(twin).equal(outputs(model))
        assert list(dict(twin.named_parameters())) == list(dict(model.named_parameters()))
        assert not {id(tensor) for tensor in twin.parameters()} & {id(tensor) for tensor in model.parameters()}
        copies.append((twin, masks))

    def train(model: nn.Module) -> None:
        take(model)  # before a forward pass
        loss = loss_of(model, 0)
        take(model)  # with a graph
        loss.backward()
        take(model)  # with gradients
        fit(model)
        take(model)

    search(net(), train)
    assert len(copies) == 12
    for twin, masks in copies:
        before = outputs(twin)
        optimizer = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
        fit(twin, optimizer=optimizer)
        assert not outputs(twin).equal(before)
        assert regrown(twin, masks) == 0
        for parameter in twin.parameters():
            parameter.data.add_(0.1)
        spied: list[Tensor] = []
        twin[1].register_forward_hook(lambda module, args, output, spied=spied: spied.append(module.weight.clone()))
        twin(batch_of(0)[0])
        assert not spied[0][~masks["1.weight"]].any()


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_the_gradients_of_a_copy_are_masked(copied: Callable[[nn.Module], nn.Module]) -> None:
    def train(model: nn.Module) -> None:
        fit(model)
        twin, masks = copied(model), masks_of(model)
        twin.zero_grad()
        loss_of(twin, 1).backward()
        for name, mask in masks.items():
            assert not twin.get_parameter(name).grad[~mask].any()

    search(net(), train)


def test_training_a_copy_leaves_the_model_and_its_masks_alone() -> None:
    def train(model: nn.Module) -> None:
        twin = copy.deepcopy(model)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        lthprune.prune(twin, 0.2, scope="layerwise", form="plain")
        fit(twin)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        fit(model)

    replay(net, fit, search(net(), train))


def test_a_deep_copy_of_a_part_keeps_its_masks_when_trained() -> None:
    def train(model: nn.Module) -> None:
        part, whole = copy.deepcopy(model[1]), copy.deepcopy(model[1:4])
        for twin, names in ((part, {"weight": "1.weight"}), (whole, {"1.weight": "1.weight", "3.weight": "3.weight"})):
            masks = {name: masks_of(model)[original] for name, original in names.items()}
            optimizer = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9)
            for parameter in twin.parameters():
                parameter.data.add_(0.1)
            for _ in range(3):
                optimizer.zero_grad()
                twin(torch.ones(2, 16)).sum().backward()
                optimizer.step()
            assert regrown(twin, masks) == 0
        fit(model)

    replay(net, fit, search(net(), train))


def test_a_model_can_be_copied_during_its_own_forward_pass() -> None:
    copies: list[nn.Module] = []

    def train(model: nn.Module) -> None:
        handle = model[3].register_forward_hook(lambda *_: copies.append(copy.deepcopy(model)))
        fit(model, 1)
        handle.remove()
        masks = masks_of(model)
        copies[-1][3]._forward_hooks.popitem()
        for twin in (pickled(copies[-1]), copies[-1]):
            fit(twin)
            assert regrown(twin, masks) == 0
        fit(model)

    search(net(), train)
