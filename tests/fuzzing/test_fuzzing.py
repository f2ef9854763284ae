"""Files of every kind, changed at random: each is read or refused, soon and in bounds."""

import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing.mutations import mutated
from tests.fuzzing.targets import TARGETS, make_originals, refused, small_machine

pytestmark = pytest.mark.filterwarnings("ignore")
_SECONDS = 10
_FURTHER = 1_000_000_000  # bytes of address space beside what the process has already: memory that files may ask for


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of every kind; a test that changes one puts it back."""
    folder = make_originals(tmp_path_factory.mktemp("originals"))
    with small_machine(folder):
        yield folder


@contextmanager
def bounded() -> Iterator[None]:
    """Raise an error after ten seconds, and where more than a gigabyte is asked for."""

    def late(*_: object) -> None:
        raise TimeoutError

    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, late)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _FURTHER, before[1]))
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def try_it(name: str, originals: Path, data: bytes) -> None:
    """Put data in place of a file, read it, and check that no file was changed."""
    target = TARGETS[name]
    path = originals / target.file
    good, folder = path.read_bytes(), originals
    if target.changes_files:
        folder = Path(shutil.copytree(originals, originals.parent / "copy", dirs_exist_ok=True))
        path = folder / target.file
    path.write_bytes(data)
    try:
        before = contents(folder)
        with bounded():
            refusal = refused(target.read, folder)
        if refusal is not None or not target.changes_files:
            assert contents(folder) == before
    finally:
        if target.changes_files:
            shutil.rmtree(folder)
        else:
            path.write_bytes(good)


@pytest.mark.parametrize("name", TARGETS)
def test_the_originals_are_read(name: str, originals: Path) -> None:
    target = TARGETS[name]
    if not target.changes_files:
        assert refused(target.read, originals) is None


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if not target.changes_files])
@settings(max_examples=10)
@given(random=st.integers(0, 2**32))
def test_a_changed_file_is_read_or_refused(name: str, originals: Path, random: int) -> None:
    target = TARGETS[name]
    try_it(name, originals, mutated((originals / target.file).read_bytes(), target.kind, Random(random)))


@pytest.mark.heavy
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60)
@given(random=st.integers(0, 2**32))
def test_many_changed_files_are_read_or_refused(name: str, originals: Path, random: int) -> None:
    target = TARGETS[name]
    try_it(name, originals, mutated((originals / target.file).read_bytes(), target.kind, Random(random)))
