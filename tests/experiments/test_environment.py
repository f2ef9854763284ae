import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from lthprune.experiments.environment import describe_environment

COMMANDS = {  # settings and files of a repository with which `git status` runs a command
    "monitor": {".git/config": "[core]\n\tfsmonitor = touch ran; true\n"},
    "filter": {".gitattributes": "* filter=own\n", ".git/config": '[filter "own"]\n\tclean = touch ran; cat\n'},
    "hook": {".git/hooks/post-index-change": "#!/bin/sh\ntouch ran\n"},
}


def git_state() -> dict[str, Any] | None:
    state: dict[str, Any] | None = describe_environment(torch.device("cpu"), None)["git"]
    return state


def git(*words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("1")
    git("init")
    git("add", "file")
    git("commit", "-m", "a commit")
    return tmp_path


def test_the_environment_knows_the_callers_commit_and_whether_files_were_changed(repository: Path) -> None:
    state = git_state()
    assert state is not None
    assert (len(state["commit"]), state["clean"]) == (40, True)
    Path("file").write_text("2")
    assert git_state() == state | {"clean": False}


def test_the_environment_does_without_a_repository_and_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_state() is None
    monkeypatch.setenv("PATH", "")
    assert git_state() is None


def test_names_in_a_repository_need_not_be_utf8(repository: Path) -> None:
    with (repository / ".git/config").open("ab") as file:
        file.write(b'[core]\n\tquotePath = false\n[remote "caf\xe9"]\n\turl = nowhere\n')
    assert (git_state() or {})["clean"] is True
    Path(os.fsdecode(b"caf\xe9")).write_text("1")
    assert (git_state() or {})["clean"] is False


@pytest.mark.parametrize(("kind", "clean"), [("monitor", True), ("filter", None), ("hook", True)])
def test_no_command_of_a_strangers_repository_is_run(repository: Path, kind: str, clean: bool | None) -> None:
    for name, text in COMMANDS[kind].items():
        path = repository / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(text)
        path.chmod(0o755)
    os.utime("file", (0, 0))  # git has to look at it again
    state = git_state()
    assert not Path("ran").exists()
    assert state is not None
    assert state["clean"] == clean
    git("status")
    assert Path("ran").exists()  # so there was something to be run
