"""Training of a population: the trials of a run side by side, by a choice of engines."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from lthprune.data import Dataset
from lthprune.errors import PruningError, StorageError
from lthprune.pruning import State, live_state, snapshot
from lthprune.search import Diverged
from lthprune.seeds import seeded_by
from lthprune.training.augmenting import Views, check_augmentation
from lthprune.training.batches import Batches
from lthprune.training.checkpoint import Checkpoint, fitting, under, within
from lthprune.training.dispatch import choose_engine
from lthprune.training.divergence import divergence, has_finite_weights
from lthprune.training.engine import Engine
from lthprune.training.loop import train
from lthprune.training.module_state import restore_copy
from lthprune.training.plan import TrainingPlan
from lthprune.training.record import Evaluation, Record, Training

_STEPS, _SAMPLES = 1000, 100_000  # of a trial whose batches are drawn before they are made: bounds their memory


def train_population(
    models: Sequence[nn.Module],
    data: Dataset,
    plan: TrainingPlan,
    orders: Sequence[torch.Generator],
    *,
    noises: Sequence[torch.Generator] | None = None,
    augmenters: Sequence[torch.Generator] | None = None,
    start: int = 0,
    end: int | None = None,
    no_stop_before: int = 0,
    fine_tune: bool = False,
    keep_early_stop: bool = False,
    on_steps: Callable[[int, int], object] | None = None,
    on_evaluation: Callable[[int, Evaluation], object] | None = None,
    on_diverged: Callable[[int, Diverged], object] | None = None,
    checkpoints: Callable[[int, str], Checkpoint] | None = None,
) -> list[Training]:
    """Train models of one architecture in place, each with the result of ``train`` up to rounding.

    Every model has its own data order and its own early stopping. Models that have stopped are no longer computed. A
    model whose training loss or weights are NaN or infinite stops at the next evaluation; the others go on as without
    it.

    Args:
        models: dense or pruned, on the device of the data.
        data: the data that all of them are trained on.
        plan: optimiser, steps, evaluations, stopping, engine, precision.
        orders: generators of the order of the training samples, one for each model.
        noises: generators of random draws in training (dropout), one for each model; by default torch's default
            generator.
        augmenters: generators of random crops and flips, one for each model; by default torch's default generator.
        start: the number of steps already made (late rewinding); their batches are skipped.
        end: the last step to make; by default that of the plan, whose learning rates it has in any case.
        no_stop_before: the first step at which early stopping may end the training, so that it reaches a rewind point.
        fine_tune: use the last learning rate of the plan for all steps, instead of repeating its schedule.
        keep_early_stop: keep a copy of each model at its early-stopping step.
        on_steps: called with a trial and the number of steps since the last call, once the trial's model is up to
            date: at step ``no_stop_before``, and with some engines after every step.
        on_evaluation: called with a trial and its evaluation, but not with one that finds that the trial diverged.
        on_diverged: called with a trial that stops because it diverged, and why.
        checkpoints: returns where the state of a training is saved every few minutes, and what it continues from. It
            is called with the training's first trial and with what trains it, an engine (all trials) or the loop (one
            trial), on a device. Then give ``noises`` and ``augmenters``: states of torch's default generators are not
            saved.

    Returns:
        The training of every model, in the order of ``models``.

    Raises:
        PruningError: there is no model, or not one generator for each model.
        RecipeError: the plan asks for an engine that cannot train these models, or augments data that are no images.
        DataError: there are too few training samples for a batch.
        StorageError: a checkpoint is intact, but does not fit these models or this plan.

    Examples:
        >>> from lthprune.data import DataSpec, load_data
        >>> digits = load_data(DataSpec(name="digits", validation=237))
        >>> models = [nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10)) for _ in range(3)]
        >>> plan = TrainingPlan(optimizer="adam", lr=1e-2, batch_size=60, steps=20)
        >>> done = train_population(models, digits, plan, [torch.Generator().manual_seed(i) for i in range(3)])
        >>> [training.engine for training in done]
        ['compiled', 'compiled', 'compiled']
    """
    _check_population(models, {"orders": orders, "noises": noises, "augmenters": augmenters})
    check_augmentation(plan, data.input_shape)
    device = data.x_train.device
    views = Views(plan.batch_size, augmenters or [None] * len(models), device) if plan.augment else None
    engine = choose_engine(models, data, plan, noises, views)
    if engine is None:
        trained: list[Training] = []
        for trial, (model, order) in enumerate(zip(models, orders, strict=True)):
            with nullcontext() if noises is None else seeded_by(noises[trial], device):
                trained.append(
                    train(
                        model,
                        data,
                        plan,
                        order,
                        start=start,
                        end=end,
                        no_stop_before=no_stop_before,
                        fine_tune=fine_tune,
                        keep_early_stop=keep_early_stop,
                        augmenter=None if augmenters is None else augmenters[trial],
                        on_step=None if on_steps is None else partial(on_steps, trial, 1),
                        on_evaluation=None if on_evaluation is None else partial(on_evaluation, trial),
                        checkpoint=None if checkpoints is None else checkpoints(trial, f"the loop on {device.type}"),
                    )
                )
            stopped = trained[-1].diverged
            if stopped is not None and on_diverged is not None:
                on_diverged(trial, stopped)
        return trained
    record = [Record(plan, len(data.tasks)) for _ in models]
    evaluations = set(plan.evaluation_steps)
    batches = Batches(len(data.x_train), plan.batch_size, orders, device)
    live = list(range(len(models)))  # the trials that the engine still trains, in its order
    checkpoint = None if checkpoints is None else checkpoints(0, f"{engine.name} on {device.type}")
    saved = None if checkpoint is None else checkpoint.read()
    with fitting(saved):
        if saved is not None:
            live = _take_up(saved.tensors, engine, models, record, start)
            batches.keep(live)
            for trial, each in enumerate(record):
                if on_steps is not None and each.rewind_state is not None:
                    restore_copy(models[trial], each.rewind_state)
                    on_steps(trial, no_stop_before - start)
                if trial not in live:
                    restore_copy(models[trial], within(f"trial-{trial}/trained", saved.tensors))
                    lr = plan.lr_at(plan.steps if fine_tune else each.step)
                    each.diverged = divergence(each.step, lr, each.train_loss, finite=has_finite_weights(models[trial]))
                    if each.diverged is not None and on_diverged is not None:
                        on_diverged(trial, each.diverged)
    reached = max(start, record[live[0]].step)
    for _ in range(reached):
        next(batches)
        if views is not None:
            next(views)
    end = plan.steps if end is None else end
    stations = _stations(plan, start, end, no_stop_before)
    for first, step in pairwise(station for station in stations if station >= reached):
        rates = [plan.lr_at(plan.steps if fine_tune else made) for made in range(first + 1, step + 1)]
        engine.train(torch.stack([next(batches) for _ in rates]), rates)
        if step == no_stop_before and on_steps is not None:
            for place, trial in enumerate(live):
                engine.lift(place)
                on_steps(trial, step - start)
                if checkpoint is not None:
                    record[trial].rewind_state = snapshot(models[trial])
        if step in evaluations:
            going = []
            for place, (trial, measured) in enumerate(zip(live, engine.measure(), strict=True)):
                evaluation = Evaluation.of(step, *measured[:3])
                record[trial].enter(evaluation)
                diverged = divergence(step, rates[-1], measured.train_loss, finite=measured.finite)
                if diverged is not None:
                    record[trial].diverged = diverged
                    engine.lift(place)
                    if on_diverged is not None:
                        on_diverged(trial, diverged)
                    continue
                best = keep_early_stop and record[trial].last_is_best
                stops = record[trial].should_stop and step >= no_stop_before
                if best or stops:
                    engine.lift(place)
                if best:
                    record[trial].early_stop_state = snapshot(models[trial])
                if not stops:
                    going.append(place)
                if on_evaluation is not None:
                    on_evaluation(trial, evaluation)
            if not going:
                live = []
                break
            if len(going) < len(live):
                engine.keep(going)
                batches.keep(going)
                live = [live[place] for place in going]
            if checkpoint is not None and checkpoint.due and step < end:
                checkpoint.write(_state(engine, models, record, live))
    for place in range(len(live)):
        engine.lift(place)
    return [each.close(engine.name) for each in record]


def _state(engine: Engine, models: Sequence[nn.Module], record: Sequence[Record], live: Sequence[int]) -> State:
    """Return the state of a training right after an evaluation, by name; not copies."""
    state = under("engine", engine.state())
    for trial, model in enumerate(models):
        trained = {} if trial in live else live_state(model)
        state |= under(f"trial-{trial}", record[trial].tensors() | under("trained", trained))
    return state


def _take_up(
    state: State, engine: Engine, models: Sequence[nn.Module], record: Sequence[Record], start: int
) -> list[int]:
    """Continue with the engine and the records of ``_state``; return the trials that are still trained."""
    own = [within(f"trial-{trial}", state) for trial in range(len(models))]
    for tensors, each, model in zip(own, record, models, strict=True):
        each.restore(tensors, model, start)
    live = [trial for trial, tensors in enumerate(own) if not within("trained", tensors)]
    if len({record[trial].step for trial in live}) != 1:
        raise StorageError("its trials are at different steps")
    engine.keep(live)
    engine.restore(within("engine", state))
    return live


def _stations(plan: TrainingPlan, start: int, end: int, no_stop_before: int) -> list[int]:
    """Return the steps between which an engine goes on by itself, the first and the last included."""
    most = max(1, min(_STEPS, _SAMPLES // plan.batch_size))
    between = {*plan.evaluation_steps, no_stop_before, *range(start, end, most), end}
    return sorted(step for step in between if start <= step <= end)


def _check_population(models: Sequence[nn.Module], given: Mapping[str, Sequence[torch.Generator] | None]) -> None:
    """Raise a PruningError unless there are models, and one generator of each kind for each of them."""
    if not models:
        raise PruningError("train_population() was called with an empty list of models. Give it at least one model.")
    for name, generators in given.items():
        if generators is not None and len(generators) != len(models):
            raise PruningError(
                f"train_population() needs one generator in {name} for each model, and was given {len(generators)} "
                f"for {len(models)}: {name}=[torch.Generator().manual_seed(seed) for seed in range({len(models)})]."
            )
