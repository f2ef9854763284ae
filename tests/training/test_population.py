"""Every engine equals the plain loop, trial by trial."""

import copy
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthprune.data.dataset import Dataset
from lthprune.errors import PruningError, RecipeError
from lthprune.pruning.methods import write_mask
from lthprune.pruning.state import live_state, masks_of, snapshot
from lthprune.training import precision, stacked
from lthprune.training.compiled import Compiled
from lthprune.training.dispatch import check_engine
from lthprune.training.loop import train
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from lthprune.training.record import HISTORIES, Evaluation, Training
from tests.nets import FORMS, Architecture, all_bits
from tests.strategies import seeds
from tests.tiny import environment, noise, several
from tests.twins import doubled

ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.GELU, nn.LeakyReLU)
OPTIMIZERS: tuple[dict[str, object], ...] = (
    {"optimizer": "sgd", "lr": 0.1},
    {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    {
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.1,
        "nesterov": True,
        "label_smoothing": 0.1,
        "l1": 0.01,
    },
    {"optimizer": "adam", "lr": 0.02},
    {"optimizer": "adam", "lr": 0.02, "weight_decay": 0.1},
    {"optimizer": "adamw", "lr": 0.02, "weight_decay": 0.1, "l1": 0.01},
)
PERCEPTRON_ENGINES = ("stacked", "compiled", "auto")


@pytest.fixture(autouse=True, scope="module")
def few_samples_are_evaluated_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked, "_CACHED", 1)
        yield


@pytest.fixture(autouse=True, scope="module")
def bf16_is_allowed_on_every_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "multiplies_in_bf16", lambda device: True)
        yield


@contextmanager
def threads_of_torch(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def mostly_background(data: Dataset) -> Dataset:
    """The same data with four fifths of the inputs at a background of their feature, as in pictures of digits."""
    torch.manual_seed(0)
    background = torch.randn(data.x_train.shape[1:], dtype=data.x_train.dtype)
    splits = {
        name: torch.where(torch.rand(x.shape) < 0.8, background, x)
        for name, x in (("x_train", data.x_train), ("x_val", data.x_val), ("x_test", data.x_test))
    }
    return replace(data, **splits)


DATA = doubled(noise(sizes=(40, 70, 150)))
PICTURES = mostly_background(DATA)


def plan(**words: object) -> TrainingPlan:
    optimizer = {} if "optimizer" in words else OPTIMIZERS[1]
    return TrainingPlan.model_validate({"batch_size": 8, "steps": 12, "evaluate_every": 3} | optimizer | words)


def orders(trials: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(trial) for trial in range(trials)]


def one_by_one(models: list[nn.Module], plan: TrainingPlan, data: Dataset = DATA, **words: object) -> list[Training]:
    pairs = zip(models, orders(len(models)), strict=True)
    return [train(model, data, plan, order, **words) for model, order in pairs]  # type: ignore[arg-type]


def agree(models: list[nn.Module], twins: list[nn.Module], done: list[Training], expected: list[Training]) -> None:
    for model, twin, training, reference in zip(models, twins, done, expected, strict=True):
        for name, tensor in snapshot(twin).items():
            torch.testing.assert_close(snapshot(model)[name], tensor, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: n + m)
        for name, mask in masks_of(twin).items():
            assert torch.equal(masks_of(model)[name], mask)
            assert not snapshot(model)[name][~mask.bool()].any()
        assert training.history.keys() == reference.history.keys() >= set(HISTORIES)
        for name, curve in reference.history.items():
            np.testing.assert_allclose(training.history[name], curve, rtol=2e-5, atol=1e-6)
        assert training.early_stop == reference.early_stop


@st.composite
def populations(draw: st.DrawFn, outputs: int = 3) -> list[nn.Module]:
    """A population, pruned anyhow: whole rows, columns and layers gone, biases pruned or not there at all."""
    activation, bias = draw(st.sampled_from(ACTIVATIONS)), draw(st.booleans())
    widths = [16, *draw(st.lists(st.integers(1, 7), max_size=3)), outputs]
    models: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        torch.manual_seed(draw(seeds))
        layers: list[nn.Module] = [nn.Flatten()]
        for features, out in pairwise(widths):
            layers += [nn.Linear(features, out, bias).double(), activation()]
        models.append(nn.Sequential(*layers[:-1]))
    masked = draw(st.sampled_from(["none", "weights", "both"]))
    for place in range(1, len(widths) * 2 - 2, 2):
        for model in models:
            layer = model[place]  # type: ignore[index]
            if masked != "none":
                mask = torch.rand(layer.weight.shape) < draw(st.sampled_from([0.0, 0.05, 0.4, 0.9, 1.0]))
                if draw(st.booleans()):
                    mask[draw(st.integers(0, len(mask) - 1))] = False
                    mask[:, draw(st.integers(0, mask.shape[1] - 1))] = False
                write_mask(layer, "weight", mask)
            if masked == "both" and bias:
                write_mask(layer, "bias", torch.rand(layer.bias.shape) < 0.5)
    return models


@given(
    models=populations(),
    engine=st.sampled_from(PERCEPTRON_ENGINES),
    data=st.sampled_from([DATA, PICTURES]),
    optimizer=st.sampled_from(OPTIMIZERS),
    steps=st.integers(1, 12),
)
def test_every_engine_for_perceptrons_does_what_the_plain_loop_does(
    models: list[nn.Module], engine: str, data: Dataset, optimizer: dict[str, object], steps: int
) -> None:
    twins, words = copy.deepcopy(models), {**optimizer, "steps": steps}
    done = train_population(models, data, plan(engine=engine, **words), orders(len(models)))
    agree(models, twins, done, one_by_one(twins, plan(**words), data))
    assert {training.engine for training in done} == {"compiled" if engine == "auto" else engine}


@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    engine=st.sampled_from(PERCEPTRON_ENGINES),
    smoothing=st.sampled_from([0.0, 0.2]),
    data=st.data(),
)
def test_every_engine_for_perceptrons_learns_several_tasks_as_the_plain_loop_does(
    sizes: list[int], engine: str, smoothing: float, data: st.DataObject
) -> None:
    models = data.draw(populations(sum(sizes)))
    twins, joined = copy.deepcopy(models), doubled(noise(sizes=(40, 70, 150), tasks=several(sizes)))
    words = {"label_smoothing": smoothing}
    done = train_population(models, joined, plan(engine=engine, **words), orders(len(models)))
    agree(models, twins, done, one_by_one(twins, plan(**words), joined))


