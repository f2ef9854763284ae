"""Every optimiser of ``torch.optim`` over many steps: no pruned weight comes back, whatever its state."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lthprune
from lthprune.pruning.state import masks_of
from tests.loops.checked import loss_of
from tests.nets import net

Make = Callable[[nn.Module], torch.optim.Optimizer]


def every(**words: Any) -> Callable[[type[torch.optim.Optimizer]], Make]:
    return lambda kind: lambda model: kind(model.parameters(), **words)


DECAY = {"weight_decay": 0.01}
MAKE: dict[str, Make] = {
    "ASGD": every(lr=0.05, **DECAY)(torch.optim.ASGD),
    "Adadelta": every(**DECAY)(torch.optim.Adadelta),
    "Adafactor": every(lr=0.01, **DECAY)(torch.optim.Adafactor),
    "Adagrad": every(lr=0.01, **DECAY)(torch.optim.Adagrad),
    "Adam": every(lr=0.01, **DECAY)(torch.optim.Adam),
    "AdamW": every(lr=0.01, **DECAY)(torch.optim.AdamW),
    "Adamax": every(lr=0.01, **DECAY)(torch.optim.Adamax),
    "LBFGS": every(lr=0.1, history_size=5, max_iter=3)(torch.optim.LBFGS),
    "LBFGS, strong Wolfe": every(history_size=5, max_iter=3, line_search_fn="strong_wolfe")(torch.optim.LBFGS),
    "NAdam": every(lr=0.01, **DECAY)(torch.optim.NAdam),
    "RAdam": every(lr=0.01, **DECAY)(torch.optim.RAdam),
    "RMSprop": every(lr=0.01, momentum=0.9, **DECAY)(torch.optim.RMSprop),
    "Rprop": every(lr=0.01)(torch.optim.Rprop),
    "SGD": every(lr=0.05, momentum=0.9, **DECAY)(torch.optim.SGD),
    "SparseAdam": lambda model: torch.optim.SparseAdam([model[0].weight], lr=0.01),
}
if hasattr(torch.optim, "Muon"):  # since torch 2.9
    MAKE["Muon"] = lambda model: torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.01)
VARIANTS = {
    f"{name}, {word}": (name, word)
    for name in MAKE
    for word in ("fused", "foreach")
    if word in inspect.signature(getattr(torch.optim, name.partition(",")[0])).parameters
}


def test_no_optimiser_of_this_torch_is_left_out() -> None:
    kinds = {name for name, kind in vars(torch.optim).items() if inspect.isclass(kind) and name != "Optimizer"}
    assert kinds <= {name.partition(",")[0] for name in MAKE}


def embedding(*, sparse: bool) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(8, 6, sparse=sparse), nn.Flatten(), nn.Linear(12, 3))


def embedded_loss(model: nn.Module, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(8, (6, 2), generator=generator)
    return cross_entropy(model(tokens), tokens.sum(1) % 3)


def run(name: str, steps: int, **words: Any) -> None:
    """Search with one optimiser that lives on over the levels, and count what comes back after every step."""
    sparse = name == "SparseAdam"
    model = embedding(sparse=True) if sparse else net()
    loss: Callable[[nn.Module, int], torch.Tensor] = embedded_loss if sparse else loss_of
    optimizer = MAKE[name](model)
    if words:
        groups = [{key: value for key, value in group.items() if key not in words} for group in optimizer.param_groups]
        optimizer = type(optimizer)(groups, **words)
        assert all(group[word] for group in optimizer.param_groups for word in words)
    counted: list[int] = []

    def train(model: nn.Module) -> None:
        masks = masks_of(model)
        assert len(masks) == (1 if sparse else 3)
        for step in range(steps):

            def closure(step: int = step) -> torch.Tensor:
                optimizer.zero_grad()
                value = loss(model, 0 if name.startswith("LBFGS") else step)  # which diverges where the loss changes
                value.backward()
                return value

            optimizer.step(closure)
            counted.append(regrown(model, masks))

    words_of_search: dict[str, Any] = {"selection": lthprune.Selection(kinds=("embedding",))} if sparse else {}
    if name == "LBFGS, strong Wolfe":  # whose curvature of the dense model sends the next one to infinity
        words_of_search["rewind"] = lthprune.Rewinder(optimizer=optimizer)
    tickets = lthprune.imp(model, train, levels=1, rate=0.5, final_form="plain", **words_of_search)
    assert len(counted) == 2 * steps
    assert sum(counted) == 0
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    for key, mask in tickets[1].masks.items():
        assert torch.equal(model.get_parameter(key) != 0, mask)
        assert not torch.equal(tickets[1].weights[key], tickets[1].trained[key])


def regrown(model: nn.Module, masks: dict[str, torch.Tensor]) -> int:
    return sum(int((model.get_parameter(name)[~mask] != 0).sum()) for name, mask in masks.items())


@pytest.mark.parametrize("name", MAKE)
def test_no_weight_regrows_in_a_few_steps_of_any_optimiser(name: str) -> None:
    run(name, 15)


@pytest.mark.heavy
@pytest.mark.parametrize("name", MAKE)
def test_no_weight_regrows_in_a_thousand_steps_of_any_optimiser(name: str) -> None:
    run(name, 1000)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_weight_regrows_in_fused_and_horizontally_fused_steps(variant: str) -> None:
    name, word = VARIANTS[variant]
    run(name, 15, **{word: True})


@pytest.mark.heavy
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_weight_regrows_in_a_thousand_fused_and_horizontally_fused_steps(variant: str) -> None:
    name, word = VARIANTS[variant]
    run(name, 1000, **{word: True})


def test_sparse_gradients_train_an_embedding_as_dense_ones_do() -> None:
    """Plain SGD, whose steps are the same for both kinds of gradients."""
    found = []
    for sparse in (True, False):
        model = embedding(sparse=sparse)

        def train(model: nn.Module) -> None:
            optimizer = torch.optim.SGD(model.parameters(), 0.5)
            for step in range(5):
                optimizer.zero_grad()
                embedded_loss(model, step).backward()
                optimizer.step()

        selection = lthprune.Selection(kinds=("embedding", "dense", "output"))
        found.append(lthprune.imp(model, train, levels=2, rate=0.5, scope="layerwise", selection=selection))
    for one, other in zip(*found, strict=True):
        for name, mask in one.masks.items():
            assert torch.equal(mask, other.masks[name])
            torch.testing.assert_close(one.trained[name], other.trained[name])
