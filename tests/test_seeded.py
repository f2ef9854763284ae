"""Tests draw the same random numbers whatever ran before them, and others under another seed."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import environment

CONFTEST = Path(__file__).parents[1] / "conftest.py"
FILE = """
import random, numpy, torch
from hypothesis import given, strategies
model = torch.nn.Linear(1, 1)

@given(strategies.integers(0, 2**60))
def test_with_hypothesis(number):
    print(f"drew {number} {float(torch.rand(()))}")

def test_without():
    print(f"drew {model.weight.item()} {random.random()} {numpy.random.rand()} {float(torch.rand(()))}")
"""


@pytest.fixture(scope="module")
def found() -> set[tuple[float, ...]]:
    return set()


@pytest.mark.parametrize("test", ["first", "second"])
def test_every_test_begins_with_the_same_random_numbers(test: str, found: set[tuple[float, ...]]) -> None:
    found.add((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert len(found) == 1


def test_hypothesis_seeds_torch_before_every_example() -> None:
    drawn: set[float] = set()

    @settings(max_examples=5)
    @given(st.integers())
    def example(_: int) -> None:
        drawn.add(float(torch.rand(())))

    example()
    assert len(drawn) == 1


def numbers_drawn(folder: Path, seed: int, *files: str) -> list[str]:
    """What the tests of some files draw in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *files],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(LTHPRUNE_TEST_SEED=str(seed)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.lstrip(".") for line in done.stdout.splitlines() if line.lstrip(".").startswith("drew")]


@pytest.mark.heavy
def test_what_a_test_draws_depends_on_the_seed_and_not_on_the_tests_before_it(tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path)
    for name in ("test_before.py", "test_drawing.py"):
        (tmp_path / name).write_text(FILE, "utf-8")
    alone = numbers_drawn(tmp_path, 0, "test_drawing.py")
    assert len(alone) > 20
    assert numbers_drawn(tmp_path, 0, "test_before.py", "test_drawing.py")[-len(alone) :] == alone
    other = numbers_drawn(tmp_path, 1, "test_drawing.py")
    assert not {*alone} & {*other}