@pytest.mark.parametrize("sizes", [[1, 1], [2, 2, 1, 3]])
@pytest.mark.parametrize("form", ["dense", "normalised"])
def test_trials_of_several_tasks_that_stop_on_their_own_leave_the_others_as_they_are(
    form: str, sizes: list[int]
) -> None:
    joined = doubled(noise(sizes=(40, 70, 150), tasks=several(sizes)))
    models: list[nn.Module] = [Architecture(form, dtype=torch.float64).build(trial) for trial in range(4)]
    torch.manual_seed(0)
    for model, scale in zip(models, (1, 3, 9, 27), strict=True):  # so that some take longer than others
        model[-1] = nn.Linear(model[-1].in_features, sum(sizes)).double()  # type: ignore[index,operator]
        nn.init.normal_(model[-1].weight, std=scale)  # type: ignore[index]
    twins = copy.deepcopy(models)
    done = train_population(models, joined, plan(patience=1, steps=30), orders(4))
    agree(models, twins, done, one_by_one(twins, plan(patience=1, steps=30), joined))
    assert len({int(np.isnan(training.history["val_loss"]).sum()) for training in done}) > 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("density", [1.0, 0.4])
@pytest.mark.parametrize("form", FORMS)
def test_networks_of_all_kinds_train_without_hooks_as_they_do_with_them(
    form: str, density: float, optimizer: dict[str, object]
) -> None:
    models = [Architecture(form, dtype=torch.float64).build(seed) for seed in range(2)]
    if density < 1:
        for model in models:
            for module in model.modules():
                if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                    mask = torch.rand(module.weight.shape, generator=torch.Generator().manual_seed(1)) < density
                    mask.flatten(1)[:, 0] = True  # batch norm blows a constant channel's rounding errors up
                    write_mask(module, "weight", mask)
    twins = copy.deepcopy(models)
    done = train_population(models, DATA, plan(engine="unhooked", **optimizer), orders(2))
    agree(models, twins, done, one_by_one(twins, plan(**optimizer)))
    assert [training.engine for training in done] == ["unhooked", "unhooked"]


