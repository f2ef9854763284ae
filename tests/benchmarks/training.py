"""Training: lthprune's engines beside a plain PyTorch loop, side by side in one process.

    python tests/benchmarks/training.py
    python tests/benchmarks/training.py --only steps schedule --repeats 5 --json training.json

The plain loop uses ``torch.nn.utils.prune`` hooks, a ``DataLoader`` over a ``TensorDataset``, default Adam, and a
``DataLoader`` for evaluation. Every figure is its time divided by that of lthprune, per model: the plain loop trains
one model (ten of the toys), since each takes as long, and lthprune trains the whole population. The two take turns; the
table shows the median of the ratios over the repeats, the lowest and the highest. ``auto`` chooses the engine, as it
does in runs. No speed is asserted.

LeNet is LeNet-300-100 on 55,000 training images of MNIST's size, batch 60, five trials, and times are per trial; it is
evaluated on 15,000 images. The 21 levels are those of ``lenet-mnist`` with 200 steps each and an evaluation every 100.
Only training is measured, not the search around it; the time to set up an engine, once per level, counts only in the
row of the 21 levels. Toys are 200 seeds of 4-64-64-2, 200 steps each. In the bf16 row, only lthprune's step is in bf16.
Inputs are noise, since their values do not affect the time.

It takes about five minutes on two cores. On a machine that other programs use it prints no figures, unless with
``--busy``.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune.data.dataset import Dataset, Raw, split_and_normalise
from lthprune.models.build import build_model
from lthprune.models.spec import ModelSpec
from lthprune.training.batches import Batches
from lthprune.training.dispatch import choose_engine
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from tests.benchmarks.machine import Machine, add_busy


class Figure(NamedTuple):
    """A row of the table: what was measured, the ratios, and what ``auto`` chose."""

    what: str
    ratios: list[float]
    plain_ms: float
    ours_ms: float
    engine: str

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "median": statistics.median(self.ratios)}


def noise(shape: tuple[int, ...], classes: int, *, train: int, validation: int, test: int) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    raw = [
        made
        for size in (train + validation, test)
        for made in (torch.randn(size, *shape, generator=generator), torch.arange(size) % classes)
    ]
    return split_and_normalise(Raw(*raw), validation, generator)


def population(spec: ModelSpec, data: Dataset, trials: int, density: float, device: str) -> list[nn.Module]:
    """Models of a density, every layer pruned alike by torch itself."""
    models: list[nn.Module] = [
        build_model(spec, data.input_shape, data.outputs, torch.Generator().manual_seed(trial)).to(device)
        for trial in range(trials)
    ]
    for model in models:
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                torch_prune.l1_unstructured(layer, "weight", amount=1 - density)
    return models


def maker(spec: ModelSpec, data: Dataset, density: float, device: str) -> Callable[[int], list[nn.Module]]:
    return lambda trials: population(spec, data, trials, density, device)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def plain_steps(model: nn.Module, data: Dataset, plan: TrainingPlan) -> Iterator[None]:
    """Make a step of the ordinary loop for each ``next``."""
    loader = DataLoader(
        TensorDataset(data.x_train, data.y_train), batch_size=plan.batch_size, shuffle=True, drop_last=True
    )
    optimizer, device = torch.optim.Adam(model.parameters(), lr=plan.lr), device_of(model)
    model.train()
    while True:
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            yield


def plain_evaluation(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    model.eval()
    loss, correct, device = 0.0, 0, device_of(model)
    with torch.no_grad():
        for inputs, labels in DataLoader(TensorDataset(x, y), batch_size=1000):
            outputs, labels = model(inputs.to(device)), labels.to(device)
            loss += F.cross_entropy(outputs, labels, reduction="sum").item()
            correct += (outputs.argmax(dim=1) == labels).sum().item()
    model.train()
    return loss / len(x), correct / len(x)


def plain_training(model: nn.Module, data: Dataset, plan: TrainingPlan) -> None:
    steps, evaluations = plain_steps(model, data, plan), set(plan.evaluation_steps)
    for step in range(1, plan.steps + 1):
        next(steps)
        if step in evaluations:
            plain_evaluation(model, data.x_val, data.y_val)
            plain_evaluation(model, data.x_test, data.y_test)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def side_by_side(
    what: str, repeats: int, plain: Callable[[], object], ours: Callable[[], object], *, units: float, engine: str
) -> Figure:
    """Let two ways of doing the same take turns; times are per unit of work."""
    plain(), ours()  # both warm
    pairs = []
    for repeat in range(repeats):  # each is first every other time
        first, second = (plain, ours) if repeat % 2 == 0 else (ours, plain)
        times = {first: seconds(first), second: seconds(second)}
        pairs.append((times[plain], times[ours]))
    plain_ms, ours_ms = (statistics.median(column) * 1e3 / units for column in zip(*pairs, strict=True))
    return Figure(what, [first / second for first, second in pairs], plain_ms, ours_ms, engine)


LENET = ModelSpec(kind="lenet", activation="tanh")
LENET_PLAN = TrainingPlan(optimizer="adam", lr=1.2e-3, batch_size=60, steps=100)
TRIALS = 5


def mnist() -> Dataset:
    return noise((1, 28, 28), 10, train=55_000, validation=5_000, test=10_000)


def one_step(
    what: str,
    repeats: int,
    models: Callable[[int], list[nn.Module]],
    data: Dataset,
    plan: TrainingPlan,
    *,
    trials: int,
    steps: int,
) -> Figure:
    """A step: of one model in the plain loop, of so many at once in lthprune; timed over several."""
    (model,), population = models(1), models(trials)
    plain, ours = plain_steps(model, data, plan), data.to(device_of(model))
    engine = choose_engine(population, ours, plan)
    assert engine is not None
    orders = [torch.Generator().manual_seed(trial) for trial in range(trials)]
    batches = Batches(len(data.x_train), plan.batch_size, orders, ours.x_train.device)

    def plainly() -> None:
        for _ in range(steps):
            next(plain)

    def by_engine() -> None:
        for _ in range(steps):
            engine.step(next(batches), plan.lr)

    return side_by_side(what, repeats, plainly, by_engine, units=steps, engine=engine.name)


def steps(repeats: int, device: str) -> Iterator[Figure]:
    """A step of LeNet-300-100: of one model in the plain loop, of five at once in lthprune."""
    data = mnist()
    for density in (1.0, 0.5, 0.2, 0.1, 0.035):
        what, models = f"LeNet step, density {density:g}", maker(LENET, data, density, device)
        yield per_trial(one_step(what, repeats, models, data, LENET_PLAN, trials=TRIALS, steps=200))


def evaluation(repeats: int, device: str) -> Iterator[Figure]:
    """15,000 images through LeNet-300-100."""
    data = mnist()
    for density in (1.0, 0.1):
        (model,) = population(LENET, data, 1, density, device)
        engine = choose_engine(
            population(LENET, data, TRIALS, density, device), data.to(torch.device(device)), LENET_PLAN
        )
        assert engine is not None
        figure = side_by_side(
            f"LeNet evaluation, density {density:g}",
            repeats,
            lambda model=model: [
                plain_evaluation(model, data.x_val, data.y_val),
                plain_evaluation(model, data.x_test, data.y_test),
            ],
            engine.measure,
            units=1,
            engine=engine.name,
        )
        yield per_trial(figure)


def per_trial(figure: Figure) -> Figure:
    return figure._replace(ratios=[ratio * TRIALS for ratio in figure.ratios], ours_ms=figure.ours_ms / TRIALS)


def schedule(repeats: int, device: str) -> Iterator[Figure]:
    """All of lenet-mnist's 21 levels, 200 steps of each; models and masks are made before the clock starts."""
    data, plan = mnist(), LENET_PLAN.model_copy(update={"steps": 200})
    kept, ours_data = {"dense1": 0.8, "dense2": 0.8, "output": 0.9}, data.to(torch.device(device))

    def pruned(level: int, trials: int) -> list[nn.Module]:
        models = population(LENET, data, trials, 1.0, device)
        for model in models:
            for name, layer in model.named_children():
                if name in kept:
                    torch_prune.l1_unstructured(layer, "weight", amount=1 - kept[name] ** level)
        return models

    def plain() -> None:
        for level in range(21):
            plain_training(plain_models[level], data, plan)

    def ours() -> None:
        for level in range(21):
            orders = [torch.Generator().manual_seed(trial) for trial in range(TRIALS)]
            engines.update(done.engine for done in train_population(our_models[level], ours_data, plan, orders))

    plain_models = [pruned(level, 1)[0] for level in range(21)]
    our_models = [pruned(level, TRIALS) for level in range(21)]
    engines: set[str] = set()
    figure = side_by_side("LeNet, all 21 levels", repeats, plain, ours, units=1, engine="")
    yield per_trial(figure._replace(engine=", ".join(sorted(engines))))


