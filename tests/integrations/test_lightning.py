"""Iterative and one-shot pruning over repeated calls of Lightning's ``trainer.fit``."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lthprune
from lthprune.errors import PruningError, StorageError
from lthprune.pruning.state import live_state, masks_of, snapshot
from tests.nets import all_bits

L = pytest.importorskip("lightning.pytorch")

from lthprune.integrations.lightning import IterativePruning, OneShotPruning  # noqa: E402
from tests.integrations.digits_module import ByHand, Digits, build, fit, loader, quiet  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
DRIVERS = {"imp": (IterativePruning, lthprune.imp), "osp": (OneShotPruning, lthprune.osp)}


class Starts(L.Callback):
    """Notes what every fit starts from, and the weights after every optimiser step."""

    def __init__(self):
        self.weights, self.momenta, self.rates, self.steps = [], [], [], []

    def on_train_start(self, trainer, pl_module):
        self.weights.append({name: tensor.detach().clone() for name, tensor in live_state(pl_module).items()})
        self.momenta.append(sum(len(state) for state in trainer.optimizers[0].state.values()))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.steps.append({})

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.steps[-1].setdefault(trainer.global_step, snapshot(pl_module))


class Failing(L.Callback):
    """Breaks off a fit in its middle."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            raise RuntimeError("the machine has run out of memory")


def search(pruning, module, *callbacks, **words):
    while not pruning.finished:
        fit(module, pruning, *callbacks, **words)
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


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_tickets_are_those_of_imp_and_osp_with_the_same_training(driver):
    callback, function = DRIVERS[driver]
    words = {"levels": 2, "rate": 0.3, "score": "movement", "bias": "together", "seed": 3}
    expected = function(Digits(), fit, **words)
    assert as_found(search(callback(**words), Digits())) == as_found(expected)
    assert all(set(ticket.metrics) == {"val_acc"} for ticket in expected)


@pytest.mark.parametrize("module", [Digits, ByHand])
def test_every_fit_starts_from_the_initial_weights_biases_and_buffers_with_a_fresh_optimizer(module):
    starts, module = Starts(), module()
    initial, identities = snapshot(module), [id(parameter) for parameter in module.parameters()]
    tickets = search(IterativePruning(levels=2, rate=0.4), module, starts)
    assert all(same(start, initial, ticket.masks) for start, ticket in zip(starts.weights, tickets, strict=True))
    assert starts.momenta == [0, 0, 0]
    assert starts.rates == [0.1, 0.1, 0.1]
    assert [id(parameter) for parameter in module.parameters()] == identities
    assert [ticket.left for ticket in tickets] == [188, 113, 68]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_level_is_what_its_ticket_trains_to_in_a_fresh_module_without_the_callback(level):
    ticket = search(IterativePruning(levels=2, rate=0.4), Digits())[level]
    fresh = ticket.apply(Digits(seed=7))
    fit(fresh)
    assert all_bits(snapshot(fresh)) == all_bits(ticket.trained)


@pytest.mark.parametrize(("module", "accumulated"), [(Digits, 1), (Digits, 2), (ByHand, 1)])
def test_late_rewinding_goes_back_to_that_optimizer_step_of_the_dense_fit(module, accumulated):
    starts, pruning = Starts(), IterativePruning(levels=2, rate=0.4, rewind=lthprune.Rewinder(at=3))
    assert pruning.start == 0
    tickets = search(pruning, module(), starts, accumulate_grad_batches=accumulated)
    assert pruning.start == 3
    for start, ticket in zip(starts.weights[1:], tickets[1:], strict=True):
        assert same(start, starts.steps[0][3], ticket.masks)


@pytest.mark.parametrize("at", [3, 4])
def test_a_rewind_point_inside_a_batch_of_several_optimizer_steps_is_refused(at):
    class Twice(ByHand):
        def training_step(self, batch):
            super().training_step(batch)
            super().training_step(batch)

    starts, pruning = Starts(), IterativePruning(levels=1, rate=0.4, rewind=lthprune.Rewinder(at=at))
    if at == 3:
        with pytest.raises(PruningError, match=r"one batch took .* from 2 to 4, past the rewind point"):
            search(pruning, Twice())
    else:
        tickets = search(pruning, Twice(), starts)
        assert same(starts.weights[1], starts.steps[0][4], tickets[1].masks)


