"""An estimate of how long a run takes, from a few timed steps and evaluations at some levels."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lthprune.experiments.experiment import Experiment, prepare
from lthprune.experiments.preview import Preview
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.threads import torch_threads
from lthprune.search import Level, imp_levels
from lthprune.training import TrainingPlan, train_population

_TIMED = 0.3  # seconds that the timed part of a training takes at least, against the noise of the clock
_SLOW = 0.5  # seconds of a step and an evaluation above which only one trial and few samples are timed
_SAMPLES = 250  # of each split, in the evaluation of a slow recipe


@dataclass(frozen=True)
class LevelTime:
    """What training costs at one level, in seconds over all trials: ``setup`` once, then each step and evaluation."""

    level: int
    density: float
    engine: str
    setup: float
    step: float
    evaluation: float


@dataclass(frozen=True)
class TimeEstimate:
    """The estimated training time of a run, and its basis.

    Attributes:
        seconds: of all levels and trials.
        timed: the levels at which steps and evaluations were timed.
        levels: the number of levels, the dense one included.
        steps: steps per level, as far as ``[train]`` allows; fewer are made where a training stops early.
        evaluations: evaluations per level.
        trials: the number of trials.
        threads: the number of threads that torch computed with.
        scaled: whether one trial and a part of the samples were timed in place of all of them.
    """

    seconds: float
    timed: tuple[LevelTime, ...]
    levels: int
    steps: int
    evaluations: int
    trials: int
    threads: int
    scaled: bool


def estimate_time(
    recipe: Recipe | Preview,
    *,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    budget: float = 30.0,
) -> TimeEstimate:
    """Time a few steps and evaluations of a recipe, and estimate how long a run of it takes here.

    The dense network is timed, then three pruned levels, whose masks come from scores of hardly trained weights: their
    number is right, their places are not. Levels in between are interpolated. Where the dense network alone takes a
    quarter of the budget, all levels are taken to be as slow.

    Args:
        recipe: the recipe, or the result of ``preview_recipe`` for it.
        data_dir: the data root, as for ``run_recipe``; missing data are downloaded.
        device: ``cpu`` or ``cuda``.
        threads: the number of threads that torch computes with, as for ``run_recipe``.
        budget: about how many seconds the timing may take.

    Raises:
        LthpruneError: the recipe cannot be run here.

    Examples:
        >>> from lthprune import load_recipe
        >>> estimate = estimate_time(load_recipe("lenet-digits", ["prune.levels=2", "train.steps=100"]))
        >>> estimate.levels, estimate.steps, [level.level for level in estimate.timed]
        (3, 100, [0, 1, 2])
    """
    with torch_threads(threads):
        return _estimate(prepare(recipe, data_dir=data_dir, device=device), budget)


def _estimate(experiment: Experiment, budget: float) -> TimeEstimate:
    recipe, levels = experiment.recipe, experiment.search.levels
    plan, trials = recipe.train, recipe.run.trials
    begun = time.perf_counter()
    experiment, factor, share = _scaled_down(experiment)
    wanted = {round(levels * part / 3) for part in range(4)}
    timed: list[LevelTime] = []

    def train(models: Sequence[nn.Module], level: Level) -> None:
        if level.number in wanted:
            engine, setup, step, evaluation = _time_training(experiment, models)
            costs = (factor * setup, factor * step, factor * share * evaluation)
            timed.append(LevelTime(level.number, level.density, engine, *costs))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers that lose all weights, as those of untrained networks do
        for tickets in imp_levels(experiment.models, train, replace(experiment.search, rewind="init")):
            if tickets[0].level == 0 and time.perf_counter() - begun > budget / 4:
                break
    late = recipe.prune.rewind if isinstance(recipe.prune.rewind, int) else 0
    seconds = np.array([_seconds(each, plan, late if each.level else 0) for each in timed])
    every = np.interp(np.arange(levels + 1), [each.level for each in timed], seconds)
    if len(timed) == 1 and levels:
        every[1:] = _seconds(timed[0], plan, late)
    steps, evaluations = plan.steps, len(plan.evaluation_steps)
    return TimeEstimate(
        seconds=float(every.sum()),
        timed=tuple(timed),
        levels=levels + 1,
        steps=steps,
        evaluations=evaluations,
        trials=trials,
        threads=torch.get_num_threads(),
        scaled=factor > 1,
    )


def _seconds(level: LevelTime, plan: TrainingPlan, start: int) -> float:
    """Return the time of a level whose training starts after ``start`` steps."""
    evaluations = sum(step > start for step in plan.evaluation_steps)
    return level.setup + (plan.steps - start) * level.step + evaluations * level.evaluation


def _scaled_down(experiment: Experiment) -> tuple[Experiment, float, float]:
    """Return an experiment of one trial and few samples where all would take long, and the factors for the rest.

    The second factor is that of evaluations, whose time is taken to be proportional to the number of samples.
    """
    data = experiment.data
    small = replace(
        data,
        **{name: getattr(data, name)[:_SAMPLES] for name in ("x_val", "y_val", "x_test", "y_test")},
    )
    share = (len(data.x_val) + len(data.x_test)) / (len(small.x_val) + len(small.x_test))
    scaled = replace(experiment, data=small, models=experiment.models[:1])
    took = _time(scaled, scaled.models, steps=1, every=1)[1]
    if took < _SLOW:
        return experiment, 1.0, 1.0
    return scaled, float(len(experiment.models)), share


def _time_training(experiment: Experiment, models: Sequence[nn.Module]) -> tuple[str, float, float, float]:
    """Return the engine, and the seconds of the setup, of a step and of an evaluation.

    Three kinds of training tell them apart: one step, many steps evaluated once, and many steps evaluated each time.
    """
    engine, first = _time(experiment, models, steps=1, every=1)  # compiles, allocates
    repeats = 1 if first > _SLOW else 3
    shortest = min(_time(experiment, models, steps=1, every=1)[1] for _ in range(repeats))
    steps, longer = 1, shortest
    while longer - shortest < _TIMED and steps < 2000:
        steps *= 4 if longer - shortest < _TIMED / 8 else 2
        longer = _time(experiment, models, steps=1 + steps, every=1 + steps)[1]
    step = max(0.0, longer - shortest) / steps
    evaluations, longer = 1, shortest
    while longer - shortest < _TIMED and evaluations < 2000:
        evaluations *= 4 if longer - shortest < _TIMED / 8 else 2
        longer = _time(experiment, models, steps=1 + evaluations, every=1)[1]
    evaluation = max(0.0, (longer - shortest) / evaluations - step)
    return engine, max(0.0, shortest - step - evaluation), step, evaluation


def _time(experiment: Experiment, models: Sequence[nn.Module], *, steps: int, every: int) -> tuple[str, float]:
    """Return the engine of a training of ``steps`` steps, and its duration in seconds."""
    recipe, trials = experiment.recipe, range(len(models))
    endless = {"steps": steps, "evaluate_every": every, "patience": None, "loss_cutoff": None}
    steady = {"lr_schedule": "constant", "lr_milestones": (), "warmup": 0}  # so few steps may be less than a warm-up
    plan = recipe.train.model_copy(update=endless | steady)
    orders = [recipe.run.generator("order", trial) for trial in trials]
    noises = [recipe.run.generator("noise", trial) for trial in trials]
    augmenters = [recipe.run.generator("augment", trial) for trial in trials]
    begun = time.perf_counter()
    done = train_population(models, experiment.data, plan, orders, noises=noises, augmenters=augmenters)
    return done[0].engine, time.perf_counter() - begun
