"""Trainings that are interrupted and continue from their checkpoints end with the same bits."""

import contextlib
import copy
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthprune import prune
from lthprune.errors import StorageError
from lthprune.files import read_tensors
from lthprune.pruning.state import State, snapshot
from lthprune.search.rewinding import Rewinder
from lthprune.training import checkpoint, population
from lthprune.training.checkpoint import Checkpoint
from lthprune.training.module_state import module_state, restore_module
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from lthprune.training.record import Evaluation, Training
from tests.nets import all_bits, net
from tests.tiny import noise, several
from tests.twins import doubled

OPTIMIZERS = (
    {"optimizer": "sgd", "lr": 0.1, "l1": 0.01},
    {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "label_smoothing": 0.1},
    {"optimizer": "adam", "lr": 0.02, "weight_decay": 0.1},
    {"optimizer": "adamw", "lr": 0.02, "weight_decay": 0.1, "l1": 0.01, "lr_schedule": "cosine"},
)
ASPECTS: dict[str, dict[str, Any]] = {
    "augmentation": {"augment": ("crop", "flip")},
    "dropout": {"kind": "dropping"},
    "batch norm": {"kind": "normalised"},
    "bf16": {"precision": "bf16-anywhere"},
    "early stopping": {"patience": 1, "steps": 40, "evaluate_every": 2, "keep_early_stop": True},
    "a late rewind point": {"rewind": 4},
    "a start at a rewind point": {"start": 4, "rewind": 4},
    "several tasks": {"tasks": 2},
    "the form of torch": {"form": "torch"},
    "no masks": {"form": ""},
    "another schedule": {"lr_schedule": "cosine"},
}
TRAINED_BY = {  # by the others: all
    "compiled": ASPECTS.keys() - {"augmentation", "dropout", "batch norm", "bf16"},
    "stacked": ASPECTS.keys() - {"dropout", "batch norm", "bf16"},
}
TRIALS = 3


class KilledError(Exception):
    """The process ends here."""


@pytest.fixture(autouse=True)
def a_checkpoint_at_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)


def generators(seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + trial) for trial in range(TRIALS)]


def network(kind: str, trial: int, form: str) -> nn.Module:
    if kind == "dropping":
        body = net("normalised", trial)
        model: nn.Module = nn.Sequential(*body[:-1], nn.Dropout(0.5), body[-1])
    else:
        model = net(kind, trial)
    if form:
        prune(model, 0.6, form=form)  # type: ignore[arg-type]
    return model


def trained(
    folder: Path | None = None,
    kill_at: int = 0,
    *,
    kind: str = "dense",
    form: str = "plain",
    tasks: int = 1,
    double: bool = False,
    start: int = 0,
    rewind: int = 0,
    seen: list[tuple[int, int]] | None = None,
    keep_early_stop: bool = False,
    **plan: Any,
) -> dict[str, object]:
    """All that a training ends with, to the bit; it may be killed at an evaluation, the first being 1."""
    seen = [] if seen is None else seen
    data = noise(tasks=several([1, 2]) if tasks > 1 else ())
    models = [network(kind, trial, form) for trial in range(TRIALS)]
    if double:  # sums of single precision are exact in double precision, in any order
        data, models = doubled(data), [model.double() for model in models]
    rewinder = Rewinder(at=rewind)
    rewinder.watch(*models)
    words = {"batch_size": 8, "steps": 12, "evaluate_every": 3} | (OPTIMIZERS[1] if "optimizer" not in plan else {})

    def look(trial: int, evaluation: Evaluation) -> None:
        seen.append((trial, evaluation.step))
        if len(seen) == kill_at:
            raise KilledError

    before = torch.get_rng_state()
    done = train_population(
        models,
        data,
        TrainingPlan.model_validate(words | plan),
        generators(0),
        noises=generators(10),
        augmenters=generators(20),
        start=start,
        no_stop_before=rewind,
        keep_early_stop=keep_early_stop,
        on_steps=(lambda trial, steps: rewinder.step(models[trial], steps)) if rewind else None,
        on_evaluation=look,
        checkpoints=None if folder is None else (lambda trial, by: Checkpoint(folder / f"{trial}.safetensors", by)),
    )
    assert torch.equal(torch.get_rng_state(), before)
    return {
        "models": [all_bits(snapshot(model)) for model in models],
        "rewound": [all_bits(rewinder.captured(model)) for model in models] if start < rewind else None,
        "trainings": [bits_of(each) for each in done],
    }


def bits_of(training: Training) -> tuple[object, ...]:
    history = {name: (curve.shape, curve.tobytes()) for name, curve in training.history.items()}
    kept = training.early_stop_state
    return training.early_stop, training.engine, history, None if kept is None else all_bits(kept)


