import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from lthprune.experiments.execution import run_recipe
from lthprune.training import Evaluation
from lthprune_cli import progress
from tests.tiny import tiny


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_drawn_on_a_terminal_and_lines_alone_elsewhere(
    tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()

    def console() -> Console:
        return Console(file=written, force_terminal=terminal, width=80, highlight=False)

    monkeypatch.setattr(progress, "Console", console)
    with progress.RunProgress(tiny(), 0) as shown:
        run = run_recipe(tiny(), "tiny", out=tmp_path, watcher=shown.watcher())
    assert shown.run is not None
    assert shown.run.folder == run.folder
    text = written.getvalue()
    assert ("mean val loss " in text) == ("\x1b[" in text) == terminal
    for label in ("level 0 of 2 (dense)", "level 1 of 2", "level 2 of 2", "steps, 2 trials", "% of the run", " left"):
        assert (label in text) == terminal
    lines = [line for line in text.splitlines() if "density" in line]
    assert len(lines) == 3
    for level, line in enumerate(lines):
        tickets = run.tickets.level(level)
        accuracy = sum(ticket.metrics["val_acc"] for ticket in tickets) / 2
        assert f"level {level:2d}" in line
        assert f"density {tickets[0].density:7.2%}  val acc {accuracy:.2%}" in line


def test_the_bars_show_the_steps_of_all_trials_and_the_mean_of_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda: Console(file=written, force_terminal=True, width=80))
    shown = progress.RunProgress(tiny("train.steps=50000", "run.trials=5", "prune.levels=20"), 3)
    watcher = shown.watcher()

    def drawn() -> list[str]:
        written.truncate(0)
        with shown:
            pass
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).splitlines()
        return [" ".join(line.split()) for line in lines if "━" in line]

    assert any(line.startswith("level 3 of 20 ") and "14% of the run" in line for line in drawn())
    for trial, (loss, accuracy) in enumerate([(0.2, 0.9), (0.4, 0.8)]):
        watcher.on_evaluation(3, trial, Evaluation(40_000, 0.1, loss, accuracy, 0.5))
    lines = drawn()
    assert any(line.endswith("80,000/250,000 mean val loss 0.300, acc 85.0%") for line in lines)
    assert all(len(line) <= 80 for line in lines)
    watcher.on_evaluation(4, 0, Evaluation(1, 0.1, 0.7, 0.6, 0.5))  # on a cluster, a trial may be ahead of others
    lines = drawn()
    assert any(line.startswith("levels 3-4 of 20 ") and "16% of the run" in line for line in lines)
    assert any(line.endswith(" 40,001/250,000 mean val loss 0.550, acc 70.0%") for line in lines)
