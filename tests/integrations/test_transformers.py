"""Iterative and one-shot pruning over repeated calls of Hugging Face's ``trainer.train()``."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lthprune
from lthprune.errors import PruningError, StorageError
from lthprune.pruning.prunable import select
from lthprune.pruning.state import live_state, masks_of, snapshot
from tests.nets import all_bits

transformers = pytest.importorskip("transformers")
accelerate = pytest.importorskip("accelerate")

from lthprune.integrations.transformers import IterativePruning, OneShotPruning  # noqa: E402
from tests.integrations.tokens import BERT, SIZES, bert, gpt2, gpt2_language, train, trainer  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::lthprune.errors.CoverageWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:'pin_memory'"),
]
DRIVERS = {"imp": (IterativePruning, lthprune.imp), "osp": (OneShotPruning, lthprune.osp)}


@pytest.fixture(autouse=True, scope="module")
def _frozen():
    """Let the garbage collections of accelerate, one for every training, pass over what was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Starts(transformers.TrainerCallback):
    """Notes what every training starts from, and the weights after every step."""

    def __init__(self):
        self.weights, self.momenta, self.rates, self.steps = [], [], [], []

    def on_train_begin(self, args, state, control, model, optimizer, **kwargs):
        self.weights.append({name: tensor.detach().clone() for name, tensor in live_state(model).items()})
        self.momenta.append(sum(len(each) for each in optimizer.state.values()))
        self.rates.append([group["lr"] for group in optimizer.param_groups])
        self.steps.append([])

    def on_step_end(self, args, state, control, model, **kwargs):
        masks, live = masks_of(model), live_state(model)
        assert all(not live[name][~mask].any() for name, mask in masks.items())
        self.steps[-1].append(snapshot(model))


