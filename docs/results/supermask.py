"""Trains supermasks of the network of lenet-mnist, and writes docs/results/lenet-mnist-supermask.json.

PYTHONPATH=docs python -m results.supermask --commit COMMIT

The weights are those that the recipe's trials start from, neither constant nor rescaled; the masks are trained by
Adam. A trial's accuracy is that of the last step, with a mask drawn anew for every thousand samples.
"""

import argparse
import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lthprune import load_recipe
from lthprune.data import load_data
from lthprune.experiments.environment import describe_environment
from lthprune.files import write_atomically
from lthprune.search import Supermask
from lthprune.training import TrainingPlan, train
from results.record import processor

NAME = "lenet-mnist-supermask"
PLAN = TrainingPlan(optimizer="adam", lr=0.1, batch_size=100, steps=5000, evaluate_every=1000)


def record(commit: str, trials: int) -> dict[str, Any]:
    """Train, and return what the page needs to know."""
    recipe = load_recipe("lenet-mnist")
    data = load_data(recipe.data, seed=recipe.run.first_seed)
    environment = describe_environment(torch.device("cpu"), os.environ.get("LTHPRUNE_DATA"), None)
    began, accuracies, densities = time.perf_counter(), [], []
    for trial in range(trials):
        model = recipe.build_model(data.input_shape, data.outputs, trial)
        learner = Supermask(model, rescale=False, generator=recipe.run.generator("mask", trial))
        done = train(learner, data, PLAN, recipe.run.generator("order", trial))
        accuracies.append(round(float(done.history["test_acc"][-1]), 6))
        densities.append(learner.ticket().density)
    return {
        "name": NAME,
        "recipe": "lenet-mnist",
        "commands": [f"python -m results.supermask --commit {commit[:7]} --trials {trials}"],
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit,
        "versions": {"python": environment["python"], **environment["packages"]},
        "processor": processor(),
        "cores": environment["cores"],
        "threads": environment["threads"],
        "seconds": round(time.perf_counter() - began),
        "settings": {"train": PLAN.model_dump(mode="json"), "supermask": {"constant": False, "rescale": False}},
        "trials": trials,
        "steps": PLAN.steps,
        "levels": [{"density": round(sum(densities) / trials, 6), "test_acc": accuracies}],
        "controls": {},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commit", required=True, help="of lthprune")
    parser.add_argument("--trials", type=int, default=3)
    given = parser.parse_args()
    text = json.dumps(record(given.commit, given.trials), indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda each: " ".join(each[0].split()), text)
    write_atomically(Path(__file__).with_name(f"{NAME}.json"), f"{text}\n".encode())
