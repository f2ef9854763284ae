"""Exports: what is read back computes what the ticket does, and nothing is overwritten."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lthprune import PruningError, RecipeError, StorageError
from lthprune.compaction import load_export
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.run import Run
from lthprune.files import read_tensors, write_tensors
from tests.nets import refused
from tests.tiny import noise, tiny, write_npz


@pytest.fixture(scope="module")
def dense_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = ("model.dense=[8, 6]", "prune.rate=0.6", "prune.levels=3", "train.steps=20")
    return run_recipe(tiny(*settings), "dense", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def convolutional_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    recipe = tiny(
        f'data.name="{write_npz(folder / "data.npz")}"',
        "data.validation=20",
        'model.kind="plan"',
        'model.conv=["6B", "M", 5]',
        "train.batch_size=20",
        "prune.rate=0.6",
    )
    return run_recipe(recipe, "convolutional", out=folder)


def inputs_of(run: Run) -> torch.Tensor:
    shape = (1, 8, 8) if "dense" in run.name else (1, 4, 4)
    return noise(shape, sizes=(20, 1, 1)).x_train


@pytest.mark.parametrize("name", ["dense_run", "convolutional_run"])
@pytest.mark.parametrize("weights", ["trained", "rewound"])
@pytest.mark.parametrize("compact", [True, False])
def test_an_export_computes_what_its_ticket_does(name, weights, compact, request, tmp_path):
    run = request.getfixturevalue(name)
    export = run.export(2, trial=1, weights=weights, compact=compact, out=tmp_path / "out")
    ticket = run.tickets.level(2)[1]
    inputs = inputs_of(run)
    expected = ticket.apply(run.model(), weights).eval()(inputs)
    torch.testing.assert_close(load_export(tmp_path / "out")(inputs), expected)
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(export.files)
    assert (export.compacted is not None) == compact


def test_what_is_pruned_is_zero_in_the_plain_weights(dense_run, tmp_path):
    dense_run.export(2, out=tmp_path)
    (ticket, _) = dense_run.tickets.level(2)
    weights = load_file(tmp_path / "model.safetensors")
    assert {name: int(weights[name].count_nonzero()) for name in ticket.masks} == {
        name: int(mask.sum()) for name, mask in ticket.masks.items()
    }


def test_the_last_level_is_exported_into_the_run_where_nothing_is_said(dense_run):
    folder = Path(shutil.copytree(dense_run.folder, dense_run.folder.parent / "copy"))
    export = Run(folder).export(compact=True)
    assert (export.ticket["level"], export.folder) == (3, folder / "exports" / "level-03-trial-0")
    assert Run(folder).tickets.finished == 4


def test_the_description_says_what_was_done_and_where_it_comes_from(dense_run, tmp_path):
    export = dense_run.export(3, compact=True, drop_inputs=True, out=tmp_path)
    described = json.loads((tmp_path / "architecture.json").read_bytes())
    assert [layer["kind"] for layer in described["layers"]] == ["flatten", "dense", "tanh", "dense", "tanh", "dense"]
    assert (described["input"], described["outputs"]) == ([1, 8, 8], 10)
    assert (described["ticket"]["level"], described["ticket"]["recipe"]) == (3, "dense")
    (kept,) = export.compacted.kept_inputs
    assert described["kept_inputs"] == kept.tolist()
    assert described["compaction"]["inputs"] == [64, len(kept)]
    assert len(kept) < 64
    inputs = inputs_of(dense_run)
    expected = dense_run.tickets.level(3)[0].apply(dense_run.model(), "trained").eval()(inputs)
    torch.testing.assert_close(load_export(tmp_path)(inputs.flatten(1)[:, described["kept_inputs"]]), expected)


@pytest.mark.parametrize("name", ["dense_run", "convolutional_run"])
def test_onnx_runtime_computes_the_same_for_batches_of_any_size(name, request, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = request.getfixturevalue(name)
    run.export(compact=True, onnx=True, out=tmp_path)
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    model = load_export(tmp_path)
    for samples in (1, 20):
        inputs = inputs_of(run)[:samples]
        (computed,) = session.run(None, {"input": inputs.numpy()})
        torch.testing.assert_close(torch.from_numpy(computed), model(inputs).detach())


def test_missing_packages_for_onnx_are_named_before_anything_is_written(dense_run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lthprune.compaction.export.find_spec", lambda name: None if name == "onnx" else find_spec(name)
    )
    with refused(r"need onnx.*which.*pip install 'lthprune\[onnx\]'", error=PruningError):
        dense_run.export(onnx=True, out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"level": 9}, "has 4 finished levels; there is no level 9"),
        ({"trial": 2}, "has trials 0-1; there is no trial 2"),
        ({"weights": "best"}, "unknown weights 'best'"),
        ({"drop_inputs": True}, "ask for compact"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_written(dense_run, words, message, tmp_path):
    with refused(message):
        dense_run.export(**words, out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["model.safetensors", "architecture.json", "model.onnx"])
def test_nothing_that_is_there_is_overwritten(dense_run, file, tmp_path):
    (tmp_path / file).write_text("mine")
    with refused("already exists", error=StorageError):
        dense_run.export(out=tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_written_is_refused(dense_run, tmp_path):
    (tmp_path / "file").write_text("")
    with refused("cannot write", error=StorageError):
        dense_run.export(out=tmp_path / "file" / "folder")


def test_what_is_no_export_or_a_damaged_one_is_refused(dense_run, tmp_path):
    with refused("cannot read .*architecture.json", error=StorageError):
        load_export(tmp_path)
    dense_run.export(out=tmp_path)
    path = tmp_path / "architecture.json"
    good = json.loads(path.read_bytes())
    for bad, message in (
        (good | {"format": 9}, "made by a newer lthprune"),
        (good | {"layers": good["layers"][:-1]}, "not the description of .*'output.weight' belongs to no layer"),
        ({}, "is damaged"),
        ([], "is damaged"),
    ):
        path.write_text(json.dumps(bad))
        with refused(message, error=StorageError):
            load_export(tmp_path)
    path.write_text(json.dumps(good))
    (tmp_path / "model.safetensors").write_bytes(b"noise")
    with refused("damaged or not a safetensors file", error=StorageError):
        load_export(tmp_path)


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        ({"device": "cuda"}, "dense has ['bias', 'device', 'in_features', 'out_features'], where"),
        ({"in_features": 10**12}, "in_features: Input should be less than or equal to 100000000"),
        ({"in_features": None}, "in_features: Input should be a valid integer"),
        ({"bias": "yes"}, "bias: Input should be a valid boolean"),
        ({"name": "a.b"}, "its name is 'a.b'"),
        ({"kind": ["dense"]}, "its kind ['dense'] is unknown"),
    ],
)
def test_layers_that_lthprune_does_not_write_are_refused_before_they_are_built(dense_run, layer, fault, tmp_path):
    dense_run.export(2, out=tmp_path)
    path = tmp_path / "architecture.json"
    good = json.loads(path.read_bytes())
    good["layers"][1] |= layer
    good["layers"][3] |= {"out_features": 0}
    path.write_text(json.dumps(good))
    with pytest.raises(StorageError) as caught:
        load_export(tmp_path)
    assert f"layer 1: {fault}" in str(caught.value)
    assert "layer 3: out_features" in str(caught.value)  # all of them are named at once


def test_layers_of_huge_sizes_take_no_memory_before_they_are_refused(dense_run, tmp_path):
    dense_run.export(2, out=tmp_path)
    path = tmp_path / "architecture.json"
    good = json.loads(path.read_bytes())
    for layer in good["layers"]:
        layer |= {key: 10**8 for key in layer if key.endswith("features")}
    path.write_text(json.dumps(good))
    with pytest.raises(StorageError) as caught:
        load_export(tmp_path)
    for name in ("dense1", "dense2", "output"):
        assert f"'{name}.weight' has the shape" in str(caught.value)


def test_another_type_of_weights_and_a_network_without_layers_are_refused(dense_run, tmp_path):
    dense_run.export(2, out=tmp_path)
    tensors, header = read_tensors(tmp_path / "model.safetensors")
    write_tensors(tmp_path / "model.safetensors", {name: each.to(torch.int8) for name, each in tensors.items()}, header)
    with refused("'dense1.weight' has the type torch.int8, where torch.float32 is built", error=StorageError):
        load_export(tmp_path)
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"layers": []}))
    with refused("belongs to no layer", error=StorageError):
        load_export(tmp_path)


def test_a_description_of_a_recipes_network_imports_no_code_and_takes_no_more_memory_than_there_is(tmp_path):
    write_tensors(tmp_path / "model.safetensors", {"w": torch.ones(1)}, "{}")
    entries = {"format": 1, "input": [64], "outputs": 10}
    for model, message in (
        ({"kind": "this:module"}, "is not imported without your consent"),
        ({"kind": "mlp", "dense": [10**8, 10**8]}, "of memory, and .* are available"),
        ({"kind": "mlp", "dense": [10**9]}, "unknown here"),
    ):
        (tmp_path / "architecture.json").write_text(json.dumps(entries | {"model": model}))
        with refused(message, error=RecipeError):
            load_export(tmp_path)
