"""The command line called in the tests' own process: quick, and on a terminal of 80 columns."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from lthprune.experiments.execution import run_recipe
from lthprune.experiments.run import Run
from lthprune_cli.main import main
from tests.tiny import tiny


class Result(NamedTuple):
    code: object
    out: str
    err: str

    @property
    def narrow(self) -> bool:
        """Whether nothing is cut off or sticks out, but for paths, which are left whole to be copied."""
        lines = [line for line in (self.out + self.err).splitlines() if "/" not in line]
        return "…" not in self.out + self.err and all(len(line) <= 80 for line in lines)


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Call ``lthprune`` with some arguments, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main() replaces it

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["lthprune", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session", autouse=True)
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; it has compiled the kernels, so that no command says that it waits for them."""
    return run_recipe(tiny(), "tiny", out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def finished(finished_run: Run) -> Run:
    """A finished run; not to be changed."""
    return finished_run