@pytest.mark.parametrize("rewind", ["lr", "none"])
def test_without_rewinding_a_fit_starts_from_the_weights_that_the_one_before_ended_with(rewind):
    starts = Starts()
    tickets = search(IterativePruning(levels=2, rate=0.4, rewind=rewind), Digits(), starts)
    for start, source, ticket in zip(starts.weights[1:], tickets, tickets[1:], strict=False):
        assert same(start, source.trained, ticket.masks)


@pytest.mark.parametrize(
    "words",
    [
        {"gradient_clip_val": 0.5},
        {"precision": "bf16-mixed"},
        {"precision": "bf16-true"},
        {"accumulate_grad_batches": 2},
        {"max_epochs": -1, "max_steps": 5},
        {"fast_dev_run": True},
        {
            "num_sanity_val_steps": 0,
            "limit_train_batches": 2,
            "gradient_clip_algorithm": "value",
            "gradient_clip_val": 0.1,
        },
    ],
    ids=str,
)
def test_pruned_weights_stay_zero_with(words):
    class Watching(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            masks, weights = masks_of(pl_module), live_state(pl_module)
            assert all(not weights[name][~mask].any() for name, mask in masks.items())
            assert not pruning.level or any(not mask.all() for mask in masks.values())

    module = Digits()
    pruning = IterativePruning(levels=2, rate=0.5)
    tickets = search(pruning, module, Watching(), **words)
    assert [ticket.left for ticket in tickets] == [188, 94, 47]
    assert all_bits(snapshot(module)) == all_bits(tickets[-1].trained)


def test_averaged_weights_of_every_fit_are_those_of_its_ticket():
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
    module, pruning = Digits(), IterativePruning(levels=2, rate=0.5)
    while not pruning.finished:
        fit(module, pruning, averaging.EMAWeightAveraging(decay=0.5))
    for ticket in pruning.tickets:
        assert all(not ticket.trained[name][~mask].any() for name, mask in ticket.masks.items())
    fresh = pruning.tickets[2].apply(Digits(seed=7))
    fit(fresh, averaging.EMAWeightAveraging(decay=0.5))
    assert all_bits(snapshot(fresh)) == all_bits(pruning.tickets[2].trained)


def test_a_fit_may_stop_early():
    pruning = IterativePruning(levels=1, rate=0.5)
    while not pruning.finished:
        stopping = L.callbacks.EarlyStopping("val_acc", mode="max", patience=1, min_delta=1.0)
        fit(Digits() if pruning.level == 0 else pruning._descent.models[0], pruning, stopping, max_epochs=50)
        assert stopping.stopped_epoch == 1
    assert len(pruning.tickets) == 2


def test_checkpoints_have_the_names_of_an_unpruned_module_and_load_strictly(tmp_path):
    module, pruning, paths = Digits(), IterativePruning(levels=1, rate=0.5), []
    while not pruning.finished:
        saving = L.callbacks.ModelCheckpoint(tmp_path / str(pruning.level), monitor="val_acc", mode="max")
        fit(module, pruning, saving, enable_checkpointing=True)
        paths.append(saving.best_model_path)
    names = list(Digits().state_dict())
    for path, ticket in zip(paths, pruning.tickets, strict=True):
        assert list(torch.load(path, weights_only=False)["state_dict"]) == names
        loaded = snapshot(Digits.load_from_checkpoint(path, strict=True, weights_only=False))
        assert {name: int(loaded[name].count_nonzero()) for name in ticket.masks} == {
            name: int(mask.sum()) for name, mask in ticket.masks.items()
        }
    trainer = quiet()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    assert list(torch.load(tmp_path / "after.ckpt", weights_only=False)["state_dict"]) == names


def test_a_dense_checkpoint_loaded_between_fits_brings_no_pruned_weight_back():
    module, starts, pruning = Digits(), Starts(), IterativePruning(levels=2, rate=0.5)
    initial = snapshot(module)
    fit(module, pruning, starts)
    dense = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    expected = search(IterativePruning(levels=2, rate=0.5), Digits())
    while not pruning.finished:
        fit(module, pruning, starts)
        module.load_state_dict(dense)
        module.net(torch.zeros(2, 1, 4, 4))
        live = live_state(module)
        assert all(not live[name][~mask].any() for name, mask in pruning.tickets[-1].masks.items())
    assert as_found(pruning.tickets) == as_found(expected)
    assert all(same(*each) for each in zip(starts.weights, [initial] * 3, [t.masks for t in expected], strict=True))


def test_a_dense_checkpoint_loaded_at_the_end_of_a_later_fit_is_refused():
    class Cloning(Digits):
        def on_train_end(self):
            clones = {name: tensor.clone() for name, tensor in self.state_dict().items()}
            self.load_state_dict(self.__dict__.setdefault("dense", clones))

    module, pruning = Cloning(), IterativePruning(levels=1, rate=0.5)
    fit(module, pruning)
    with pytest.raises(PruningError, match="pruned weights are not zero"):
        fit(module, pruning)
    assert len(pruning.tickets) == 1


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("broken", [0, 1])
def test_a_fit_that_fails_does_not_count_and_the_next_one_starts_over(broken, at):
    words = {"levels": 2, "rate": 0.4, "rewind": lthprune.Rewinder(at=at)}
    expected = search(IterativePruning(**words), Digits())
    module, pruning = Digits(), IterativePruning(**words | {"rewind": lthprune.Rewinder(at=at)})
    while not pruning.finished:
        if pruning.level == broken:
            with pytest.raises(RuntimeError, match="run out of memory"):
                fit(module, pruning, Failing())
            assert pruning.level == broken
        fit(module, pruning)
    assert as_found(pruning.tickets) == as_found(expected)


def test_a_trainer_that_has_reached_its_end_is_refused_and_a_new_one_goes_on():
    module, pruning = Digits(), IterativePruning(levels=1, rate=0.5)
    trainer = quiet(pruning)
    trainer.fit(module, loader(), loader(1))
    trained = snapshot(module)
    with pytest.raises(PruningError, match="Make a new Trainer for each level"):
        trainer.fit(module, loader(), loader(1))
    assert pruning.level == 1
    assert all_bits(snapshot(module)) == all_bits(trained)
    fit(module, pruning)
    assert [ticket.left for ticket in pruning.tickets] == [188, 94]


def test_one_trainer_serves_all_levels_where_its_limit_grows():
    module, starts, pruning = Digits(), Starts(), IterativePruning(levels=2, rate=0.5)
    initial, trainer = snapshot(module), quiet(pruning, starts)
    while not pruning.finished:
        trainer.fit(module, loader(), loader(1))
        trainer.fit_loop.max_epochs += 2
    assert trainer.global_step == 3 * 2 * 4
    assert all(same(s, initial, t.masks) for s, t in zip(starts.weights, pruning.tickets, strict=True))


def test_a_fit_without_a_step_is_no_level():
    with pytest.raises(PruningError, match="made no optimiser step"):
        fit(Digits(), pruning := IterativePruning(levels=1), limit_train_batches=0)
    assert pruning.level == 0


def test_evaluations_between_fits_change_nothing_and_count_nothing():
    module, pruning = Digits(), IterativePruning(levels=1, rate=0.5)
    for trainer in (quiet(pruning), quiet(pruning)):
        trainer.validate(module, loader(1), verbose=False)
        trainer.fit(module, loader(), loader(1))
        ended = snapshot(module)
        trainer.test(module, loader(1), verbose=False)
        assert all_bits(snapshot(module)) == all_bits(ended)
    assert pruning.finished


def test_layers_may_be_made_by_hooks_once():
    class Late(Digits):
        def __init__(self):
            super().__init__()
            self.net = None

        def configure_model(self):
            if self.net is None:
                torch.manual_seed(0)
                self.net = build()

    tickets = search(IterativePruning(levels=2, rate=0.4), Late())
    torch.manual_seed(0)
    assert all_bits(tickets[2].weights) == all_bits({f"net.{n}": t for n, t in build().state_dict().items()})


@pytest.mark.parametrize("hook", ["setup", "configure_model"])
def test_layers_that_are_made_again_for_every_fit_are_refused_before_any_training(hook):
    class Again(Digits):
        pass

    setattr(Again, hook, lambda self, stage="fit": setattr(self, "net", build()))
    starts, module, pruning = Starts(), Again(), IterativePruning(levels=1)
    fit(module, pruning, starts)
    with pytest.raises(PruningError, match=r"Build layers once, in __init__ or behind"):
        fit(module, pruning, starts)
    assert len(starts.weights) == 1


def test_an_optimizer_and_a_scheduler_that_live_on_are_taken_back():
    class Keeping(Digits):
        def configure_optimizers(self):
            if "kept" not in self.__dict__:
                self.__dict__["kept"] = super().configure_optimizers()
            return self.__dict__["kept"]

    starts = Starts()
    tickets = search(IterativePruning(levels=2, rate=0.4), Keeping(), starts)
    assert starts.momenta == [0, 0, 0]
    assert starts.rates == [0.1, 0.1, 0.1]
    assert as_found(tickets) == as_found(search(IterativePruning(levels=2, rate=0.4), Digits()))


def test_an_optimizer_that_copies_weights_when_it_is_made_copies_the_rewound_ones():
    copies = []

    class Anchored(Digits):
        def configure_optimizers(self):
            copies.append(snapshot(self))
            return super().configure_optimizers()

    module = Anchored()
    initial = snapshot(module)
    tickets = search(IterativePruning(levels=2, rate=0.4), module)
    assert all(same(copy, initial, ticket.masks) for copy, ticket in zip(copies, tickets, strict=True))


def test_weights_that_a_hook_of_the_module_draws_anew_are_rewound():
    class Drawing(Digits):
        def setup(self, stage):
            for layer in self.net:
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()

    starts, pruning, module = Starts(), IterativePruning(levels=2, rate=0.4), Drawing()
    for seed in range(3):
        torch.manual_seed(seed)
        quiet(pruning, starts).fit(module, loader())
    assert all(same(s, starts.weights[0], t.masks) for s, t in zip(starts.weights, pruning.tickets, strict=True))


def test_another_module_a_finished_search_and_a_checkpoint_to_continue_from_are_refused(tmp_path):
    module, pruning = Digits(), IterativePruning(levels=1)
    trainer = quiet(pruning)
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "middle.ckpt")
    with pytest.raises(PruningError, match="the fit of level 1 has another model than the first one"):
        fit(Digits(), pruning)
    with pytest.raises(PruningError, match=r"trainer.fit\(ckpt_path=...\) would replace the rewound weights"):
        quiet(pruning, max_epochs=9).fit(module, loader(), ckpt_path=tmp_path / "middle.ckpt", weights_only=False)
    fit(module, pruning)
    with pytest.raises(PruningError, match="this search is finished: all 2 levels are trained"):
        fit(module, pruning)
    assert len(pruning.tickets) == 2


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_processes_that_end_with_the_fit_are_refused(strategy):
    pruning = IterativePruning(levels=1)
    with pytest.raises(PruningError, match="trains in processes that end with the fit"):
        pruning.setup(quiet(pruning, strategy=strategy), Digits(), "fit")


