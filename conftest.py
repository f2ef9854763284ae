"""Every run of the tests draws the same random numbers, on one thread, so that a failure can be repeated anywhere.

``LTHPRUNE_TEST_SEED=3 python -m pytest`` draws others, in hypothesis as well. This file stands at the root so that it
also holds for the examples in docstrings.
"""

import os
import random
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

SEED = int(os.environ.get("LTHPRUNE_TEST_SEED", "0"))

torch.set_num_threads(1)
settings.register_profile(
    "lthprune",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("lthprune")


class TorchRandom:
    """torch's global generator as hypothesis seeds it before every example."""

    def seed(self, number: int) -> None:
        torch.manual_seed(SEED + number)

    def getstate(self) -> torch.Tensor:
        return torch.get_rng_state()

    def setstate(self, state: torch.Tensor) -> None:
        torch.set_rng_state(state)


_torch_random = TorchRandom()  # hypothesis keeps only a weak reference
hypothesis.register_random(_torch_random)


def seed_generators() -> None:
    """Seed all global generators."""
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


def pytest_collectstart() -> None:
    """Seed what a test file draws while it is imported, as for parametrised models."""
    seed_generators()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Let hypothesis draw other examples if another seed is given; with seed 0 it derives them from each test."""
    for test in {item.obj for item in items if SEED and getattr(item.obj, "is_hypothesis_test", False)}:
        hypothesis.seed(SEED)(test)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    seed_generators()
