"""The bits of a training do not depend on which process compiled the kernels."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import environment

TRAINING = """
import hashlib
import torch
from torch import nn
from lthprune import prune
from lthprune.data import DataSpec, load_data
from lthprune.training import TrainingPlan, train_population

torch.manual_seed(0)
data = load_data(DataSpec(name="digits", validation=237))
models = []
for density in (1.0, 0.5, 0.2, 0.05):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 77), nn.Tanh(), nn.Linear(77, 35), nn.ReLU(), nn.Linear(35, 10))
    if density < 1:
        prune(model, 1 - density, scope="layerwise", form="plain")
    plan = TrainingPlan(optimizer="adam", lr=1e-2, batch_size=60, steps=40, engine="compiled")
    train_population([model], data, plan, [torch.Generator().manual_seed(1)])
    weights = b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())
    print(density, hashlib.sha256(weights).hexdigest())
"""


@pytest.mark.heavy
def test_the_process_that_compiles_the_kernels_trains_to_the_bits_of_those_that_load_them(tmp_path: Path) -> None:
    words = environment(NUMBA_CACHE_DIR=str(tmp_path))
    first, second = (
        subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, env=words, check=True).stdout
        for _ in range(2)
    )
    assert len(first.splitlines()) == 4
    assert first == second