@pytest.mark.parametrize("name", ["FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"])
def test_strategies_that_shard_parameters_are_refused(name):
    trainer = quiet(pruning := IterativePruning(levels=1))
    sharding = getattr(L.strategies, name)
    trainer.strategy.__class__ = type(name, (type(trainer.strategy), sharding), {})  # they themselves need GPUs
    with pytest.raises(PruningError, match=f"{name} replaces the parameters of the module by shards"):
        pruning.setup(trainer, Digits(), "fit")


@pytest.mark.parametrize(
    ("words", "error", "complaint"),
    [
        ({}, TypeError, "missing 1 required keyword-only argument: 'levels'"),
        ({"levels": 2, "scop": "global"}, TypeError, "unexpected keyword argument 'scop'"),
        ({"levels": 2, "form": "torch"}, TypeError, "unexpected keyword argument 'form'"),
        ({"levels": 2, "rate": 0.2, "target": 0.1}, PruningError, "give one of rate, target and schedule"),
        ({"levels": 2, "rewind": "late"}, PruningError, "unknown rewind 'late'"),
        ({"levels": 2, "store": ""}, PruningError, "name a folder"),
        ({"levels": 2, "on_level": 3}, PruningError, "on_level is a function"),
    ],
)
def test_options_are_refused_when_the_callback_is_made(words, error, complaint):
    with pytest.raises(error, match=complaint):
        IterativePruning(**words)


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3])
@pytest.mark.parametrize("rewind", ["init", lthprune.Rewinder(at=3)], ids=str)
def test_a_stored_search_goes_on_in_a_new_process_and_ends_with_the_same_bits(tmp_path, stop_after, rewind):
    at = rewind if rewind == "init" else lthprune.Rewinder(at=3)
    words = {"levels": 2, "rate": 0.4, "store": tmp_path / "search"}
    expected = search(IterativePruning(levels=2, rate=0.4, rewind=rewind), Digits())
    first, module = IterativePruning(**words, rewind=at), Digits()
    for _ in range(stop_after):
        fit(module, first)
    if stop_after < 3:
        with pytest.raises(RuntimeError, match="run out of memory"):
            fit(module, first, Failing())
    seen = []
    second = IterativePruning(**words, rewind=at, on_level=seen.append)
    assert (second.level, second.finished) == (stop_after, stop_after == 3)
    assert second.start == (3 if rewind != "init" and stop_after else 0)
    assert as_found(search(second, Digits(seed=9))) == as_found(expected)
    assert [ticket.level for ticket in seen] == list(range(stop_after, 3))
    with pytest.raises(StorageError, match="holds another search: schedule was"):
        IterativePruning(**words | {"rate": 0.3}, rewind=at)