class Failing(transformers.TrainerCallback):
    """Breaks off a training in its middle."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise RuntimeError("the machine has run out of memory")


def search(pruning, model, folder, *callbacks, **words):
    """Search with one Trainer for all levels."""
    one = trainer(model, folder, pruning, *callbacks, **words)
    while not pruning.finished:
        train(one)
    return pruning.tickets


def as_found(tickets):
    return [(all_bits(t.masks), all_bits(t.weights), all_bits(t.trained), t.metrics) for t in tickets]


def same(start, state, masks):
    """Whether a training starts from a state: equal to the bit where weights survive, and zero elsewhere."""
    everything = {name: masks.get(name, torch.ones_like(tensor, dtype=torch.bool)) for name, tensor in state.items()}
    return (
        start.keys() == state.keys()
        and all_bits({name: tensor[everything[name]] for name, tensor in start.items()})
        == all_bits({name: tensor[everything[name]] for name, tensor in state.items()})
        and not any(tensor[~everything[name]].any() for name, tensor in start.items())
    )


@pytest.mark.parametrize(("driver", "build"), [("imp", bert), ("osp", gpt2)])
def test_the_tickets_are_those_of_imp_and_osp_with_a_new_trainer_for_every_level(driver, build, tmp_path):
    callback, function = DRIVERS[driver]
    words = {"levels": 2, "rate": 0.3, "score": "movement", "seed": 3}
    logs = []

    def training(model):
        one = trainer(model, tmp_path)
        train(one)
        logs.append(one.state.log_history)

    expected = function(build(), training, **words)
    found = search(callback(**words), build(), tmp_path)
    assert [each[:3] for each in as_found(found)] == [each[:3] for each in as_found(expected)]
    for ticket, log in zip(found, logs, strict=True):
        assert ticket.metrics == {
            "eval_loss": log[-2]["eval_loss"],
            "eval_accuracy": log[-2]["eval_accuracy"],
            "epoch": 1.5,
            "step": 6,
            "train_loss": log[-1]["train_loss"],
        }


@pytest.mark.parametrize("build", [bert, gpt2, gpt2_language])
def test_every_training_starts_from_the_initial_weights_with_a_fresh_optimizer(build, tmp_path):
    starts, model = Starts(), build()
    initial, identities = snapshot(model), [id(parameter) for parameter in model.parameters()]
    tickets = search(IterativePruning(levels=2, rate=0.4), model, tmp_path, starts, warmup_steps=2)
    assert all(same(start, initial, ticket.masks) for start, ticket in zip(starts.weights, tickets, strict=True))
    assert starts.momenta == [0, 0, 0]
    assert starts.rates == [[0, 0]] * 3
    assert [id(parameter) for parameter in model.parameters()] == identities


def test_the_convolutions_of_gpt2_are_dense_and_tied_embeddings_are_left_out(tmp_path):
    model = gpt2_language()
    (ticket,) = search(IterativePruning(levels=0), model, tmp_path, max_steps=1)
    kinds = {tensor.name: tensor.kind for tensor in select(model)}
    assert ticket.masks.keys() == kinds.keys()
    assert sorted(kinds) == [
        f"transformer.h.{block}.{layer}.weight"
        for block in range(2)
        for layer in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    assert set(kinds.values()) == {"dense"}


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_level_is_what_its_ticket_trains_to_in_a_fresh_model_without_the_callback(level, tmp_path):
    ticket = search(IterativePruning(levels=2, rate=0.4), bert(), tmp_path)[level]
    fresh = ticket.apply(bert(seed=7))
    train(trainer(fresh, tmp_path))
    assert all_bits(snapshot(fresh)) == all_bits(ticket.trained)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_late_rewinding_goes_back_to_that_optimizer_step_of_the_dense_training(accumulated, tmp_path):
    starts, pruning = Starts(), IterativePruning(levels=2, rate=0.4, rewind=lthprune.Rewinder(at=3))
    tickets = search(pruning, bert(), tmp_path, starts, gradient_accumulation_steps=accumulated)
    assert pruning.start == 3
    for start, ticket in zip(starts.weights[1:], tickets[1:], strict=True):
        assert same(start, starts.steps[0][2], ticket.masks)


@pytest.mark.parametrize(
    "words",
    [
        {"bf16": True},
        {"gradient_accumulation_steps": 2},
        {"max_grad_norm": 0.1},
        {"optim": "adafactor"},
        {"optim": "sgd", "weight_decay": 0.1},
        {"gradient_checkpointing": True},
        {"neftune_noise_alpha": 5.0},
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
        {"num_train_epochs": 2, "max_steps": -1, "eval_strategy": "no"},
        {"eval_on_start": True, "auto_find_batch_size": True},
    ],
    ids=str,
)
def test_pruned_weights_stay_zero_and_levels_are_alike_with(words, tmp_path):
    model, starts = gpt2(), Starts()
    initial = snapshot(model)
    tickets = search(IterativePruning(levels=1, rate=0.5), model, tmp_path, starts, **words)
    assert all(same(start, initial, ticket.masks) for start, ticket in zip(starts.weights, tickets, strict=True))
    assert tickets[1].left == tickets[0].left // 2
    assert all_bits(snapshot(model)) == all_bits(tickets[-1].trained)
    fresh = tickets[1].apply(gpt2(seed=7))
    train(trainer(fresh, tmp_path, **words))
    assert all_bits(snapshot(fresh)) == all_bits(tickets[1].trained)


def test_the_best_checkpoint_of_each_level_is_its_ticket_and_loads_strictly(tmp_path):
    words = {"save_strategy": "steps", "save_steps": 3, "load_best_model_at_end": True}
    words |= {"metric_for_best_model": "loss", "greater_is_better": True}  # the first checkpoint, then
    model, starts, pruning = bert(), Starts(), IterativePruning(levels=2, rate=0.5)
    one = trainer(model, tmp_path, pruning, starts, **words)
    for level in range(3):
        train(one)
        ticket, best = pruning.tickets[level], one.state.best_model_checkpoint
        assert ticket.metrics["eval_loss"] == one.state.best_metric
        assert ticket.metrics["step"] == int(best.rpartition("-")[2])
        saved = transformers.BertForSequenceClassification.from_pretrained(best)
        assert list(saved.state_dict()) == list(bert().state_dict())
        assert all(torch.equal(tensor, ticket.trained[name]) for name, tensor in live_state(saved).items())
        assert all_bits(starts.steps[level][ticket.metrics["step"] - 1]) == all_bits(ticket.trained)
        assert not any(saved.state_dict()[name][~mask].any() for name, mask in ticket.masks.items())
    assert {ticket.metrics["step"] for ticket in pruning.tickets} == {3}


def test_a_model_of_which_little_is_pruned_by_default_is_announced_once(tmp_path):
    config = transformers.BertConfig(**BERT, **SIZES | {"vocab_size": 1000})
    model = transformers.BertForSequenceClassification(config)
    with pytest.warns(
        lthprune.errors.CoverageWarning, match=r"Left out, largest first: '.*word_embeddings\.weight'"
    ) as caught:
        search(IterativePruning(levels=1, rate=0.5), model, tmp_path, max_steps=1)
    assert sum(issubclass(each.category, lthprune.errors.CoverageWarning) for each in caught) == 1


def test_a_model_saved_after_the_search_has_the_names_of_an_unpruned_one(tmp_path):
    model, pruning = gpt2(), IterativePruning(levels=1, rate=0.5)
    one = trainer(model, tmp_path, pruning)
    while not pruning.finished:
        train(one)
    one.save_model(str(tmp_path / "saved"))
    loaded, report = transformers.GPT2ForSequenceClassification.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not any(report[fault] for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    trained = pruning.tickets[-1].trained
    assert all(torch.equal(tensor, trained[name]) for name, tensor in live_state(loaded).items())


def test_an_optimizer_and_a_scheduler_of_ones_own_are_taken_back(tmp_path):
    def own(model):
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for parameter in model.parameters():  # as if it had trained before the search
            optimizer.state[parameter]["momentum_buffer"] = torch.full_like(parameter, 0.01)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 4)

    model, starts, pruning = bert(), Starts(), IterativePruning(levels=2, rate=0.4)
    tickets = search(pruning, model, tmp_path, starts, optimizers=own(model))
    for ticket in tickets:
        fresh = ticket.apply(bert(seed=7))
        train(trainer(fresh, tmp_path, optimizers=own(fresh)))
        assert all_bits(snapshot(fresh)) == all_bits(ticket.trained)


def test_a_gradient_scaler_is_taken_back(tmp_path):
    scales = []

    class Scales(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, optimizer, **kwargs):
            scales.append(optimizer.scaler.get_scale())

    one = trainer(bert(), tmp_path, pruning := IterativePruning(levels=1, rate=0.4), Scales())
    one.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=2)
    while not pruning.finished:
        train(one)
    assert scales == [2, 4, 4, 8, 8, 16] * 2


def test_other_arguments_of_a_later_level_are_heeded(tmp_path):
    starts, pruning = Starts(), IterativePruning(levels=1, rate=0.4)
    one = trainer(bert(), tmp_path, pruning, starts, warmup_steps=2)
    train(one)
    one.args.warmup_steps = 0
    train(one)
    assert starts.rates == [[0, 0], [5e-3, 5e-3]]


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("broken", [0, 1])
def test_a_training_that_fails_does_not_count_and_the_next_one_starts_over(broken, at, tmp_path):
    expected = search(IterativePruning(levels=2, rate=0.4, rewind=lthprune.Rewinder(at=at)), bert(), tmp_path)
    model, pruning = bert(), IterativePruning(levels=2, rate=0.4, rewind=lthprune.Rewinder(at=at))
    one, failing = trainer(model, tmp_path, pruning), Failing()
    while not pruning.finished:
        if pruning.level == broken:
            one.add_callback(failing)
            with pytest.raises(RuntimeError, match="run out of memory"):
                train(one)
            one.remove_callback(failing)
            assert pruning.level == broken
        train(one)
    assert as_found(pruning.tickets) == as_found(expected)


def test_another_model_a_finished_search_and_a_checkpoint_to_continue_from_are_refused(tmp_path):
    model, pruning = bert(), IterativePruning(levels=1)
    one = trainer(model, tmp_path, pruning, save_strategy="steps", save_steps=3)
    train(one)
    with pytest.raises(PruningError, match="the training of level 1 has another model than the first one"):
        train(trainer(bert(), tmp_path, pruning))
    with pytest.raises(PruningError, match=r"resume_from_checkpoint=...\) continues a training at step 3"):
        one.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    train(one)
    with pytest.raises(PruningError, match="this search is finished: all 2 levels are trained"):
        train(one)
    assert len(pruning.tickets) == 2


def test_a_model_made_anew_for_every_training_is_refused(tmp_path):
    pruning = IterativePruning(levels=1)
    one = trainer(bert(), tmp_path, pruning, model_init=lambda: bert())
    train(one)
    with pytest.raises(PruningError, match="another model than the first one"):
        train(one)


def test_a_training_without_a_step_is_no_level(tmp_path):
    pruning = IterativePruning(levels=1)
    with pytest.raises(PruningError, match="made no step"):
        train(trainer(bert(), tmp_path, pruning, num_train_epochs=0, max_steps=-1))
    assert pruning.level == 0


def test_sharded_parameters_are_refused(tmp_path, monkeypatch):
    one = trainer(bert(), tmp_path, IterativePruning(levels=1))
    plugin = accelerate.FullyShardedDataParallelPlugin()  # whose Trainer needs several accelerators
    monkeypatch.setitem(accelerate.state.AcceleratorState._shared_state, "fsdp_plugin", plugin)
    with pytest.raises(PruningError, match="FSDP replaces the parameters of the model by shards"):
        one.callback_handler.on_train_begin(one.args, one.state, one.control)


@pytest.mark.parametrize(
    ("words", "error", "complaint"),
    [
        ({}, TypeError, "missing 1 required keyword-only argument: 'levels'"),
        ({"levels": 2, "scop": "global"}, TypeError, "unexpected keyword argument 'scop'"),
        ({"levels": -1}, PruningError, "levels = -1"),
    ],
)
def test_options_are_refused_when_the_callback_is_made(words, error, complaint):
    with pytest.raises(error, match=complaint):
        IterativePruning(**words)


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3])
def test_a_stored_search_goes_on_in_a_new_process_and_ends_with_the_same_bits(tmp_path, stop_after):
    words = {"levels": 2, "rate": 0.4}
    expected = search(IterativePruning(**words, rewind=lthprune.Rewinder(at=3)), bert(), tmp_path)
    words["store"] = tmp_path / "search"
    first = IterativePruning(**words, rewind=lthprune.Rewinder(at=3))
    one = trainer(bert(), tmp_path, first)
    for _ in range(stop_after):
        train(one)
    if stop_after < 3:
        one.add_callback(Failing())
        with pytest.raises(RuntimeError, match="run out of memory"):
            train(one)
    second = IterativePruning(**words, rewind=lthprune.Rewinder(at=3))
    assert (second.level, second.finished, second.start) == (stop_after, stop_after == 3, 3 if stop_after else 0)
    assert as_found(search(second, bert(seed=9), tmp_path)) == as_found(expected)
    with pytest.raises(StorageError, match="holds another search"):
        IterativePruning(**words | {"rate": 0.3}, rewind=lthprune.Rewinder(at=3))


SCRIPT = """
import os, sys, warnings
import torch
from lthprune import Rewinder
from lthprune.integrations.transformers import IterativePruning
from tests.integrations.tokens import bert, train, trainer

warnings.simplefilter("ignore")
torch.set_num_threads(1)
folder, rank = sys.argv[1], int(os.environ["RANK"])
pruning = IterativePruning(levels=2, rate=0.4, rewind=Rewinder(at=2), store=folder + "/store")
one = trainer(bert(seed=rank), folder, pruning, ddp_backend="gloo", ddp_timeout=60, per_device_train_batch_size=4)
while not pruning.finished:
    train(one)
torch.save([(t.masks, t.weights, t.trained) for t in pruning.tickets], f"{folder}/rank-{rank}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.heavy
def test_two_processes_find_the_same_tickets_and_one_of_them_stores_them(tmp_path):
    root = Path(lthprune.__file__).parents[1]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, tmp_path],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (torch.load(tmp_path / f"rank-{rank}.pt") for rank in range(2))
    assert [[all_bits(part) for part in level] for level in one] == [
        [all_bits(part) for part in level] for level in other
    ]
    stored = IterativePruning(levels=2, rate=0.4, rewind=lthprune.Rewinder(at=2), store=tmp_path / "store").tickets
    assert [all_bits(ticket.trained) for ticket in stored] == [all_bits(level[2]) for level in one]
