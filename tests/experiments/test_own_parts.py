"""Recipes that name functions of one's own: run, resumed with consent only, and looked at without importing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lthprune.compaction import load_export
from lthprune.errors import DataError, LthpruneError, RecipeError, StorageError
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher
from lthprune.experiments.folders import find_runs
from lthprune.experiments.preview import preview_recipe
from lthprune.experiments.recipe import Recipe, load_recipe
from lthprune.experiments.run import Run
from lthprune.experiments.sweep import Sweep, begin_sweep, run_sweep
from lthprune.experiments.sweep_summary import summarise_sweep
from lthprune.parts import DATA, MODEL, SCORE
from tests.own_parts import forget, imports_restored, register, write_module
from tests.tiny import SETTINGS, contents, tiny

NAME = "my_experiment_parts"
OWN = (
    f"model.kind={NAME}:build",
    "model.settings={width=5}",
    f"data.name={NAME}:points",
    "data.validation=10",
    "data.settings={classes=4}",
    f"prune.score={NAME}:by_power",
    "prune.settings={power=2}",
    "prune.rate=0.4",
    "train.batch_size=10",
)


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path, NAME)
    with imports_restored(NAME):
        yield


def own(*settings: str) -> Recipe:
    """The tiny recipe with a model, data and a score of one's own."""
    return load_recipe("lenet-digits", [*(each for each in SETTINGS if "model" not in each), *OWN, *settings])


