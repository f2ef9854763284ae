import io
from pathlib import Path

import pytest
from rich.console import Console

from lthprune.experiments.execution import run_recipe
from lthprune_cli import progress
from tests.tiny import tiny


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_drawn_on_a_terminal_and_lines_alone_elsewhere(
    tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()

    def console() -> Console:
        return Console(file=written, force_terminal=terminal, width=80)

    monkeypatch.setattr(progress, "Console", console)
    with progress.RunProgress(tiny(), 0) as shown:
        run = run_recipe(tiny(), "tiny", out=tmp_path, watcher=shown.watcher())
    assert shown.run is not None
    assert shown.run.folder == run.folder
    text = written.getvalue()
    assert ("loss " in text) == ("\x1b[" in text) == terminal
    lines = [line for line in text.splitlines() if "density" in line]
    assert len(lines) == 3
    for level, line in enumerate(lines):
        tickets = run.tickets.level(level)
        accuracy = sum(ticket.metrics["val_acc"] for ticket in tickets) / 2
        assert f"level {level:2d}" in line
        assert f"density {tickets[0].density:7.2%}  val acc {accuracy:.2%}" in line
