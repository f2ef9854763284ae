"""Names of folders are printed as they are, whatever characters they have."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from lthprune.experiments.run import Run
from tests.cli.conftest import Cli
from tests.cli.test_results import unfinish
from tests.tiny import command, environment

NAMES = ["[bold]runs[/bold]", "[/]", "runs :smile: of 'mine'", "$HOME *"]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_that_resumes_a_run_can_be_pasted(name: str, finished: Run, cli: Cli) -> None:
    folder = Path(shutil.copytree(finished.folder, Path(name) / "a-run"))
    unfinish(folder, 0)
    result = cli("summary", folder)
    assert (result.code, result.err) == (0, "")
    (line,) = [line for line in result.out.splitlines() if line.startswith("  lthprune resume ")]
    assert shlex.split(line) == ["lthprune", "resume", str(folder)]


@pytest.mark.parametrize("name", NAMES)
def test_messages_show_names_as_they_are(name: str, finished: Run, cli: Cli) -> None:
    assert name in cli("summary", name).err
    Path(name).mkdir(parents=True)
    assert cli("runs", "--out", name).out == f"There are no runs in {name}.\n"
    shutil.copytree(finished.folder, Path(name) / "[red]:cat:")
    assert "\n[red]:cat: " in cli("runs", "--out", name).out


def test_bytes_of_a_name_that_are_not_utf8_are_printed_as_they_are(tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"caf\xe9")
    words = command("runs", "--out", name)
    done = subprocess.run(words, capture_output=True, env=environment(PYTHONIOENCODING="utf-8"), check=False)
    assert done.returncode == 2
    assert b"caf\xe9" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_terminal_that_says_that_it_has_no_columns_is_written_to(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert "lenet-digits" in cli("ls").out