@st.composite
def trainings(draw: st.DrawFn) -> dict[str, Any]:
    """What to train, and how: an engine that takes it."""
    engine = draw(st.sampled_from(["compiled", "stacked", "unhooked", "reference", "auto"]))
    kinds = ["dense"] if engine in ("compiled", "stacked") else ["dense", "normalised", "dropping"]
    words: dict[str, Any] = {"engine": engine, "kind": draw(st.sampled_from(kinds))}
    words |= draw(st.sampled_from(OPTIMIZERS)) | draw(st.sampled_from([{}, {"patience": 1}, {"patience": 2}]))
    words["form"] = draw(st.sampled_from(["", "plain", "torch"]))
    words["tasks"] = draw(st.integers(1, 2))
    words["keep_early_stop"] = draw(st.booleans())
    words |= draw(st.sampled_from([{}, {"start": 4, "rewind": 4}, {"rewind": 4}, {"rewind": 6}, {"rewind": 11}]))
    if engine != "compiled" and words["tasks"] == 1:
        words["augment"] = draw(st.sampled_from([(), ("crop",), ("crop", "flip")]))
    if engine not in ("compiled", "stacked"):
        words["precision"] = draw(st.sampled_from(["fp32", "bf16-anywhere"]))
    return words


def check_continued(kills: list[int], words: dict[str, Any]) -> None:
    """Check that a training that is killed at evaluations ends as one that is not, and trains no step twice."""
    expected = trained(**words)
    with tempfile.TemporaryDirectory() as folder:
        seen: list[tuple[int, int]] = []
        for kill_at in kills:
            own: list[tuple[int, int]] = []
            with contextlib.suppress(KilledError):
                trained(Path(folder), kill_at, seen=own, **words)
            seen += own
        assert trained(Path(folder), seen=seen, **words) == expected
    again = len(seen) - len(set(seen))
    assert again <= TRIALS * len(kills)  # the evaluations that it was killed at, and the last of finished trials


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("engine", ["compiled", "stacked", "unhooked", "reference"])
def test_every_engine_continues_with_every_optimiser_to_the_same_bits(
    engine: str, optimizer: dict[str, object]
) -> None:
    check_continued([5], {"engine": engine, **optimizer})


@pytest.mark.parametrize(
    ("engine", "aspect"),
    [
        (engine, aspect)
        for engine in ("compiled", "stacked", "unhooked", "reference")
        for aspect in ASPECTS
        if aspect in TRAINED_BY.get(engine, ASPECTS)
    ],
)
def test_every_engine_continues_with_whatever_it_trains_to_the_same_bits(engine: str, aspect: str) -> None:
    check_continued([5, 4, 4, 4, 4], {"engine": engine, **ASPECTS[aspect]})


def test_a_training_whose_steps_are_made_in_parts_continues_with_the_same_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(population, "_STEPS", 3)
    check_continued([5, 4], {"engine": "compiled", "evaluate_every": 5, "steps": 20, "double": True})


def test_trials_stop_at_different_evaluations_where_early_stopping_is_tested() -> None:
    seen: list[tuple[int, int]] = []
    trained(seen=seen, **ASPECTS["early stopping"])
    last = dict(seen)
    assert min(last.values()) < max(last.values()) < 40


@given(words=trainings(), kills=st.lists(st.integers(4, 9), min_size=1, max_size=3))
def test_an_interrupted_training_continues_from_its_checkpoint_to_the_same_bits(
    words: dict[str, Any], kills: list[int]
) -> None:
    check_continued(kills, words)


