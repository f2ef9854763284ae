"""The training loop, written to be read: the readable twin of all engines.

The model may be pruned in either form. Its hooks keep pruned weights at zero in every forward pass, whatever momentum
or weight decay do to the parameters.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lthprune.data import Dataset, Task
from lthprune.pruning import snapshot
from lthprune.seeds import default_states, set_default_states
from lthprune.training.augmenting import Views, augment, check_augmentation
from lthprune.training.batches import Batches
from lthprune.training.checkpoint import Checkpoint, fitting, under, within
from lthprune.training.divergence import divergence, has_finite_weights
from lthprune.training.losses import LossAndAccuracy, count_right, cross_entropy
from lthprune.training.module_state import module_state, restore_copy, restore_module
from lthprune.training.penalty import add_penalty, penalised_weights
from lthprune.training.plan import TrainingPlan
from lthprune.training.precision import check_precision
from lthprune.training.record import Evaluation, Record, Training

_CHUNK = 1000  # samples evaluated at once: bounds the memory of a convolutional net's activations


def train(
    model: nn.Module,
    data: Dataset,
    plan: TrainingPlan,
    order: torch.Generator,
    *,
    start: int = 0,
    end: int | None = None,
    no_stop_before: int = 0,
    fine_tune: bool = False,
    keep_early_stop: bool = False,
    augmenter: torch.Generator | None = None,
    on_step: Callable[[], object] | None = None,
    on_evaluation: Callable[[Evaluation], object] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Train a model in place and evaluate it at regular steps.

    A training that diverges ends at the next evaluation: a training loss since the last one, or a weight, is NaN or
    infinite.

    Args:
        model: dense or pruned.
        data: the data, on the model's device.
        plan: optimiser, steps, evaluations, stopping.
        order: the generator of the order of the training samples.
        start: the number of steps already made (late rewinding); their batches are skipped.
        end: the last step to make; by default that of the plan, whose learning rates it has in any case.
        no_stop_before: the first step at which early stopping may end the training, so that it reaches a rewind point.
        fine_tune: use the last learning rate of the plan for all steps, instead of repeating its schedule.
        keep_early_stop: keep a copy of the model at the early-stopping step.
        augmenter: the generator of random crops and flips; by default torch's default generator.
        on_step: called after every optimiser step. A training that continues from a checkpoint first calls it once for
            each step up to ``no_stop_before`` that was made before, with the model of the last of these.
        on_evaluation: called with every evaluation, but not with one at which the training ends because it diverged.
        checkpoint: where the state of the training is saved every few minutes, with that of torch's default
            generators, and what it continues from.

    Returns:
        The history of the training, its early-stopping step, the state kept there, and whether it diverged.

    Raises:
        DataError: there are too few training samples for a batch.
        RecipeError: the plan asks for bf16, and the device has no bf16 arithmetic; or it augments data that are no
            images.
        StorageError: the checkpoint is intact, but does not fit the model or the plan.

    Examples:
        >>> from lthprune.data import DataSpec, load_data
        >>> digits = load_data(DataSpec(name="digits", validation=237))
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> plan = TrainingPlan(optimizer="adam", lr=1e-2, batch_size=60, steps=20, evaluate_every=10)
        >>> train(model, digits, plan, torch.Generator().manual_seed(0)).history["val_loss"].shape
        (2,)
    """
    device = data.x_train.device
    check_precision(plan.precision, device)
    check_augmentation(plan, data.input_shape)
    record, evaluations = Record(plan, len(data.tasks)), set(plan.evaluation_steps)
    optimizer, weights = plan.make_optimizer(model.parameters()), penalised_weights(model)
    batches = Batches(len(data.x_train), plan.batch_size, [order], device)
    views = Views(plan.batch_size, [augmenter], device) if plan.augment else None
    saved = None if checkpoint is None else checkpoint.read()
    with fitting(saved):
        if saved is not None:
            record.restore(within("record", saved.tensors), model, start)
        reached = max(start, record.step)
        for _ in range(reached):
            next(batches)
            if views is not None:
                next(views)
        if saved is not None:
            if on_step is not None:
                if record.rewind_state is not None:
                    restore_copy(model, record.rewind_state)
                for _ in range(start, min(reached, no_stop_before)):
                    on_step()
            restore_module(model, optimizer, saved.tensors)
            set_default_states([*within("draws", saved.tensors).values()], device)
    train_loss, since = torch.zeros((), device=device), 0
    model.train()
    end = plan.steps if end is None else end
    for step in range(reached + 1, end + 1):
        lr = plan.lr_at(plan.steps if fine_tune else step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        (batch,) = next(batches)
        x = data.x_train[batch]
        if views is not None:
            x = augment(x, next(views)[0], plan.augment)
        with plan.autocast(device):
            loss = cross_entropy(model(x), data.y_train[batch], data.tasks, smoothing=plan.label_smoothing)
        optimizer.zero_grad()
        add_penalty(loss, weights, plan.l1).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        train_loss += loss.detach()
        since += 1
        if on_step is not None:
            on_step()
            if checkpoint is not None and step == no_stop_before:
                record.rewind_state = snapshot(model)
        if step in evaluations:
            with plan.autocast(device):
                val = evaluate(model, data.x_val, data.y_val, data.tasks)
                test = evaluate(model, data.x_test, data.y_test, data.tasks)
            evaluation = Evaluation.of(step, float(train_loss) / since, val, test)
            record.enter(evaluation)
            record.diverged = divergence(step, lr, evaluation.train_loss, finite=has_finite_weights(model))
            if record.diverged is not None:
                break
            if keep_early_stop and record.last_is_best:
                record.early_stop_state = snapshot(model)
            if on_evaluation is not None:
                on_evaluation(evaluation)
            train_loss.zero_()
            since = 0
            if record.should_stop and step >= no_stop_before:
                break
            if checkpoint is not None and checkpoint.due and step < end:
                draws = {str(place): state for place, state in enumerate(default_states(device))}
                checkpoint.write(
                    module_state(model, optimizer) | under("record", record.tensors()) | under("draws", draws)
                )
    return record.close()


def evaluate(model: nn.Module, x: Tensor, y: Tensor, tasks: Sequence[Task]) -> LossAndAccuracy:
    """Return loss and accuracies over all samples, in evaluation mode; the model's mode does not change.

    Args:
        model: dense or pruned.
        x: inputs, (n, ...).
        y: labels, (n,), or (n, tasks) for several tasks.
        tasks: the tasks of the data, as in ``Dataset.tasks``.

    Examples:
        >>> from lthprune.data import DataSpec, load_data
        >>> digits = load_data(DataSpec(name="digits", validation=237))
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> 0 <= evaluate(model, digits.x_test, digits.y_test, digits.tasks).acc <= 1
        True
    """
    training = model.training
    model.eval()
    loss, right = torch.zeros((), device=x.device), torch.zeros(len(tasks), device=x.device)
    with torch.no_grad():
        for inputs, labels in zip(torch.split(x, _CHUNK), torch.split(y, _CHUNK), strict=True):
            outputs = model(inputs)
            loss += cross_entropy(outputs, labels, tasks, reduction="sum")
            right += count_right(outputs, labels, tasks)
    model.train(training)
    return LossAndAccuracy.of(float(loss) / len(x), [count / len(x) for count in right.tolist()])
