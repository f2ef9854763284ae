"""Recipes that no memory holds are refused before any of it is taken."""

import pytest

from lthprune.errors import DataError, RecipeError
from lthprune.experiments.experiment import prepare
from lthprune.experiments.preview import preview_recipe
from tests.tiny import tiny, toys


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["model.hidden=1000000000"], "hidden: input should be less than or equal to 100000000"),
        (["model.dense=[100000000, 100000000]"], "weights takes .* GB of memory"),
        ([f"model.dense=[{', '.join(['1'] * 3000)}]"], "dense: tuple should have at most 2000 items"),
        (["model.kind=plan", "model.conv=[100000000, 100000000]"], "weights takes .* GB of memory"),
        (
            ["model.kind=plan", "model.conv=[99999999, 99999999]", "model.kernel_size=999", "model.padding=1000"],
            "weigh",
        ),
        (["model.kind=resnet", "model.depth=600000002"], "depth: input should be less than or equal to 2000"),
        (["data.size=100000"], "size: input should be less than or equal to 4096"),
        (["train.lr=1e-300"], r"lr: 1e-300 is no number of single precision.*1\.2e-38 to 3\.4e\+38"),
        (["train.lr=1e300"], "is no number of single precision"),
        (["train.weight_decay=1e39"], "is no number of single precision"),
    ],
)
def test_sizes_and_numbers_that_cannot_be_are_refused_by_a_preview(settings: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        preview_recipe(tiny(*settings))


def test_a_network_that_fits_once_but_not_with_what_training_needs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny("model.dense=[1000]")  # 75,000 weights: 0.3 MB for each of 5 copies and 2 trials
    prepare(recipe)
    monkeypatch.setattr("lthprune.memory.available_memory", lambda: 2_000_000)
    preview_recipe(recipe)
    with pytest.raises(RecipeError, match="training 2 trials of this network in batches of 100 takes"):
        prepare(recipe)


def test_outputs_of_layers_count_for_the_memory_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny(
        "model.kind=plan", "model.conv=[1000]", "model.dense=[]", "prune.rate=0.2"
    )  # 64,000 outputs, in batches of 100
    monkeypatch.setattr("lthprune.memory.available_memory", lambda: 25_000_000)
    with pytest.raises(RecipeError, match="in batches of 100"):
        prepare(recipe)


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (toys("data.samples=1000000000"), "moons with 2,000,000,200 samples takes 200.0 GB"),
        (tiny("data.size=4096", "model.kind=plan", 'model.conv=[1, "G"]', "prune.rate=0.2"), "digits at 4096x4096"),
    ],
)
def test_data_that_no_memory_holds_are_refused(recipe, says: str) -> None:
    with pytest.raises(DataError, match=says):
        prepare(recipe)