def test_a_few_batches_of_fast_dev_run_are_not_stored(tmp_path):
    with pytest.raises(PruningError, match="fast_dev_run trains a few batches"):
        fit(Digits(), IterativePruning(levels=1, store=tmp_path / "search"), fast_dev_run=True)
    assert not (tmp_path / "search").exists()


def test_a_learning_rate_may_be_searched_before_a_level(tmp_path):
    module, starts, pruning = Digits(), Starts(), IterativePruning(levels=1, rate=0.5)
    module.lr = 0.1
    initial = snapshot(module)
    for callbacks in itertools.permutations([pruning, L.callbacks.LearningRateFinder(num_training_steps=5)]):
        fit(module, *callbacks, starts, default_root_dir=tmp_path, enable_checkpointing=False)
    assert all(same(s, initial, t.masks) for s, t in zip(starts.weights, pruning.tickets, strict=True))


SCRIPT = """
import os, sys, warnings
from datetime import timedelta
import torch
from lightning.pytorch.strategies import DDPStrategy
from lthprune import Rewinder
from lthprune.integrations.lightning import IterativePruning
from tests.integrations.digits_module import Digits, loader, quiet
from tests.nets import all_bits

warnings.simplefilter("ignore")
torch.set_num_threads(1)
folder = sys.argv[1]
module = Digits(seed=int(os.environ.get("LOCAL_RANK", 0)))
pruning = IterativePruning(levels=2, rate=0.4, rewind=Rewinder(at=2), store=folder + "/store")
while not pruning.finished:
    limited = DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=60))
    trainer = quiet(pruning, devices=2, strategy=limited)
    trainer.fit(module, loader(), loader(1))
torch.save([(t.masks, t.weights, t.trained) for t in pruning.tickets], f"{folder}/rank-{trainer.global_rank}.pt")
"""


@pytest.mark.heavy
def test_two_processes_find_the_same_tickets_and_one_of_them_stores_them(tmp_path):
    root = Path(lthprune.__file__).parents[1]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (torch.load(tmp_path / f"rank-{rank}.pt") for rank in range(2))
    buffers = {name for name in one[0][2] if "running" in name}  # each process has its own batches
    for mine, theirs in zip(one, other, strict=True):
        for part, counterpart in zip(mine, theirs, strict=True):
            assert part.keys() == counterpart.keys()
            assert all(torch.equal(part[name], counterpart[name]) for name in part.keys() - buffers)
    assert [int(sum(mask.sum() for mask in level[0].values())) for level in one] == [188, 113, 68]
    stored = IterativePruning(levels=2, rate=0.4, rewind=lthprune.Rewinder(at=2), store=tmp_path / "store").tickets
    assert [all_bits(ticket.trained) for ticket in stored] == [all_bits(level[2]) for level in one]
