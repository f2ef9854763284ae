import io
import re

import pytest
from rich.console import Console

from lthprune.search import progress
from lthprune.search.progress import levels_with_progress


def test_the_bar_names_the_level_in_training_and_starts_after_the_stored_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=written, force_terminal=True, width=80))
    assert list(levels_with_progress(iter("cd"), total=4, done=2, title="osp")) == ["c", "d"]
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).replace("\r", "\n").splitlines()
    titles = [line.partition(" ━")[0].strip() for line in lines if "━" in line]
    assert titles[0] == "osp: training level 2 of 3"
    assert titles[-1] == "osp: finished"
    assert all(len(line) <= 80 and "left" in line for line in lines if "━" in line)
