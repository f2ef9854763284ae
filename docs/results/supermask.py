"""Trains supermasks of the network of lenet-mnist, and writes docs/results/lenet-mnist-supermask.json.

PYTHONPATH=docs python -m results.supermask --commit COMMIT

The weights are those that the recipe's trials start from, neither constant nor rescaled; the masks are trained by
Adam. A trial's accuracy is that of the last step, with a mask drawn anew for every thousand samples.
"""

import argparse
import time
from typing import Any

from lthprune import load_recipe
from lthprune.data import load_data
from lthprune.search import Supermask
from lthprune.training import TrainingPlan, train
from results.record import origin_here, write

NAME = "lenet-mnist-supermask"
PLAN = TrainingPlan(optimizer="adam", lr=0.1, batch_size=100, steps=5000, evaluate_every=1000)


def record(commit: str, trials: int) -> dict[str, Any]:
    """Train, and return what the page needs to know."""
    recipe = load_recipe("lenet-mnist")
    data = load_data(recipe.data, seed=recipe.run.first_seed)
    began, accuracies, densities = time.perf_counter(), [], []
    for trial in range(trials):
        model = recipe.build_model(data.input_shape, data.outputs, trial)
        learner = Supermask(model, rescale=False, generator=recipe.run.generator("mask", trial))
        done = train(learner, data, PLAN, recipe.run.generator("order", trial))
        accuracies.append(round(float(done.history["test_acc"][-1]), 6))
        densities.append(learner.ticket().density)
    return {
        **origin_here(NAME, commit, f"python -m results.supermask --commit {commit[:7]} --trials {trials}"),
        "recipe": "lenet-mnist",
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
    write(record(given.commit, given.trials))