@pytest.mark.parametrize("form", ["dense", "normalised"])
@pytest.mark.parametrize("engine", PERCEPTRON_ENGINES)
@given(seed=seeds, optimizer=st.sampled_from(OPTIMIZERS))
def test_each_trial_stops_on_its_own_and_the_others_go_on(
    form: str, engine: str, seed: int, optimizer: dict[str, object]
) -> None:
    words = {**optimizer, "engine": engine if form == "dense" else "auto", "patience": 1, "steps": 30}
    models = [Architecture(form, dtype=torch.float64).build(seed + trial) for trial in range(4)]
    torch.manual_seed(seed)
    for model, density in zip(models, (1.0, 0.7, 0.3, 0.1), strict=True):
        for layer in model:
            if isinstance(layer, nn.Linear):
                write_mask(layer, "weight", torch.rand(layer.weight.shape) < density)
                write_mask(layer, "bias", torch.rand(layer.bias.shape) < 0.8)
    twins = copy.deepcopy(models)
    done = train_population(models, DATA, plan(**words), orders(4), keep_early_stop=True)
    expected = one_by_one(twins, plan(**words), keep_early_stop=True)
    agree(models, twins, done, expected)
    for training, reference in zip(done, expected, strict=True):
        assert training.early_stop_state is not None
        assert reference.early_stop_state is not None
        for name, tensor in reference.early_stop_state.items():
            torch.testing.assert_close(training.early_stop_state[name], tensor, rtol=1e-6, atol=1e-8)


def test_trials_do_stop_at_different_steps_in_these_tests() -> None:
    models = [Architecture("dense", dtype=torch.float64).build(trial) for trial in range(4)]
    done = train_population(models, DATA, plan(patience=1, steps=30), orders(4))
    assert len({int(np.isnan(training.history["val_loss"]).sum()) for training in done}) > 1


def test_a_trial_that_has_stopped_is_no_longer_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    train = Compiled.train

    def spy(engine: Compiled, batches: torch.Tensor, rates: list[float]) -> None:
        trained.extend([batches.shape[1]] * len(batches))
        train(engine, batches, rates)

    monkeypatch.setattr(Compiled, "train", spy)
    models = [Architecture("dense", dtype=torch.float64).build(trial) for trial in range(4)]
    done = train_population(models, DATA, plan(patience=1, steps=30), orders(4))
    made = [3 * int((~np.isnan(training.history["val_loss"])).sum()) for training in done]  # steps before each stop
    assert trained == [sum(step < last for last in made) for step in range(max(made))]
    assert len(set(trained)) > 1


@pytest.mark.parametrize("engine", ["reference", *PERCEPTRON_ENGINES])
@pytest.mark.parametrize(
    "words", [{"start": 5}, {"fine_tune": True}, {"start": 3, "fine_tune": True}, {"no_stop_before": 7}]
)
def test_late_starts_and_fine_tuning_are_those_of_the_plain_loop(engine: str, words: dict[str, object]) -> None:
    made = {"lr_milestones": (4, 8), "loss_cutoff": 1e9, "optimizer": "adam", "lr": 0.02}
    models = [Architecture(dtype=torch.float64).build(seed) for seed in range(3)]
    twins = copy.deepcopy(models)
    done = train_population(models, DATA, plan(engine=engine, **made), orders(3), **words)  # type: ignore[arg-type]
    agree(models, twins, done, one_by_one(twins, plan(**made), **words))