def left_by_a_kill(folder: Path, kill_at: int = 5, **words: Any) -> Path:
    """The checkpoint of a training that was killed."""
    with pytest.raises(KilledError):
        trained(folder, kill_at, **words)
    return folder / "0.safetensors"


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "lengthened", "of another format"])
def test_a_damaged_checkpoint_is_a_warning_and_the_training_starts_again_to_the_same_bits(
    tmp_path: Path, damage: str
) -> None:
    path = left_by_a_kill(tmp_path)
    whole = path.read_bytes()
    spoiled = {
        "cut": whole[: len(whole) // 2],
        "emptied": b"",
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "lengthened": whole + b"\0",
        "of another format": whole.replace(b'\\"format\\": 1', b'\\"format\\": 2'),
    }[damage]
    assert spoiled != whole
    path.write_bytes(spoiled)
    seen: list[tuple[int, int]] = []
    with pytest.warns(
        UserWarning, match="0.safetensors is not used, so the training starts again, with the same result"
    ):
        assert trained(tmp_path, seen=seen) == trained()
    assert seen[0] == (0, 3)


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_checkpoint_with_any_bit_flipped_changes_no_result(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    path = left_by_a_kill(tmp_path_factory.mktemp("flipped"))
    whole = bytearray(path.read_bytes())
    whole[place % len(whole)] ^= 1 << bit
    path.write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Checkpoint(path, "compiled on cpu").read() is None
    path.unlink()


def test_the_checkpoint_of_another_training_is_not_used(tmp_path: Path) -> None:
    left_by_a_kill(tmp_path, engine="stacked")
    seen: list[tuple[int, int]] = []
    assert trained(tmp_path, seen=seen, engine="compiled") == trained(engine="compiled")
    assert seen[0] == (0, 3)


FORGERIES: dict[str, Callable[[State], object]] = {
    "an array too long": lambda tensors: tensors.update({"engine/0/values": torch.zeros(10_000)}),
    "an array of another type": lambda tensors: tensors.update({"engine/0/made": torch.tensor(1.0)}),
    "no optimiser": lambda tensors: tensors.pop("engine/1/first"),
    "an array too many": lambda tensors: tensors.update({"engine/9/values": torch.zeros(1)}),
    "no evaluations": lambda tensors: tensors.pop("trial-2/evaluations"),
    "steps beyond the plan": lambda tensors: tensors["trial-1/evaluations"][:, 0].fill_(1e12),
    "trials at different steps": lambda tensors: tensors.update(
        {"trial-0/evaluations": tensors["trial-0/evaluations"].repeat(2, 1).cumsum(0)}
    ),
    "a copy of another network": lambda tensors: tensors.update({"trial-0/early-stop/weight": torch.zeros(3)}),
    "every trial has stopped": lambda tensors: tensors.update(
        {f"trial-{trial}/trained/weight": torch.zeros(3) for trial in range(TRIALS)}
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_intact_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, forgery: str) -> None:
    path = left_by_a_kill(tmp_path)
    tensors, header = read_tensors(path)
    FORGERIES[forgery](tensors)
    about = json.loads(header)
    Checkpoint(path, about["training"]).write(tensors)
    with pytest.raises(StorageError, match=r"0\.safetensors does not fit .* Remove the file"):
        trained(tmp_path)


@pytest.mark.parametrize("name", ["engine/0/draws/0", "engine/0/exp_avg/0.weight", "engine/1/model/0.weight"])
@pytest.mark.parametrize("value", [None, torch.zeros(3, dtype=torch.uint8)])
def test_a_forged_state_of_a_module_or_a_generator_is_refused(
    tmp_path: Path, name: str, value: torch.Tensor | None
) -> None:
    words = {"kind": "dropping", **OPTIMIZERS[3]}
    path = left_by_a_kill(tmp_path, **words)
    tensors, header = read_tensors(path)
    del tensors[name]
    Checkpoint(path, json.loads(header)["training"]).write(tensors | ({} if value is None else {name: value}))
    before = torch.get_rng_state()
    with pytest.raises(StorageError, match=r"0\.safetensors does not fit"):
        trained(tmp_path, **words)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_that_cannot_be_written_is_a_warning_and_the_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "0.safetensors").mkdir()
    with pytest.warns(UserWarning, match="cannot write .*0.safetensors.* goes on without a new checkpoint"):
        assert trained(tmp_path) == trained()


def test_checkpoints_are_minutes_apart_and_further_if_writing_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "0.safetensors"
    monkeypatch.setattr(checkpoint, "EVERY", 1000.0)
    kept = Checkpoint(path, "")
    assert not kept.due
    trained(tmp_path)
    assert not path.exists()
    monkeypatch.setattr(checkpoint, "EVERY", 1e-3)
    kept = Checkpoint(path, "")
    time.sleep(2e-3)
    assert kept.due
    monkeypatch.setattr(checkpoint, "_ALLOWED", 1e-9)  # as if writing took millions of times as long
    kept.write({"weight": torch.zeros(1)})
    time.sleep(2e-3)
    assert not kept.due


def test_the_optimiser_of_a_module_is_restored_in_the_memory_layout_that_it_makes_itself() -> None:
    def stepped(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 3, 5, 5)).sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model)
    optimizer, other = (torch.optim.Adam(each.parameters(), fused=True) for each in (model, twin))
    stepped(model, optimizer)
    file = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in module_state(model, optimizer).items()
    }
    restore_module(twin, other, file)
    for each in (model, twin):
        stepped(each, optimizer if each is model else other)
    assert all_bits(snapshot(twin)) == all_bits(snapshot(model))
    for parameter, restored in zip(model.parameters(), twin.parameters(), strict=True):
        for key, value in optimizer.state[parameter].items():
            assert other.state[restored][key].stride() == value.stride()