def toys(repeats: int, device: str) -> Iterator[Figure]:
    """200 seeds of 4-64-64-2 on moons and circles, one seed after the other in the plain loop."""
    from sklearn.datasets import make_circles, make_moons

    moons, labels = make_moons(2000, noise=0.1, random_state=0)
    circles, _ = make_circles(2000, noise=0.1, factor=0.5, random_state=0)
    x = torch.cat([torch.from_numpy(moons), torch.from_numpy(circles)], dim=1).float()
    y = torch.from_numpy(labels).long()
    data = split_and_normalise(Raw(x[:1600], y[:1600], x[1600:], y[1600:]), 200, torch.Generator().manual_seed(0))
    ours_data = data.to(torch.device(device))
    spec, seeds, few = ModelSpec(kind="mlp", dense=(64, 64)), 200, 10
    plan = TrainingPlan(optimizer="adam", lr=1e-2, batch_size=64, steps=200, evaluate_every=100)
    for density in (1.0, 0.1):
        made = [
            (population(spec, data, few, density, device), population(spec, data, seeds, density, device))
            for _ in range(repeats + 1)
        ]
        plain_models, our_models = (iter(models) for models in zip(*made, strict=True))
        engines: set[str] = set()

        def plain(models: Iterator[list[nn.Module]] = plain_models) -> None:
            for model in next(models):
                plain_training(model, data, plan)

        def ours(models: Iterator[list[nn.Module]] = our_models, engines: set[str] = engines) -> None:
            orders = [torch.Generator().manual_seed(trial) for trial in range(seeds)]
            engines.update(done.engine for done in train_population(next(models), ours_data, plan, orders))

        figure = side_by_side(f"200 toys, density {density:g}", repeats, plain, ours, units=1, engine="")
        share = seeds / few  # the plain loop trains a few of them, one as long as the other
        yield figure._replace(
            ratios=[ratio * share for ratio in figure.ratios],
            plain_ms=figure.plain_ms * share,
            engine=", ".join(sorted(engines)),
        )


