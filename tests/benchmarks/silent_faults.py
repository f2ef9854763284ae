"""Three silent faults of pruning by hooks on the owning module, measured: frozen weights and lost writes.

    python tests/benchmarks/silent_faults.py
    PYTHONPATH=CHECKOUT_OF_AN_EARLIER_COMMIT python tests/benchmarks/silent_faults.py

Prints the share of swin_t's prunable weights that do not move at level 1, the losses of an optimiser over
``layer.weight`` level by level, and whether ``reset_parameters()`` at the start of a training gives new weights.
"""

import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy

import lthprune


def frozen_share() -> float:
    torch.manual_seed(0)
    x, y, moved = torch.randn(2, 3, 32, 32), torch.tensor([1, 2]), []

    def train(model: nn.Module) -> None:
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for _ in range(2):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
        after = dict(model.named_parameters())
        moved.append({name.removesuffix("_orig"): not torch.equal(after[name], before[name]) for name in after})

    masks = lthprune.imp(torchvision.models.swin_t(num_classes=10), train, levels=1, rate=0.5, progress=False)[1].masks
    frozen = sum(mask.numel() for name, mask in masks.items() if moved[0][name] and not moved[1][name])
    return frozen / sum(mask.numel() for mask in masks.values())


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))


def losses_of_an_optimiser_over_weights() -> list[float]:
    model, losses = perceptron(), []
    x = torch.randn(256, 8)
    y = (x[:, 0] * x[:, 1] > 0).long()

    def train(model: nn.Module) -> None:
        optimizer = torch.optim.SGD([model[0].weight, model[2].weight], 0.5)
        for _ in range(300):
            loss = cross_entropy(model(x), y)
            model.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(round(loss.item(), 3))

    lthprune.imp(model, train, levels=2, rate=0.2, progress=False)
    return losses


def new_weights_after_reset() -> list[bool]:
    new = []

    def train(model: nn.Module) -> None:
        before = model[0].weight.detach().clone()
        model[0].reset_parameters()
        model(torch.randn(4, 8)).sum().backward()
        new.append(not torch.equal(model[0].weight.detach(), before))

    lthprune.imp(perceptron(), train, levels=1, rate=0.2, progress=False)
    return new


if __name__ == "__main__":
    print(f"lthprune from {lthprune.__file__}")
    print(f"swin_t: {frozen_share():.1%} of the prunable weights do not move at level 1")
    print(f"optimizer over layer.weight: losses {losses_of_an_optimiser_over_weights()}")
    print(f"reset_parameters() gives new weights: {new_weights_after_reset()}")