@pytest.mark.parametrize("form", ["dense", "convolutional"])
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_models_are_up_to_date_at_the_rewind_point(form: str, engine: str) -> None:
    models = [Architecture(form, dtype=torch.float64).build(seed) for seed in range(2)]
    twins = copy.deepcopy(models)
    made, reached = [0, 0], {}

    def look(trial: int, steps: int) -> None:
        made[trial] += steps
        if made[trial] == 4:
            reached[trial] = snapshot(models[trial])

    train_population(models, DATA, plan(engine=engine), orders(2), no_stop_before=4, on_steps=look)
    one_by_one(twins, plan(steps=4))
    for trial, twin in enumerate(twins):
        for name, tensor in snapshot(twin).items():
            torch.testing.assert_close(reached[trial][name], tensor, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("form", ["dense", "normalised"])
@pytest.mark.parametrize("engine", ["reference", "stacked", "auto"])
def test_a_training_that_ends_early_has_the_bits_of_the_whole_one_at_that_step(form: str, engine: str) -> None:
    if (form, engine) == ("normalised", "stacked"):
        engine = "unhooked"
    whole = [Architecture(form, dtype=torch.float64).build(seed) for seed in range(2)]
    parts = copy.deepcopy(whole)
    made, reached = [0, 0], {}

    def look(trial: int, steps: int) -> None:
        made[trial] += steps
        if made[trial] == 5:
            reached[trial] = all_bits(snapshot(whole[trial]))

    falling = plan(engine=engine, lr_schedule="cosine")
    train_population(whole, DATA, falling, orders(2), no_stop_before=5, on_steps=look)
    done = train_population(parts, DATA, falling, orders(2), end=5)
    assert [all_bits(snapshot(model)) for model in parts] == [reached[0], reached[1]]
    assert all(np.isnan(training.history["val_loss"]).tolist() == [False, True, True, True] for training in done)
    assert all_bits(snapshot(whole[0])) != reached[0]


def test_a_watcher_sees_every_evaluation_of_every_trial() -> None:
    seen: list[tuple[int, Evaluation]] = []
    models = [Architecture(dtype=torch.float64).build(seed) for seed in range(2)]
    done = train_population(
        models, DATA, plan(), orders(2), on_evaluation=lambda trial, evaluation: seen.append((trial, evaluation))
    )
    assert [(trial, evaluation.step) for trial, evaluation in seen] == [
        (trial, step) for step in (3, 6, 9, 12) for trial in range(2)
    ]
    for trial, evaluation in seen:
        for name in HISTORIES:
            assert getattr(evaluation, name) in done[trial].history[name]


@pytest.mark.parametrize("engine", PERCEPTRON_ENGINES)
def test_the_same_population_gives_the_same_bits(engine: str) -> None:
    first, again = ([Architecture().build(seed) for seed in range(3)] for _ in range(2))
    for models in (first, again):
        train_population(models, noise(), plan(engine=engine), orders(3))
    assert [all_bits(snapshot(model)) for model in first] == [all_bits(snapshot(model)) for model in again]


def shared_activation() -> nn.Module:
    act = nn.Tanh()
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), act, nn.Linear(5, 4), act, nn.Linear(4, 3))


def frozen_layer() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))
    model[1].requires_grad_(False)
    return model


def frozen_and_pruned() -> nn.Module:
    model = frozen_layer()
    write_mask(model[1], "weight", torch.ones(5, 16).tril())
    return model


def tied_layers() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    model[3].weight = model[1].weight
    return model


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))
    model[1].register_forward_hook(lambda module, inputs, output: output * 2)
    return model


UNUSUAL = {
    "shared activation": shared_activation,
    "frozen layer": frozen_layer,
    "frozen and pruned": frozen_and_pruned,
    "tied layers": tied_layers,
    "hook": hooked,
    "other slope": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ELU(2.0), nn.Linear(5, 3)),
    "other formula": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.GELU("tanh"), nn.Linear(5, 3)),
    "partial flatten": lambda: nn.Sequential(nn.Flatten(1, 2), nn.Flatten(), nn.Linear(16, 3)),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_networks_that_look_like_perceptrons_train_as_in_the_plain_loop(name: str) -> None:
    torch.manual_seed(0)
    models = [UNUSUAL[name]().double() for _ in range(2)]
    twins = copy.deepcopy(models)
    done = train_population(models, DATA, plan(), orders(2))
    agree(models, twins, done, one_by_one(twins, plan()))


