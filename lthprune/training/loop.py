"""The training loop, written to be read: the readable twin of all engines.

The model may be pruned in either form. Its hooks keep pruned weights at zero in every forward pass, whatever momentum
or weight decay do to the parameters.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lthprune.data import Dataset, Task
from lthprune.pruning import State, snapshot
from lthprune.training.augmenting import Views, augment, check_augmentation
from lthprune.training.batches import Batches
from lthprune.training.losses import LossAndAccuracy, count_right, cross_entropy
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
) -> Training:
    """Train a model in place and evaluate it at regular steps.

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
        on_step: called after every optimiser step.
        on_evaluation: called with every evaluation.

    Returns:
        The history of the training, its early-stopping step, and the state kept there.

    Raises:
        DataError: there are too few training samples for a batch.
        RecipeError: the plan asks for bf16, and the device has no bf16 arithmetic; or it augments data that are no
            images.

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
    kept: State | None = None
    optimizer, weights = plan.make_optimizer(model.parameters()), penalised_weights(model)
    batches = Batches(len(data.x_train), plan.batch_size, [order], device)
    views = Views(plan.batch_size, [augmenter], device) if plan.augment else None
    for _ in range(start):
        next(batches)
        if views is not None:
            next(views)
    train_loss, since = torch.zeros((), device=device), 0
    model.train()
    for step in range(start + 1, (plan.steps if end is None else end) + 1):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr_at(plan.steps if fine_tune else step)
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
        if step in evaluations:
            with plan.autocast(device):
                val = evaluate(model, data.x_val, data.y_val, data.tasks)
                test = evaluate(model, data.x_test, data.y_test, data.tasks)
            evaluation = Evaluation.of(step, float(train_loss) / since, val, test)
            record.enter(evaluation)
            if keep_early_stop and record.last_is_best:
                kept = snapshot(model)
            if on_evaluation is not None:
                on_evaluation(evaluation)
            train_loss.zero_()
            since = 0
            if record.should_stop and step >= no_stop_before:
                break
    return record.close(kept)


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
