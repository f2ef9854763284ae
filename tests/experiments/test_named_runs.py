"""Runs of networks that torchvision and timm build: trained, resumed, looked at and handed over."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lthprune import PruningError, RecipeError, prune, resume_run
from lthprune.compaction import load_export
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.preview import preview_recipe
from lthprune.experiments.recipe import load_recipe
from lthprune.experiments.run import Run
from lthprune.models.build import build_model
from lthprune.models.spec import ModelSpec
from tests.named import DROPPING, QUIET, UNFOLLOWED, colours, recipe
from tests.nets import all_bits
from tests.tiny import contents, copied_before_writes, environment, noise, write_npz
from tests.twins import check_unhooked


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours(tmp_path_factory.mktemp("data") / "colours.npz")


@pytest.fixture(scope="module")
def quiet(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(recipe(images), "quiet", out=tmp_path_factory.mktemp("runs"))


def test_a_run_prunes_to_the_counts_of_its_table_by_either_engine(images: Path, quiet: Run, tmp_path: Path) -> None:
    plain = run_recipe(recipe(images, train={"engine": "reference"}), "plain", out=tmp_path)
    (counts,) = preview_recipe(quiet.recipe()).counts.values()
    for level, left in enumerate(counts):
        (own,), (twin,) = quiet.tickets.level(level), plain.tickets.level(level)
        assert (own.metrics["engine"], twin.metrics["engine"]) == ("unhooked", "reference")
        assert own.left == twin.left == left
    first, second = (run.histories().curves["train_loss"][:, 0, 0] for run in (quiet, plain))
    np.testing.assert_allclose(first, second, rtol=0.02)  # batch norm magnifies rounding from step to step


@pytest.mark.parametrize(("kind", "name"), [("torchvision", QUIET), ("timm", "resnet10t")])
def test_the_unhooked_engine_trains_a_pruned_network_as_the_plain_loop_does(kind: Any, name: str) -> None:
    pytest.importorskip(kind)
    model = build_model(ModelSpec(kind=kind, name=name), (3, 24, 24), 3, torch.Generator())
    prune(model, 0.5, min_survivors=8)
    check_unhooked(model, noise((3, 24, 24)))


def test_a_timm_network_is_run_on_grey_images(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    grey = write_npz(tmp_path / "grey.npz")
    settings = {"img_size": 4, "patch_size": 2, "depth": 2, "embed_dim": 24, "num_heads": 2}
    own = recipe(grey, kind="timm", name="vit_tiny_patch16_224", model={"settings": settings})
    run = run_recipe(own, "vit", out=tmp_path)
    table = preview_recipe(own)
    assert sum(row.weights + row.biases for row in table.layers) == sum(p.numel() for p in run.model().parameters())
    embedding = next(row for row in table.layers if row.layer == "pos_embed")
    assert (embedding.kind, embedding.shape, embedding.rate) == ("other", (1, 5, 24), None)
    assert run.tickets.level(2)[0].left == table.counts["weights"][2]


def test_every_parameter_of_a_network_is_in_the_table_and_layers_without_biases_have_none(images: Path) -> None:
    own = recipe(images, "resnet18", prune={"scope": "layerwise", "exclude": ["fc"]})
    table = preview_recipe(own)
    rows = {row.layer: row for row in table.layers}
    assert sum(row.weights + row.biases for row in table.layers) == 11_176_512 + 513 * 3
    assert (rows["conv1"].kind, rows["conv1"].biases, rows["conv1"].rate) == ("conv", 0, 0.5)
    assert (rows["layer2.0.downsample.1"].kind, rows["layer2.0.downsample.1"].biases) == ("norm", 128)
    assert (rows["fc"].kind, rows["fc"].biases, rows["fc"].rate) == ("output", 3, None)


def test_dropout_follows_from_the_seed_whatever_the_other_trials_do(images: Path, tmp_path: Path) -> None:
    runs = []
    for trials, name in ((2, "both"), (1, "first")):
        torch.rand(trials)  # nothing depends on torch's default generator
        runs.append(run_recipe(recipe(images, DROPPING, run={"trials": trials}), name, out=tmp_path))
    for level in range(3):
        both, (alone,) = (run.tickets.level(level) for run in runs)
        assert {ticket.metrics["engine"] for ticket in both} == {"unhooked"}
        assert all_bits(both[0].trained) == all_bits(alone.trained) != all_bits(both[1].trained)


def test_a_run_with_dropout_that_was_killed_resumes_to_the_same_bits(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = recipe(images, DROPPING, prune={"levels": 1})
    whole, copies = copied_before_writes(tmp_path, monkeypatch, lambda out: run_recipe(own, "drop", out=out))
    broken = next(copy for copy in reversed(copies) if Run(copy).tickets.finished == 1)
    assert contents(resume_run(Run(broken)).folder) == contents(whole.folder)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"name": "shufflenet"}, "did you mean 'shufflenet_v2_x"),
        ({"name": "alexnet"}, r"\[data\] size = 224"),
        ({"name": QUIET, "train": {"batch_size": 1}}, "a larger batch_size"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    images: Path, tmp_path: Path, words: dict[str, Any], says: str
) -> None:
    with pytest.raises(RecipeError, match=says):
        run_recipe(recipe(images, **words), "none", out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.heavy
def test_a_finished_run_has_a_summary_states_figures_and_nothing_to_resume(quiet: Run) -> None:
    before = contents(quiet.folder)
    assert [level.left for level in quiet.summary()] == [quiet.tickets.level(level)[0].left for level in range(3)]
    assert len({int(level.sum()) for level in quiet.structure().parameters.counts}) == 1
    assert {path.stem for path in quiet.save_figures()} >= {"accuracy-over-steps", "states", "lifetimes"}
    assert contents(resume_run(quiet).folder) == before


def test_states_of_a_network_that_cannot_be_followed_are_refused_and_other_figures_drawn(
    images: Path, tmp_path: Path
) -> None:
    unknown = run_recipe(recipe(images, kind=UNFOLLOWED, prune={"levels": 1}), "unknown", out=tmp_path)
    with pytest.raises(PruningError, match="cumsum"):
        unknown.structure()
    with pytest.warns(UserWarning, match="no figures of states, lifetimes, biases, inputs, network: .*cumsum"):
        paths = unknown.save_figures()
    curves = {"accuracy-over-steps", "accuracy-at-early-stop", "early-stop-steps", "steps-needed"}
    assert {path.stem for path in paths} == curves | {"pruned-by-layer", "weights", "weight-histograms"}


@pytest.mark.parametrize("weights", ["trained", "rewound"])
def test_an_export_names_the_network_and_computes_what_the_ticket_does(
    quiet: Run, tmp_path: Path, weights: Any
) -> None:
    quiet.export(2, weights=weights, out=tmp_path)
    described = json.loads((tmp_path / "architecture.json").read_bytes())
    assert described["model"] == {"kind": "torchvision", "name": QUIET}
    inputs = torch.randn(5, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    expected = quiet.tickets.level(2)[0].apply(quiet.model(), weights).eval()(inputs)
    torch.testing.assert_close(load_export(tmp_path)(inputs), expected)


def test_an_export_of_a_network_that_is_missing_here_says_so(quiet: Run, tmp_path: Path) -> None:
    quiet.export(2, out=tmp_path)
    path = tmp_path / "architecture.json"
    path.write_text(path.read_text().replace(QUIET, "shufflenet_v9"))
    with pytest.raises(RecipeError, match="no classification network 'shufflenet_v9'"):
        load_export(tmp_path)


def test_a_compacted_network_that_no_name_builds_is_not_exported(quiet: Run, tmp_path: Path) -> None:
    with pytest.raises(PruningError, match="Export it without compact"):
        quiet.export(compact=True, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_setting_of_the_kind_removes_the_keys_that_it_does_not_take_and_keeps_those_set_with_it(
    tmp_path: Path,
) -> None:
    library = ["model.kind=torchvision", "model.name=resnet18"]
    for settings in (library, library[::-1]):
        assert load_recipe("conv6-cifar10", settings).model.model_dump() == {
            "kind": "torchvision",
            "name": "resnet18",
            "settings": None,
        }
    (tmp_path / "own.toml").write_text(load_recipe("conv6-cifar10", library).to_toml())
    for named in (tmp_path / "own.toml", "resnet18-cifar10"):
        assert load_recipe(named, ["model.kind=conv2"]).model.kind == "conv2"
    with pytest.raises(RecipeError, match="takes name and settings, and no init"):
        load_recipe("conv6-cifar10", ["model.init=normal", *library])


def test_a_recipe_imports_a_library_only_when_it_names_it_and_is_built() -> None:
    code = (
        "import sys; from lthprune import load_recipe\n"
        "seen = lambda: [name for name in ('torchvision', 'timm') if name in sys.modules]\n"
        "own = load_recipe('conv2-cifar10', ['model.kind=torchvision', 'model.name=resnet18'])\n"
        "load_recipe('resnet18-cifar10').build_model((3, 32, 32), 10); print(seen())\n"
        "own.build_model((3, 32, 32), 10); print(seen())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "['torchvision']"]