@pytest.mark.parametrize("engine", PERCEPTRON_ENGINES)
def test_engines_agree_in_single_precision_up_to_rounding(engine: str) -> None:
    models: list[nn.Module] = [Architecture().build(seed) for seed in range(3)]
    for model in models:
        write_mask(model[1], "weight", torch.ones(6, 16).tril())  # type: ignore[index]
    twins = copy.deepcopy(models)
    done = train_population(models, noise(), plan(engine=engine), orders(3))
    for model, twin, order, result in zip(models, twins, orders(3), done, strict=True):
        expected = train(twin, noise(), plan(), order)
        for name, tensor in snapshot(twin).items():
            torch.testing.assert_close(snapshot(model)[name], tensor, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(result.history["val_loss"], expected.history["val_loss"], rtol=1e-4)


def test_dense_values_of_pruned_weights_stay_as_they_are() -> None:
    model = Architecture(dtype=torch.float64).build()
    write_mask(model[1], "weight", torch.rand(model[1].weight.shape) < 0.5)
    before, mask = live_state(model)["1.weight"].clone(), masks_of(model)["1.weight"]
    train_population([model], DATA, plan(weight_decay=0.1), orders(1))
    assert torch.equal(live_state(model)["1.weight"][~mask], before[~mask])
    assert not torch.equal(live_state(model)["1.weight"][mask], before[mask])


@pytest.mark.parametrize("engine", PERCEPTRON_ENGINES)
def test_a_diverged_trial_does_not_spoil_the_others(engine: str) -> None:
    models = [Architecture(dtype=torch.float64).build(seed) for seed in range(3)]
    with torch.no_grad():
        next(models[1].parameters()).fill_(math.nan)
    twins = copy.deepcopy(models)
    done = train_population(models, DATA, plan(engine=engine), orders(3))
    expected = one_by_one(twins, plan())
    assert np.isnan(done[1].history["val_loss"]).all()
    agree([models[0], models[2]], [twins[0], twins[2]], [done[0], done[2]], [expected[0], expected[2]])
    for name in ("val_acc", "test_acc"):
        np.testing.assert_array_equal(done[1].history[name], expected[1].history[name])


def lenet(density: float, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(784, 300), nn.Linear(300, 100), nn.Linear(100, 10)]
    for layer in layers:
        write_mask(layer, "weight", torch.rand(layer.weight.shape) < density)
    return nn.Sequential(nn.Flatten(), layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("density", [1.0, 0.5, 0.1])
def test_the_bits_of_a_trial_depend_neither_on_threads_nor_on_the_other_trials(density: float, pictures: bool) -> None:
    data = noise((784,), 10, (500, 1200, 100))
    data = mostly_background(data) if pictures else data
    found = set()
    for threads, trials in ((1, 1), (2, 1), (4, 1), (1, 3), (2, 3), (2, 5), (4, 5)):
        models = [lenet(density, trial) for trial in range(trials)]
        with threads_of_torch(threads):
            done = train_population(models, data, plan(optimizer="adam", lr=1e-3, batch_size=100), orders(trials))
        assert done[0].engine == "compiled"
        found.add((str(all_bits(snapshot(models[0]))), *(done[0].history[name].tobytes() for name in HISTORIES)))
    assert len(found) == 1


@pytest.mark.parametrize(("density", "pictures"), [(1.0, False), (0.5, True), (0.1, False), (0.1, True)])
def test_a_thousand_steps_in_single_precision_stay_close_to_the_plain_loop(density: float, pictures: bool) -> None:
    data = noise((784,), 10, (500, 200, 200))
    data = mostly_background(data) if pictures else data
    models, twins = [lenet(density, 0)], [lenet(density, 0)]
    words = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "batch_size": 60, "steps": 1000, "evaluate_every": 500}
    (done,), (expected,) = (
        train_population(each, data, plan(engine=engine, **words), orders(1))
        for each, engine in ((models, "compiled"), (twins, "reference"))
    )
    np.testing.assert_allclose(done.history["train_loss"], expected.history["train_loss"], rtol=1e-3, atol=1e-4)
    for name, tensor in snapshot(twins[0]).items():
        torch.testing.assert_close(snapshot(models[0])[name], tensor, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("form", "words", "device", "says"),
    [
        ("convolutional", {"engine": "compiled"}, "cpu", "multilayer perceptrons only.*unhooked"),
        ("convolutional", {"engine": "stacked"}, "cpu", "multilayer perceptrons only.*auto.*unhooked"),
        ("dense", {"engine": "compiled", "precision": "bf16"}, "cpu", "fp32, not in bf16"),
        ("dense", {"engine": "stacked", "precision": "bf16"}, "cpu", "fp32, not in bf16"),
        ("dense", {"engine": "compiled"}, "cuda", "CPU"),
    ],
)
def test_an_engine_is_refused_to_networks_that_it_does_not_train(
    form: str, words: dict[str, object], device: str, says: str
) -> None:
    with pytest.raises(RecipeError, match=says):
        check_engine(Architecture(form).build(), plan(**words), torch.device(device))
    check_engine(Architecture(form).build(), plan(**words | {"engine": "auto"}), torch.device(device))


@pytest.mark.parametrize(("form", "precision"), [("convolutional", "fp32"), ("dense", "bf16")])
def test_stacked_is_refused_before_training_where_unhooked_trains_and_auto_takes_it(form: str, precision: str) -> None:
    models = [Architecture(form).build(seed) for seed in range(2)]
    before = [snapshot(model) for model in models]
    with pytest.raises(RecipeError, match='"unhooked"'):
        train_population(models, noise(), plan(engine="stacked", precision=precision), orders(2))
    assert [all_bits(snapshot(model)) for model in models] == [all_bits(state) for state in before]
    for engine in ("unhooked", "auto"):
        done = train_population(models, noise(), plan(engine=engine, precision=precision), orders(2))
        assert [training.engine for training in done] == ["unhooked", "unhooked"]


@pytest.mark.parametrize(
    ("models", "words", "says"),
    [
        (0, {"orders": []}, "at least one model"),
        (3, {"orders": orders(2)}, r"orders for each model, and was given 2 for 3.*range\(3\)"),
        (2, {"orders": orders(2), "noises": orders(1)}, "noises for each model, and was given 1 for 2"),
    ],
)
def test_a_population_without_a_generator_for_each_model_is_refused_unchanged(
    models: int, words: dict[str, list[torch.Generator]], says: str
) -> None:
    population = [Architecture().build(seed) for seed in range(models)]
    before = [snapshot(model) for model in population]
    with pytest.raises(PruningError, match=says):
        train_population(population, noise(), plan(), **words)
    assert [all_bits(snapshot(model)) for model in population] == [all_bits(state) for state in before]


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("form", ["dense", "convolutional"])
def test_bf16_rounds_the_products_and_keeps_the_weights(form: str, engine: str) -> None:
    models = {precision: Architecture(form).build() for precision in ("fp32", "bf16")}
    done = {
        precision: train_population([model], noise(), plan(precision=precision, engine=engine), orders(1))[0]
        for precision, model in models.items()
    }
    full, half = (snapshot(models[precision]) for precision in ("fp32", "bf16"))
    for name, tensor in full.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], tensor, rtol=0.1, atol=0.05)
    assert all_bits(full) != all_bits(half)
    np.testing.assert_allclose(done["bf16"].history["val_loss"], done["fp32"].history["val_loss"], rtol=0.1)


