from pathlib import Path

import pytest

from lthprune.compaction import load_export
from lthprune.experiments.execution import run_recipe
from lthprune.experiments.run import Run
from tests.cli.conftest import Cli
from tests.tiny import tiny


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run down to few weights; not to be changed."""
    recipe = tiny("prune.rate=0.8", "prune.levels=2", "run.trials=1")
    return run_recipe(recipe, "pruned", out=tmp_path_factory.mktemp("runs"))


def test_export_writes_a_network_and_names_the_files(finished: Run, cli: Cli) -> None:
    result = cli("export", finished.folder, "--level", 1, "--trial", 1, "--weights", "rewound", "--out", "here/it")
    assert (result.code, result.err) == (0, "")
    files = ["model.safetensors", "architecture.json"]
    sizes = [f"{Path('here/it', file).stat().st_size:,}" for file in files]
    lines = [f"here/it/{file} ({size} bytes)" for file, size in zip(files, sizes, strict=True)]
    assert result.out.splitlines() == lines
    assert sum(weight.numel() for weight in load_export("here/it").parameters()) == 64 * 8 + 8 + 8 * 10 + 10


def test_export_shows_what_compaction_comes_to(pruned: Run, cli: Cli) -> None:
    result = cli("export", pruned.folder, "--compact", "--drop-inputs", "--out", "smaller")
    assert (result.code, result.err, result.narrow) == (0, "", True)
    rows = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line.strip()}
    model = load_export("smaller")
    assert rows["dense1"] == [
        "8",
        str(model.dense1.out_features),
        "512",
        str(model.dense1.weight.numel()),
        "1,024",
        f"{2 * model.dense1.weight.numel():,}",
    ]
    assert rows["all"][0] == "18"
    assert f"Inputs: {model.dense1.in_features} of 64 are read" in result.out
    words = " ".join(result.out.split())
    assert "Largest difference between the outputs on random inputs:" in words
    assert "Latency before / after, without masks, threads 1:" in words
    assert "at batch 1," in words
    assert "at batch 1,000." in words


def test_export_writes_onnx_on_request(pruned: Run, cli: Cli) -> None:
    pytest.importorskip("onnxscript")
    result = cli("export", pruned.folder, "--onnx", "--out", "it")
    assert (result.code, result.err) == (0, "")
    assert Path("it/model.onnx").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--level", "7"], "there is no level 7"),
        (["--level", "-1"], "there is no level -1"),
        (["--trial", "4"], "has trial 0; there is no trial 4"),
        (["--weights", "best"], "'best' is not one of"),
        (["--drop-inputs"], "--compact"),
        (["--out", "taken"], "taken/architecture.json already exists"),
        (["--out", "file/folder"], "cannot write"),
    ],
)
def test_export_refuses_what_it_cannot_do(pruned: Run, cli: Cli, arguments: list[str], words: str) -> None:
    Path("taken").mkdir()
    Path("taken/architecture.json").write_text("mine")
    Path("file").write_text("")
    result = cli("export", pruned.folder, *arguments)
    assert result.code == 2
    assert words in " ".join(result.err.split())
    assert Path("taken/architecture.json").read_text() == "mine"


def test_export_of_what_is_no_run_says_so(cli: Cli) -> None:
    result = cli("export", ".")
    assert (result.code, "holds no run" in result.err) == (2, True)
