"""Pretraining on other data: its weights are the initial ones of the run."""

from pathlib import Path

import pytest
import torch

from lthprune.data.loading import load_data
from lthprune.errors import RecipeError
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.preview import preview_recipe
from lthprune.experiments.recipe import load_recipe
from lthprune.experiments.run import Run
from lthprune.pruning.state import snapshot
from lthprune.training.population import train_population
from tests.nets import all_bits
from tests.tiny import contents, copied_before_writes, tiny

OTHER = ["pretrain.steps=5", "pretrain.data.name=digits", "pretrain.data.validation=100"]


def test_a_run_starts_from_the_weights_after_pretraining_and_rewinds_to_them(tmp_path: Path) -> None:
    recipe = tiny(*OTHER, "pretrain.lr=0.01", "train.lr_schedule=cosine", "train.patience=1", "train.warmup=2")
    run = run_recipe(recipe, "tiny", out=tmp_path)
    assert recipe.pretrain is not None
    models = [recipe.build_model((1, 8, 8), 10, trial) for trial in range(2)]
    plan = tiny("train.steps=5", "train.lr=0.01", "train.evaluate_every=5").train
    orders = [recipe.run.generator("order", trial) for trial in range(2)]
    train_population(models, load_data(recipe.pretrain.data), plan, orders)
    for level in range(3):
        for ticket, model in zip(run.tickets.level(level), models, strict=True):
            for name, tensor in snapshot(model).items():
                mask = ticket.masks.get(name, torch.ones_like(tensor))
                assert torch.equal(ticket.weights[name] * mask, tensor * mask)


@pytest.mark.parametrize(("classes", "kept"), [("[9, 8, 7]", False), ("[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]", True)])
def test_the_output_layer_is_new_only_for_another_number_of_classes(classes: str, kept: bool, tmp_path: Path) -> None:
    run = run_recipe(tiny(*OTHER, f"pretrain.data.classes={classes}", "run.trials=1"), "tiny", out=tmp_path)
    fresh, weights = snapshot(run.model()), run.tickets.ticket(0).weights
    assert not torch.equal(weights["dense1.weight"], fresh["dense1.weight"])
    for name in ("output.weight", "output.bias"):
        assert torch.equal(weights[name], fresh[name]) != kept


def test_a_resumed_run_does_not_pretrain_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny(*OTHER, "run.trials=1")
    whole, copies = copied_before_writes(tmp_path, monkeypatch, lambda out: run_recipe(recipe, "tiny", out=out))
    monkeypatch.setattr("lthprune.experiments.execution.pretrain", None)
    begun = [copy for copy in copies if (copy / "manifest.json").exists()]
    for copy in (begun[0], begun[-1]):
        assert contents(resume_run(Run(copy)).folder) == contents(whole.folder)


def test_steps_of_pretraining_may_be_epochs_of_its_data(tmp_path: Path) -> None:
    runs = [
        run_recipe(tiny(*OTHER, f"pretrain.steps={steps}", "run.trials=1"), "tiny", out=tmp_path)
        for steps in ("0.5ep", "7")  # of 1,337 samples in batches of 100: 13 steps to an epoch
    ]
    first, second = (all_bits(run.tickets.ticket(0).weights) for run in runs)
    assert first != second
    again = run_recipe(tiny(*OTHER, "pretrain.steps=6", "run.trials=1"), "tiny", out=tmp_path)
    assert all_bits(again.tickets.ticket(0).weights) == first


def test_data_that_the_network_cannot_take_are_refused() -> None:
    other = ["pretrain.steps=5", "pretrain.data.name=cifar10", "pretrain.data.validation=100"]
    with pytest.raises(RecipeError, match=r"cifar10 has inputs of shape \(3, 32, 32\), and \[data\] digits"):
        preview_recipe(tiny(*other))
    with pytest.raises(RecipeError, match="less than a step"):
        run_recipe(tiny(*OTHER, "pretrain.steps=0.01ep"), "tiny", out="nowhere")
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["pretrain.steps=5"], r"\[pretrain\] data: this key is missing"),
        ([*OTHER, "pretrain.step=5"], r"\[pretrain\] step: unknown key; did you mean 'steps'"),
        ([*OTHER, "pretrain.data.name=digts"], r"\[pretrain\.data\] name: .*did you mean 'digits'"),
    ],
)
def test_a_faulty_table_is_refused_by_its_key(settings: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_recipe("lenet-digits", settings)