def convolutions(repeats: int, device: str) -> Iterator[Figure]:
    """A step of Conv-4 on images of CIFAR-10's size."""
    data = noise((3, 32, 32), 10, train=3_000, validation=100, test=100)
    spec = ModelSpec(kind="conv4")
    for precision in ("fp32", "bf16"):
        plan = TrainingPlan(optimizer="adam", lr=3e-4, batch_size=60, steps=100, precision=precision)
        for density in (1.0, 0.1):
            what, models = f"Conv-4 step, {precision}, density {density:g}", maker(spec, data, density, device)
            yield one_step(what, repeats, models, data, plan, trials=1, steps=10)


PARTS = {
    "steps": steps,
    "evaluation": evaluation,
    "schedule": schedule,
    "toys": toys,
    "convolutions": convolutions,
}


def table(figures: list[Figure], repeats: int, machine: str) -> Table:
    shown = Table(title=f"{machine}: medians of {repeats}", box=box.SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("what", no_wrap=True)
    for column in ("times", "range", "plain ms", "ms"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("engine")
    for figure in figures:
        median, span = statistics.median(figure.ratios), f"{min(figure.ratios):.1f}-{max(figure.ratios):.1f}"
        times = (f"{ms:,.2f}" if ms < 1000 else f"{ms:,.0f}" for ms in (figure.plain_ms, figure.ours_ms))
        shown.add_row(figure.what, f"{median:.2f}", span, *times, figure.engine)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    parser.add_argument("--repeats", type=int, default=7, help="pairs for each median (7)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where both train (cpu)")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    add_busy(parser)
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    machine, figures = Machine(busy=options.busy), []
    for part in options.only:
        for figure in PARTS[part](options.repeats, options.device):
            figures.append(figure)
            print(f"measured: {figure.what}", file=sys.stderr)
    described = machine.describe(options.device)
    Console().print(table(figures, options.repeats, described))
    if options.json:
        report = {
            "repeats": options.repeats,
            "device": options.device,
            "machine": described,
            "system": platform.platform(),
            "figures": [figure.to_json() for figure in figures],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