PEAK = """
import sys, torch
from lthprune.training import TrainingPlan, train_population
from tests.nets import Architecture
from tests.tiny import noise

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def trained(models, data, **words):
    plan = TrainingPlan(optimizer="adam", lr=1e-3, engine=sys.argv[2], **words)
    train_population(models, data, plan, [torch.Generator() for _ in models])
"""

GROWTH = """
def go(steps):
    models = [Architecture(sys.argv[1], width=200).build(seed) for seed in range(3)]
    trained(models, noise(), batch_size=8, steps=steps, evaluate_every=50)

go(300)
go(300)
before = peak()
go(3000)
print(peak() - before)
"""


STATED = """
import gc
from lthprune.pruning.methods import write_mask

def lenet(seed, density):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(784, 300), torch.nn.Linear(300, 100), torch.nn.Linear(100, 10)]
    for layer in layers:
        write_mask(layer, "weight", torch.rand(layer.weight.shape) < density)
    return torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])

def population(trials, samples, density):
    data, models = noise((784,), 10, (2_000, samples, samples)), [lenet(seed, density) for seed in range(trials)]
    weights = sum(parameter.numel() * 4 for model in models for parameter in model.parameters())
    inputs = 2 * samples * 784 * 4
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = peak()
    trained(models, data, batch_size=60, steps=12, evaluate_every=2, patience=1)  # some trials stop before others
    return peak() - before, weights // 1024, inputs // 1024

population(1, 100, 0.5)  # sets up what is set up once
print(*population(20, 4_000, float(sys.argv[1])))
"""


def measured(script: str, form: str, engine: str) -> list[int]:
    command = [sys.executable, "-c", PEAK + script, form, engine]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    ("form", "engine"), [("dense", "stacked"), ("dense", "compiled"), ("convolutional", "unhooked")]
)
def test_memory_does_not_grow_with_steps(form: str, engine: str) -> None:
    (growth,) = measured(GROWTH, form, engine)
    assert growth < 8_000  # kB; one activation kept of every step would be 3,000 x 5 kB


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    ("engine", "density", "times"), [("stacked", 0.5, 14), ("compiled", 0.5, 14), ("compiled", 0.05, 4)]
)
def test_a_population_takes_no_more_memory_than_the_documentation_states(
    engine: str, density: float, times: int
) -> None:
    taken, weights, inputs = measured(STATED, str(density), engine)
    assert taken < times * weights + inputs + 10_000  # kB
