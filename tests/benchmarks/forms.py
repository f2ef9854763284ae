"""What keeping weights pruned costs per training step: no pruning, torch's hooks, and both forms of lthprune.

    python tests/benchmarks/forms.py
    python tests/benchmarks/forms.py --only lenet --threads 1 2 --densities 1 0.5 0.1 --repeats 100 --json forms.json

A step is a forward pass, a backward pass and a step of the optimiser: Adam for LeNet, as loops create it by default and
fused, and SGD with momentum for the others. The default takes several times as long on a CPU when weights are pruned,
in any way, because MKL is slow at the square roots of zeros, so the fused one shows better what the hooks cost.
"torch" is ``torch.nn.utils.prune.custom_from_mask`` on every weight. The same weights are pruned in all ways: those
that ``imp`` prunes by default, except the output projections of attention, which torch's hooks do not reach. Inputs are
noise.

In one process, a few steps without pruning come before and after a few steps of every way; a ratio compares the steps
between with the mean of those around them. Each cell gives the median of the ratios and their quartiles, so that other
work on the machine disturbs few of them. No speed is asserted. It takes about ten minutes on two cores. On a machine
that other programs use it prints no figures, unless with ``--busy``.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune import Selection, convert, prune, strip
from lthprune.pruning.state import masks_of
from tests.benchmarks.machine import Machine, add_busy

WAYS = ("torch", "lthprune, torch's form", "lthprune, plain")


class Task(NamedTuple):
    """What is trained: a title, a model, its optimiser, the inputs' shape, and how many steps are timed at once."""

    title: str
    build: Callable[[], nn.Module]
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    shape: tuple[int, ...]
    steps: int


def lenet() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 300), nn.Tanh(), nn.Linear(300, 100), nn.Tanh(), nn.Linear(100, 10))


def resnet18() -> nn.Module:
    return torchvision.models.resnet18(num_classes=10)


def vit() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=4, num_layers=6, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=10
    )


# rates so low that no noise is memorised: gradients would become denormal numbers, which are slow to compute with
adam = partial(torch.optim.Adam, lr=1e-6)
momentum = partial(torch.optim.SGD, lr=1e-6, momentum=0.9)
TASKS = {
    "lenet": Task("LeNet-300-100, batch 60", lenet, adam, (60, 784), 10),
    "lenet-fused": Task(
        "LeNet-300-100, batch 60, fused", lenet, partial(torch.optim.Adam, lr=1e-6, fused=True), (60, 784), 10
    ),
    "resnet18": Task("ResNet-18, 32x32, batch 64", resnet18, momentum, (64, 3, 32, 32), 1),
    "vit": Task("ViT, 6 layers of 192, 64 patches, batch 32", vit, momentum, (32, 3, 32, 32), 1),
}


class Stepper:
    """A model that is trained in one way, or without pruning."""

    def __init__(self, task: Task, way: str | None, density: float, device: torch.device) -> None:
        torch.manual_seed(0)
        self._model = model = task.build().to(device).train()
        if way is not None:
            reached = Selection(where=lambda name, _: not name.endswith("out_proj"))  # by torch's hooks
            prune(model, 1 - density, scope="layerwise", form="plain", selection=reached)
            convert(model, "plain" if way == "lthprune, plain" else "torch")
        if way == "torch":
            masks = masks_of(model)
            strip(model)
            for name, mask in masks.items():
                layer, _, attribute = name.rpartition(".")
                torch_prune.custom_from_mask(model.get_submodule(layer), attribute, mask)
        self._optimizer = task.optimizer(model.parameters())
        self._x, self._y = torch.randn(task.shape, device=device), torch.randint(10, task.shape[:1], device=device)
        self._synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def seconds(self, steps: int) -> float:
        """Return the seconds of a step, averaged over some."""
        self._synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            loss = F.cross_entropy(self._model(self._x), self._y)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
        self._synchronize()
        return (time.perf_counter() - start) / steps


def measure(task: Task, density: float, repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of a step without pruning, and each way's ratios to it, repeat by repeat."""
    dense = Stepper(task, None, density, device)
    steppers = {way: Stepper(task, way, density, device) for way in WAYS}
    for stepper in (dense, *steppers.values()):
        stepper.seconds(2 * task.steps)
    found: dict[str, list[float]] = {name: [] for name in ("seconds", *WAYS)}
    before = dense.seconds(task.steps)
    for _, (way, stepper) in product(range(repeats), steppers.items()):
        between, after = stepper.seconds(task.steps), dense.seconds(task.steps)
        found["seconds"].append(after)
        found[way].append(2 * between / (before + after))
        before = after
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--densities", nargs="+", type=float, default=[0.5])
    parser.add_argument("--threads", nargs="+", type=int, default=[torch.get_num_threads()])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    add_busy(parser)
    words = parser.parse_args()
    device = torch.device(words.device)
    console = Console()
    machine = Machine(busy=words.busy)
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("model", "threads", "density", "ms per step", *WAYS):
        table.add_column(column)
    kept = []
    for name, threads, density in product(words.only, words.threads, words.densities):
        torch.set_num_threads(threads)
        found = measure(TASKS[name], density, words.repeats, device)
        kept.append({"model": name, "threads": threads, "density": density} | found)
        cells = [
            "{1:.3f} ({0:.3f}-{2:.3f})".format(*statistics.quantiles(found[way], method="inclusive")) for way in WAYS
        ]
        milliseconds = f"{1000 * statistics.median(found['seconds']):.2f}"
        table.add_row(TASKS[name].title, str(threads), f"{density:g}", milliseconds, *cells)
    console.print(machine.describe(device))
    console.print(table)
    if words.json is not None:
        words.json.write_text(json.dumps(kept, indent=1), "utf-8")


if __name__ == "__main__":
    main()
