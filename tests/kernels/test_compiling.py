"""Compiled kernels are kept on disk until any kernel's source changes."""

import importlib
import logging
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numba
import pytest

from lthprune.kernels import compiling

CALLER = """
from kernels_of_a_test.callee import inner
from kernels_of_a_test.compiling import compiled

@compiled
def outer(x):
    return 10 * inner(x)
"""
CALLEE = """
from kernels_of_a_test.compiling import compiled

@compiled
def inner(x):
    return x + {}
"""
Load = Callable[[], ModuleType]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package with two kernels, one of which calls the other, compiled as the library's are."""
    package = tmp_path / "packages" / "kernels_of_a_test"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "caller.py").write_text(CALLER)
    (package / "callee.py").write_text(CALLEE.format(1))
    shutil.copy(compiling.__file__, package)
    return package


@pytest.fixture
def load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import the package as a new process would."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def load() -> ModuleType:
        forget()
        return importlib.import_module(f"{folder.name}.caller")

    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # by its time of change, which is too coarse here
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(folder.parent / "home"))
    yield load
    forget()


def hits(module: ModuleType) -> int:
    """How many types of arguments were found on disk."""
    return sum(module.outer.stats.cache_hits.values())


def test_a_kernel_is_loaded_by_the_next_process(folder: Path, load: Load) -> None:
    first = load()
    assert first.outer(1) == 20
    assert hits(first) == 0
    second = load()
    assert second.outer(1) == 20
    assert hits(second) == 1
    assert list((folder / "__pycache__").glob("*.nbc"))


def test_who_waits_for_kernels_is_told_once(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first = load()
    assert first.outer(1) + first.outer(1.0) == 40
    [said] = caplog.messages
    assert said.startswith("Compiling for this processor")
    assert load().outer(1) == 20
    assert len(caplog.messages) == 1


def test_a_file_that_another_process_wrote_for_other_types_is_not_loaded(folder: Path, load: Load) -> None:
    first = load()
    assert (first.outer(1), first.outer(0.5)) == (20, 15)
    [index] = (folder / "__pycache__").glob("caller.outer-*.nbi")
    with index.open("rb") as kept:
        version, (stamp, files) = pickle.load(kept), pickle.load(kept)
    with index.open("wb") as kept:
        pickle.dump(version, kept)
        pickle.dump((stamp, dict(zip(files, reversed(files.values()), strict=True))), kept)
    assert (load().outer(1), load().outer(0.5)) == (20, 15)


def test_a_changed_kernel_changes_its_callers_in_other_files(folder: Path, load: Load) -> None:
    assert load().outer(1) == 20
    (folder / "callee.py").write_text(CALLEE.format(2))
    upgraded = load()
    assert upgraded.outer(1) == 30
    assert hits(upgraded) == 0
    (folder / "callee.py").write_text(CALLEE.format(1))
    assert load().outer(1) == 20


def test_another_way_to_compile_compiles_all_kernels_again(folder: Path, load: Load) -> None:
    assert load().outer(1) == 20
    with (folder / "compiling.py").open("a") as source:
        source.write("# another option\n")
    assert load().outer(1) == 20
    assert hits(load()) == 0


def test_a_folder_that_is_set_for_numba_keeps_the_kernels(
    folder: Path, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "set"))
    assert load().outer(1) == 20
    second = load()
    assert second.outer(1) == 20
    assert hits(second) == 1
    assert list((tmp_path / "set").rglob("*.nbc"))
    assert not list(folder.rglob("*.nbc"))


def test_the_users_cache_keeps_the_kernels_of_a_package_that_cannot_be_written(folder: Path, load: Load) -> None:
    (folder / "__pycache__").touch()  # a file where the folder should be, as root may write anywhere
    assert load().outer(1) == 20
    second = load()
    assert second.outer(1) == 20
    assert hits(second) == 1


def test_kernels_work_where_nothing_can_be_written_and_say_what_to_do(folder: Path, load: Load) -> None:
    (folder / "__pycache__").touch()
    (folder.parent / "home").touch()
    for _ in range(2):
        with pytest.warns(UserWarning, match="Set NUMBA_CACHE_DIR"):
            module = load()
        assert module.outer(1) == 20
        assert hits(module) == 0
