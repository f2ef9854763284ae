"""How far the compiled engine and the readable loop grow apart: the largest difference of their weights.

    python tests/benchmarks/twin.py
    python tests/benchmarks/twin.py --steps 100 1000 --threads 1

Both train LeNet-300-100 on MNIST from the same weights, in the same order of samples, in single precision. Besides the
differences, prints how large the weights become. Measures no times, so other programs may run.
"""

import argparse
import copy
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from lthprune import prune
from lthprune.data import Dataset, DataSpec, load_data
from lthprune.models import ModelSpec, build_model
from lthprune.training import TrainingPlan, train_population


def trained(model: nn.Module, data: Dataset, steps: int, engine: str) -> list[torch.Tensor]:
    """The parameters of a copy of a model after so many steps."""
    model, order = copy.deepcopy(model), torch.Generator().manual_seed(0)
    plan = TrainingPlan(optimizer="adam", lr=1.2e-3, batch_size=60, steps=steps, engine=engine)
    train_population([model], data, plan, [order])
    return [parameter.detach() for parameter in model.parameters()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--densities", type=float, nargs="+", default=[1.0, 0.2, 0.05])
    parser.add_argument("--steps", type=int, nargs="+", default=[1000])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_data(DataSpec(name="mnist", validation=5_000))
    spec = ModelSpec(kind="lenet", activation="tanh")
    print(f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), {options.threads} threads")
    for density in options.densities:
        model = build_model(spec, data.input_shape, data.outputs, torch.Generator().manual_seed(0))
        prune(model, 1 - density, scope="layerwise", form="plain")
        for steps in options.steps:
            ours, twin = (trained(model, data, steps, engine) for engine in ("compiled", "reference"))
            apart = max(float((one - other).abs().max()) for one, other in zip(ours, twin, strict=True))
            largest = max(float(parameter.abs().max()) for parameter in twin)
            print(
                f"density {density:g}, {steps:,} steps: apart by {apart:.0e}, weights up to {largest:.2f}", flush=True
            )


if __name__ == "__main__":
    main()
