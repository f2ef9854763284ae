"""What keeping weights pruned costs per training step: no pruning, torch's hooks, and both forms of lthprune.

    python tests/benchmarks/forms.py
    python tests/benchmarks/forms.py --only lenet vit --repeats 9 --json forms.json

A step is a forward pass, a backward pass and a step of SGD with momentum, in one process. The four take turns, step by
step, and the figures are ratios to the preceding step without pruning: the median over the repeats, the lowest and the
highest. "torch" is ``torch.nn.utils.prune.custom_from_mask`` on every weight. Half of the weights are pruned, the same
ones in all four: those that ``imp`` prunes by default, except the output projections of attention, which torch's hooks
do not reach. Inputs are noise. No speed is asserted. It takes about three minutes on two cores. On a machine that other
programs use it prints no figures, unless with ``--busy``.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune import Selection, convert, prune
from lthprune.pruning.state import masks_of
from tests.benchmarks.machine import Machine, add_busy

WAYS = ("none", "torch", "lthprune, torch's form", "lthprune, plain")


def lenet() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 300), nn.Tanh(), nn.Linear(300, 100), nn.Tanh(), nn.Linear(100, 10))


def vit() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=4, num_layers=6, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=10
    )


MODELS: dict[str, tuple[str, Callable[[], nn.Module], tuple[int, ...], int]] = {
    "lenet": ("LeNet-300-100, batch 60", lenet, (60, 784), 200),
    "resnet18": (
        "ResNet-18, 32x32, batch 64",
        lambda: torchvision.models.resnet18(num_classes=10),
        (64, 3, 32, 32),
        3,
    ),
    "vit": ("ViT, 6 layers of 192, 64 patches, batch 32", vit, (32, 3, 32, 32), 3),
}


class Stepper:
    """A model that is trained in one way."""

    def __init__(self, build: Callable[[], nn.Module], shape: tuple[int, ...], way: str, device: torch.device) -> None:
        torch.manual_seed(0)
        self._model = build().to(device).train()
        dense = build()
        reached = Selection(where=lambda name, _: not name.endswith("out_proj"))  # by torch's hooks
        prune(dense, 0.5, scope="layerwise", form="plain", selection=reached)
        masks = masks_of(dense) if way != "none" else {}
        if way == "torch":
            for name, mask in masks.items():
                layer, _, attribute = name.rpartition(".")
                torch_prune.custom_from_mask(self._model.get_submodule(layer), attribute, mask.to(device))
        elif way != "none":
            prune(self._model, 0.5, scope="layerwise", form="plain", selection=reached)
            convert(self._model, "plain" if way == "lthprune, plain" else "torch")
        self._optimizer = torch.optim.SGD(self._model.parameters(), 0.01, momentum=0.9)
        self._x, self._y = torch.randn(shape, device=device), torch.randint(10, shape[:1], device=device)
        self._synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def step(self) -> Tensor:
        loss = F.cross_entropy(self._model(self._x), self._y)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss

    def seconds(self, steps: int) -> float:
        self._synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        self._synchronize()
        return (time.perf_counter() - start) / steps


def measure(name: str, repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of a step, repeat by repeat, of each way."""
    _, build, shape, steps = MODELS[name]
    steppers = {way: Stepper(build, shape, way, device) for way in WAYS}
    for stepper in steppers.values():
        stepper.seconds(2)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, stepper in steppers.items():
            found[way].append(stepper.seconds(steps))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    add_busy(parser)
    words = parser.parse_args()
    device = torch.device(words.device)
    console = Console()
    machine = Machine(busy=words.busy)
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("model", "ms per step", *WAYS[1:]):
        table.add_column(column)
    kept = {}
    for name in words.only:
        seconds = kept[name] = measure(name, words.repeats, device)
        cells = []
        for way in WAYS[1:]:
            ratios = [one / other for one, other in zip(seconds[way], seconds["none"], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
        table.add_row(MODELS[name][0], f"{1000 * statistics.median(seconds['none']):.2f}", *cells)
    console.print(machine.describe(device))
    console.print(table)
    if words.json is not None:
        words.json.write_text(json.dumps(kept, indent=1), "utf-8")


if __name__ == "__main__":
    main()
