"""Files of earlier versions: they open, summarise, resume and export; those of later versions are refused.

``tests/formats`` has a folder for each version, which ``tests/formats/keep.py`` wrote. In ``before-0.1.0``, of
2026-11-21, every ticket holds all of its weights, and recipes and environments have fewer entries.
"""

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import lthprune
from lthprune.compaction import load_export
from lthprune.errors import StorageError
from lthprune.experiments import Sweep, run_sweep, summarise_sweep
from lthprune.files import TensorFile, write_tensors
from lthprune.search import TicketStore
from tests.nets import net, train

KEPT = Path(__file__).parent / "formats"
VERSIONS = sorted(path.parent.name for path in KEPT.glob("*/run"))
RELEASED = [version for version in VERSIONS if not version.startswith("before")]
LEFT = [296, 241, 196]  # weights of the run at each level
pytestmark = pytest.mark.filterwarnings("ignore:.*may differ in their last bits")


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what a version wrote."""
    return Path(shutil.copytree(KEPT / request.param, tmp_path / request.param))


def interrupt(folder: Path) -> None:
    """Let a store look as if it was interrupted after the dense level."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["finished"] = manifest["finished"][:1]
    path.write_text(json.dumps(manifest))


def same(one: list[lthprune.Ticket], other: list[lthprune.Ticket]) -> None:
    """Assert that tickets differ in rounding at most, for versions of torch round differently."""
    assert [ticket.counts for ticket in one] == [ticket.counts for ticket in other]
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine.trained, theirs.trained, atol=1e-3, rtol=1e-3)


def test_this_version_is_among_those_that_are_kept() -> None:
    assert version("lthprune") in VERSIONS


def test_a_run_of_every_version_opens_and_is_analysed(kept: Path) -> None:
    run = lthprune.Run(kept / "run")
    assert run.state == "finished"
    assert [level.left for level in run.summary()] == LEFT
    assert len(run.to_frame()["val_acc"]) == 2 * 3 * 3
    assert run.structure_at(2).describe()["trial"] == 0


def test_a_run_of_every_version_resumes(kept: Path) -> None:
    finished = lthprune.Run(shutil.copytree(kept / "run", kept / "finished"))
    interrupt(kept / "run")
    run = lthprune.resume_run(lthprune.Run(kept / "run"))
    for level in range(3):
        same(run.tickets.level(level), finished.tickets.level(level))


def test_a_run_of_every_version_is_exported(kept: Path) -> None:
    export = lthprune.Run(kept / "run").export(2, compact=True, out=kept / "exported")
    again = load_export(export.folder)
    x = torch.rand(5, *export.input_shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again(x), export.dense(x))


def test_a_ticket_of_every_version_loads(kept: Path) -> None:
    run, ticket = lthprune.Run(kept / "run"), lthprune.load_ticket(kept / "ticket.safetensors")
    assert ticket.left == LEFT[1]
    same([ticket], [run.tickets.ticket(1)])
    ticket.apply(run.model())


def test_a_store_of_every_version_opens_and_its_tickets_fit_the_model(kept: Path) -> None:
    store = TicketStore(kept / "store")
    assert [ticket.left for level in range(3) for ticket in store.level(level)] == [159, 79, 40]
    model = store.ticket(2).apply(net(), "trained")
    train(model)


@pytest.mark.parametrize("kept", RELEASED, indirect=True)
def test_a_store_of_every_version_is_continued(kept: Path) -> None:
    finished = [TicketStore(kept / "store").ticket(level) for level in range(3)]
    shutil.copytree(kept / "store", kept / "interrupted")
    interrupt(kept / "interrupted")
    same(list(lthprune.imp(net(), train, levels=2, rate=0.5, store=kept / "interrupted")), finished)


@pytest.mark.parametrize("kept", RELEASED, indirect=True)
def test_an_export_of_every_version_loads(kept: Path) -> None:
    network, export = load_export(kept / "export"), lthprune.Run(kept / "run").export(2, out=kept / "exported")
    x = torch.rand(5, *export.input_shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x), export.dense(x))


@pytest.mark.parametrize("kept", RELEASED, indirect=True)
def test_a_sweep_of_every_version_opens_and_resumes(kept: Path) -> None:
    sweep = Sweep(kept / "sweep")
    cells = sweep.cells()
    assert [cell.finished for cell in cells] == [True, True]
    before = list(cells[1].run.tickets.level(1))
    shutil.rmtree(cells[1].run.folder)
    run_sweep(sweep)
    same(list(cells[1].run.tickets.level(1)), before)
    assert len(summarise_sweep(sweep)) == 2


def newer_json(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 9}))


def newer_toml(path: Path) -> None:
    path.write_text(path.read_text().replace("format = 1", "format = 9"))


def newer_tensors(path: Path) -> None:
    file = TensorFile(path)
    write_tensors(path, file.read(), json.dumps(json.loads(file.header) | {"format": 9}))


@pytest.mark.parametrize(
    ("file", "raise_format", "open_it"),
    [
        ("run/manifest.json", newer_json, lambda path: lthprune.Run(path.parent).summary()),
        ("store/manifest.json", newer_json, lambda path: lthprune.imp(net(), train, levels=2, store=path.parent)),
        ("sweep/sweep.toml", newer_toml, lambda path: Sweep(path.parent).cells()),
        ("export/architecture.json", newer_json, lambda path: load_export(path.parent)),
        ("ticket.safetensors", newer_tensors, lthprune.load_ticket),
    ],
)
def test_a_file_of_a_newer_version_is_refused_as_such(
    tmp_path: Path, file: str, raise_format: Callable[[Path], None], open_it: Callable[[Path], object]
) -> None:
    path = shutil.copytree(KEPT / version("lthprune"), tmp_path / "kept") / file
    raise_format(path)
    with pytest.raises(StorageError, match="was made by a newer lthprune: its format is 9"):
        open_it(path)