def interrupted(tmp_path: Path) -> Path:
    """The folder of a run that stopped after its first level, its module forgotten."""

    def stop(tickets: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(own(), "own", out=tmp_path / "runs", watcher=Watcher(on_level=stop))
    forget(NAME)
    (run,) = find_runs(tmp_path / "runs")
    return run.folder


def test_a_model_data_and_a_score_of_ones_own_are_run_with_their_settings(tmp_path: Path) -> None:
    run = run_recipe(own(), "own", out=tmp_path / "runs")
    (ticket, _) = run.tickets.level(2)
    assert {name: tuple(mask.shape) for name, mask in ticket.masks.items()} == {"1.weight": (5, 4), "3.weight": (4, 5)}
    assert ticket.provenance["score"] == f"{NAME}.by_power(power=2)"
    saved = run.recipe()
    assert (saved.model.settings, saved.data.settings, saved.prune.settings) == (
        {"width": 5},
        {"classes": 4},
        {"power": 2},
    )
    assert saved == own()
    assert run.resume_command.endswith(" --trust-code")
    listed = run_recipe(tiny(), "tiny", out=tmp_path / "runs")
    assert listed.resume_command == f"lthprune resume {listed.folder}"


def test_a_score_of_ones_own_that_does_what_magnitude_does_gives_its_bits(tmp_path: Path) -> None:
    first = run_recipe(tiny(), "tiny", out=tmp_path)
    again = run_recipe(tiny(f"prune.score={NAME}:by_power"), "tiny", out=tmp_path)
    for level in range(3):
        for ticket, other in zip(first.tickets.level(level), again.tickets.level(level), strict=True):
            assert all(mask.equal(other.masks[name]) for name, mask in ticket.masks.items())


def test_a_resumed_run_needs_consent_and_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run_recipe(own(), "own", out=tmp_path / "whole")
    folder = interrupted(tmp_path)
    with pytest.raises(RecipeError, match=r"Run\(folder, trust_code=True\)"):
        resume_run(Run(folder))
    assert NAME not in sys.modules
    assert Run(folder).tickets.finished == 1
    assert contents(resume_run(Run(folder, trust_code=True)).folder) == contents(whole.folder)


def test_looking_at_a_run_imports_nothing_and_refuses_what_needs_its_network(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    run = Run(folder)
    assert run.recipe() == own()
    assert len(run.summary()) == run.tickets.finished == 1
    assert not run.complete
    assert run.gather_histories().curves["val_acc"].shape[:2] == (2, 3)
    refused: list[Any] = [run.model, run.structure, lambda: run.export(out=tmp_path / "out")]
    for look in refused:
        with pytest.raises(RecipeError, match=r"is code from outside lthprune.*--trust-code") as caught:
            look()
        assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match=r"no figures of states, .*network: .*--trust-code"):
        assert len(run.save_figures()) == 7 * 3  # curves, steps, weights by layer and histograms, in three formats
    assert NAME not in sys.modules
    assert len(Run(folder, trust_code=True).structure().levels) == 1


def test_an_export_of_a_network_of_ones_own_is_loaded_with_consent_only(tmp_path: Path) -> None:
    run = run_recipe(own(), "own", out=tmp_path / "runs")
    folder = run.export(out=tmp_path / "out").folder
    forget(NAME)
    with pytest.raises(RecipeError, match="--trust-code"):
        load_export(folder)
    assert NAME not in sys.modules
    state = load_export(folder, trust_code=True).state_dict()
    assert all(
        tensor.equal(state[name]) for name, tensor in run.export(out=tmp_path / "two").dense.state_dict().items()
    )


def test_data_that_changed_since_are_refused_when_a_run_is_resumed(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    text = Path(f"{NAME}.py").read_text("utf-8")
    write_module(tmp_path, NAME, text.replace("default_rng(0)", "default_rng(10)"))
    with pytest.raises(StorageError, match="data"):
        resume_run(Run(folder, trust_code=True))


def test_packages_register_parts_that_a_recipe_names_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, name, function in ((SCORE, "powerful", "by_power"), (MODEL, "tower", "build"), (DATA, "cloud", "points")):
        register(tmp_path, monkeypatch, kind.group, **{name: f"{NAME}:{function}"})
    recipe = own("prune.score=powerful", "model.kind=tower", "data.name=cloud")
    assert NAME not in sys.modules
    run = run_recipe(recipe, "registered", out=tmp_path / "runs")
    assert run.tickets.level(0)[0].provenance["score"] == f"{NAME}.by_power(power=2)"
    with pytest.raises(RecipeError, match=r"unknown score 'powerfull'; did you mean 'powerful'\?"):
        own("prune.score=powerfull")


def test_a_sweep_over_settings_of_ones_own_is_resumed_with_consent_only(tmp_path: Path) -> None:
    base = [*(each for each in SETTINGS if "model" not in each), *OWN]
    settings = [each for each in base if not each.startswith("model.settings")]
    sweep = begin_sweep("lenet-digits", {"model.settings.width": [3, 4]}, settings, out=tmp_path / "sweeps")
    assert [cell.recipe.model.settings for cell in sweep.cells()] == [{"width": 3}, {"width": 4}]
    forget(NAME)
    with pytest.raises(RecipeError, match="--trust-code"):
        run_sweep(Sweep(sweep.folder))
    assert [row.levels for row in summarise_sweep(Sweep(sweep.folder))] == [[], []]
    assert Sweep(sweep.folder).resume_command == f"lthprune resume {sweep.folder} --trust-code"
    assert NAME not in sys.modules
    cells = run_sweep(Sweep(sweep.folder, trust_code=True)).cells()
    assert [cell.run.tickets.level(0)[0].masks["1.weight"].shape[0] for cell in cells] == [3, 4]
    forget(NAME)
    assert [len(row.levels) for row in summarise_sweep(Sweep(sweep.folder))] == [3, 3]
    assert NAME not in sys.modules


def test_data_of_ones_own_are_loaded_once_for_preview_and_run(tmp_path: Path) -> None:
    text = Path(f"{NAME}.py").read_text("utf-8")
    counting = text.replace(
        "def points(data_dir, *, classes=3):", "CALLS = []\n\ndef points(data_dir, *, classes=3):\n    CALLS.append(1)"
    )
    write_module(tmp_path, NAME, counting)
    preview = preview_recipe(own())
    run_recipe(preview, "own", out=tmp_path / "runs")
    assert len(sys.modules[NAME].CALLS) == 1


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        (["prune.settings.pover=2"], RecipeError, r"\[prune\] settings\.pover: .*did you mean 'power'\?"),
        (["model.settings.widht=2"], RecipeError, r"\[model\] settings\.widht: .*did you mean 'width'\?"),
        (["data.settings.clases=2"], RecipeError, r"\[data\] settings\.clases: .*did you mean 'classes'\?"),
        (["model.settings.width=-1"], RecipeError, "the function failed with RuntimeError"),
        (["data.settings.classes=a"], DataError, "the function failed with"),
        ([f"prune.score={NAME}:np.sum"], RecipeError, r"\[prune\] settings\.power"),
    ],
)
def test_faults_of_ones_own_parts_are_told_before_a_directory_is_made(
    tmp_path: Path, settings: list[str], error: type[LthpruneError], says: str
) -> None:
    with pytest.raises(error, match=says):
        run_recipe(own(*settings), "own", out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_is_looked_into_with_the_data_root_that_it_was_made_with(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "by_root.py").write_text(
        "import numpy as np\n"
        "def load(data_dir):\n"
        "    size = 4 if data_dir.name == 'root' else 7\n"
        "    x, y = np.arange(40.0 * size).reshape(40, size), np.arange(40) % 3\n"
        "    return x, y, x, y\n"
    )
    settings = [each for each in SETTINGS if "model" not in each]
    with imports_restored("by_root"):
        recipe = load_recipe(
            "lenet-digits", [*settings, "data.name=by_root:load", "data.validation=10", "train.batch_size=10"]
        )
        preview = preview_recipe(recipe, data_dir=tmp_path / "root")
        with pytest.raises(RecipeError, match=r"the preview was made with data_dir = .*root, not elsewhere"):
            run_recipe(preview, "rooted", data_dir="elsewhere", out=tmp_path / "runs")
        run = run_recipe(preview, "rooted", data_dir=str(tmp_path / "root"), out=tmp_path / "runs")
        assert run_recipe(preview, "rooted", out=tmp_path / "others").data_dir == run.data_dir
        assert run.model()(torch.zeros(2, 4)).shape == (2, 3)
        assert Path(str(run.data_dir)) == tmp_path / "root"
        assert resume_run(Run(run.folder, trust_code=True)).complete


def test_another_part_leaves_the_settings_of_the_one_before_behind(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(own().to_toml())
    replaced = ["prune.score=movement", "data.name=digits", "model.kind=lenet"]
    recipe = load_recipe(file, replaced)
    assert not any((recipe.prune.settings, recipe.data.settings, recipe.model.settings))
    assert load_recipe(file, [f"prune.score={NAME}:other", "prune.settings={power=3}"]).prune.settings == {"power": 3}
