import numpy as np
import pytest
import torch
from hypothesis import given
from torch import nn
from torch.nn import functional as F

import lthprune
from lthprune.pruning.state import masks_of, snapshot
from lthprune.training.batches import Batches
from lthprune.training.loop import evaluate, train
from lthprune.training.plan import TrainingPlan
from lthprune.training.record import HISTORIES, Evaluation
from tests.nets import all_bits, net
from tests.strategies import seeds
from tests.tiny import noise

DATA = noise()
OPTIMIZERS = [
    {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    {"optimizer": "adam", "lr": 0.05, "weight_decay": 0.1},
    {"optimizer": "adamw", "lr": 0.05, "weight_decay": 0.1},
]


def plan(**words: object) -> TrainingPlan:
    base = {} if "optimizer" in words else OPTIMIZERS[0]
    return TrainingPlan.model_validate({"batch_size": 8, "steps": 12, "evaluate_every": 5} | base | words)


def order(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("form", ["dense", "normalised"])
def test_the_same_order_gives_the_same_bits_and_another_gives_others(form: str) -> None:
    first, again, other = (net(form) for _ in range(3))
    histories = [
        train(model, DATA, plan(), order(seed)).history for model, seed in ((first, 3), (again, 3), (other, 4))
    ]
    assert all_bits(snapshot(first)) == all_bits(snapshot(again)) != all_bits(snapshot(other))
    assert all(np.array_equal(histories[0][name], histories[1][name]) for name in HISTORIES)


@pytest.mark.parametrize("words", OPTIMIZERS, ids=str)
def test_training_is_what_a_plain_loop_with_torchs_optimiser_does(words: dict[str, object]) -> None:
    trained, twin = net(), net()
    done = train(trained, DATA, plan(lr_milestones=(4, 8), **words), order())
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[str(words["optimizer"])](  # type: ignore[operator]
        twin.parameters(), **{key: value for key, value in words.items() if key != "optimizer"}
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [4, 8])
    losses = []
    batches = Batches(40, 8, [order()])
    for _ in range(12):
        (batch,) = next(batches)
        loss = F.cross_entropy(twin(DATA.x_train[batch]), DATA.y_train[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    for name, tensor in snapshot(twin).items():
        torch.testing.assert_close(snapshot(trained)[name], tensor, rtol=1e-4, atol=1e-5)
    means = [np.mean(losses[:5]), np.mean(losses[5:10]), np.mean(losses[10:])]
    np.testing.assert_allclose(done.history["train_loss"], means, rtol=1e-4)
    measured = evaluate(twin, DATA.x_val, DATA.y_val, DATA.tasks)
    measured_last = [done.history["val_loss"][-1], done.history["val_acc"][-1]]
    np.testing.assert_allclose(measured_last, [measured.loss, measured.acc], rtol=1e-4)


@pytest.mark.parametrize("form", ["dense", "plain", "torch"])
@pytest.mark.parametrize("words", OPTIMIZERS, ids=str)
def test_l1_is_what_adding_the_penalty_to_the_loss_by_hand_does(words: dict[str, object], form: str) -> None:
    trained, twin = net(), net()
    if form != "dense":
        lthprune.prune(trained, 0.6, form=form)  # type: ignore[arg-type]
    lthprune.prune(twin, 0.0 if form == "dense" else 0.6, form="torch")
    done = train(trained, DATA, plan(l1=0.02, **words), order())
    optimizer, losses = plan(**words).make_optimizer(twin.parameters()), []
    batches = Batches(40, 8, [order()])
    for _ in range(12):
        (batch,) = next(batches)
        loss = F.cross_entropy(twin(DATA.x_train[batch]), DATA.y_train[batch])
        layers = [layer for layer in twin if isinstance(layer, nn.Linear)]
        penalty = sum((layer.weight_orig * layer.weight_mask).abs().sum() for layer in layers)  # type: ignore[operator]
        optimizer.zero_grad()
        (loss + 0.02 * penalty).backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    for name, tensor in snapshot(twin).items():
        torch.testing.assert_close(snapshot(trained)[name], tensor, rtol=1e-4, atol=1e-5)
    means = [np.mean(losses[:5]), np.mean(losses[5:10]), np.mean(losses[10:])]
    np.testing.assert_allclose(done.history["train_loss"], means, rtol=1e-4)  # without the penalty


def test_label_smoothing_changes_the_training_and_no_evaluation() -> None:
    smoothed, twin = net(), net()
    done = train(smoothed, DATA, plan(lr=1e-9, label_smoothing=0.4, steps=5), order())
    plain = train(twin, DATA, plan(lr=1e-9, steps=5), order())
    assert done.history["val_loss"][-1] == pytest.approx(plain.history["val_loss"][-1], rel=1e-6)
    assert done.history["train_loss"][-1] != pytest.approx(plain.history["train_loss"][-1], rel=1e-3)


def test_fine_tuning_keeps_to_the_last_learning_rate() -> None:
    tuned, slow, full = net(), net(), net()
    train(tuned, DATA, plan(momentum=0, lr_milestones=(4, 8), lr_gamma=0.5), order(), fine_tune=True)
    train(slow, DATA, plan(momentum=0, lr=0.025), order())
    train(full, DATA, plan(momentum=0, lr_milestones=(4, 8), lr_gamma=0.5), order())
    assert all_bits(snapshot(tuned)) == all_bits(snapshot(slow)) != all_bits(snapshot(full))


@pytest.mark.parametrize("start", [0, 3, 5, 11])
def test_a_late_start_continues_with_the_batches_that_follow(start: int) -> None:
    whole, parts = net(), net()
    words = {"momentum": 0, "weight_decay": 0, "evaluate_every": 1}
    full = train(whole, DATA, plan(**words), order()).history
    counted: list[int] = []
    if start:
        train(parts, DATA, plan(steps=start, **words), order())
    rest = train(parts, DATA, plan(**words), order(), start=start, on_step=lambda: counted.append(1)).history
    assert all_bits(snapshot(whole)) == all_bits(snapshot(parts))
    assert len(counted) == 12 - start
    for name in HISTORIES:
        assert np.isnan(rest[name][:start]).all()
        assert np.array_equal(rest[name][start:], full[name][start:])


@pytest.mark.parametrize("form", ["dense", "convolutional", "normalised", "mixed"])
@pytest.mark.parametrize("words", OPTIMIZERS, ids=str)
def test_pruned_weights_are_zero_in_every_evaluation_and_snapshot(form: str, words: dict[str, object]) -> None:
    model = net(form)
    train(model, DATA, plan(**words), order())
    lthprune.prune(model, 0.6)
    masks = {name: mask.clone() for name, mask in masks_of(model).items()}
    wrong: list[str] = []

    def look() -> None:
        wrong.extend(name for name, mask in masks.items() if snapshot(model)[name][~mask.bool()].any())

    done = train(
        model, DATA, plan(**words), order(), on_step=look, on_evaluation=lambda _: look(), keep_early_stop=True
    )
    assert not wrong
    assert done.early_stop_state is not None
    for name, mask in masks.items():
        assert torch.equal(masks_of(model)[name], mask)
        assert not done.early_stop_state[name][~mask.bool()].any()


def test_histories_have_a_place_for_every_evaluation_and_the_watcher_sees_each() -> None:
    seen: list[Evaluation] = []
    done = train(net(), DATA, plan(), order(), on_evaluation=seen.append)
    assert [evaluation.step for evaluation in seen] == [5, 10, 12]
    for name in HISTORIES:
        assert done.history[name].shape == (3,)
        assert [getattr(evaluation, name) for evaluation in seen] == list(done.history[name])


@pytest.mark.parametrize("words", [{"patience": 1, "min_delta": 100.0}, {"loss_cutoff": 1e9}])
def test_training_that_stops_early_leaves_the_rest_of_its_histories_empty(words: dict[str, object]) -> None:
    counted: list[int] = []
    done = train(net(), DATA, plan(evaluate_every=2, **words), order(), on_step=lambda: counted.append(1))
    made = 2 if "patience" in words else 1
    assert len(counted) == 2 * made
    for name in HISTORIES:
        assert list(np.isnan(done.history[name])) == [False] * made + [True] * (6 - made)


@given(seeds)
def test_the_kept_state_is_that_of_the_early_stopping_step(seed: int) -> None:
    words = {"lr": 0.5, "evaluate_every": 2}
    model, twin = net("normalised"), net("normalised")
    done = train(model, DATA, plan(**words), order(seed), keep_early_stop=True)
    assert done.early_stop == plan(**words).evaluation_steps[int(np.argmin(done.history["val_loss"]))]
    train(twin, DATA, plan(steps=done.early_stop, **words), order(seed))
    assert done.early_stop_state is not None
    assert all_bits(done.early_stop_state) == all_bits(snapshot(twin))
    assert train(net(), DATA, plan(), order()).early_stop_state is None


def test_evaluation_is_in_evaluation_mode_over_all_samples_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))
    x, y = torch.randn(2345, 1, 4, 4, generator=order()), torch.randint(3, (2345,), generator=order())
    before = all_bits(snapshot(model))
    loss, accuracy, by_task = evaluate(model.train(), x, y, DATA.tasks)
    assert model.training
    assert all_bits(snapshot(model)) == before
    with torch.no_grad():
        scores = model.eval()(x)
    assert loss == pytest.approx(float(F.cross_entropy(scores, y)), rel=1e-5)
    assert accuracy == pytest.approx(float((scores.argmax(1) == y).double().mean()))
    assert by_task == ()
    evaluate(model, x, y, DATA.tasks)
    assert not model.training
