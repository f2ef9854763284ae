"""The progress of a run: bars on a terminal, and a line for every finished level."""

from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from lthprune.experiments import Recipe, Run, Watcher
from lthprune.search import Ticket
from lthprune.training import Evaluation
from lthprune_cli.consoles import Console


class _Amount(ProgressColumn):
    """The steps made and what was measured at them; for the whole run, the time that it has taken and still takes."""

    def render(self, task: Task) -> Text:
        if "measured" in task.fields:
            return Text(f"{task.completed:,.0f}/{task.total:,.0f}{task.fields['measured']}")
        elapsed, left = (
            "-:--:--" if seconds is None else str(timedelta(seconds=int(seconds)))
            for seconds in (task.elapsed, task.time_remaining)
        )
        return Text(f"{task.percentage:.0f}% of the run, {elapsed} passed, {left} left")


class RunProgress:
    """Two bars with what they count: the levels of the run with the time left, and the steps of the present level.

    The second line shows means over the trials at their last evaluations.
    """

    def __init__(self, recipe: Recipe, finished: int) -> None:
        self.run: Run | None = None
        self._console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            _Amount(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            speed_estimate_period=600,  # seconds: levels differ in speed
        )
        trials = recipe.run.trials
        self._levels = recipe.prune.levels or 0  # the recipe of a preview or a run contains its levels
        self._steps = trials * recipe.train.steps  # of all trials, at each level
        self._mean = trials > 1
        total, steps = (self._levels + 1) * self._steps, f"steps, {trials} trials" if trials > 1 else "steps"
        self._whole = self._progress.add_task("", total=total, completed=finished * self._steps)
        self._present = self._progress.add_task(steps, total=self._steps, measured="")
        self._last: list[Evaluation | None] = [None] * trials  # the last evaluation of each, at the present level
        self._enter_level(finished)

    def __enter__(self) -> "RunProgress":
        if not self._progress.disable:  # a hidden bar of rich before 15 would still end its line
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._progress.disable:
            self._progress.stop()

    def watcher(self) -> Watcher:
        """Return the watcher to hand to a run."""
        return Watcher(on_begin=self._begin, on_evaluation=self._evaluation, on_level=self._finished)

    def _begin(self, run: Run) -> None:
        self.run = run
        self._console.print(f"Run directory: {run.folder}", soft_wrap=True)

    def _enter_level(self, level: int) -> None:
        self._level, self._last = level, [None] * len(self._last)
        if level > self._levels:  # the last one is finished
            return
        dense = " (dense)" if level == 0 else ""
        self._progress.update(self._whole, description=f"level {level} of {self._levels}{dense}")
        self._progress.update(self._whole, completed=level * self._steps)
        self._progress.update(self._present, completed=0, measured="")
        self._progress.refresh()  # every level is shown, however short

    def _evaluation(self, level: int, trial: int, evaluation: Evaluation) -> None:
        if level != self._level:
            self._enter_level(level)
        self._last[trial] = evaluation
        known = [each for each in self._last if each is not None]
        made = sum(each.step for each in known)
        loss = sum(each.val_loss for each in known) / len(known)
        accuracy = sum(each.val_acc for each in known) / len(known)
        measured = f"  {'mean ' if self._mean else ''}val loss {loss:.3f}, acc {accuracy:.1%}"
        self._progress.update(self._present, completed=made, measured=measured)
        self._progress.update(self._whole, completed=self._level * self._steps + made)

    def _finished(self, tickets: Sequence[Ticket]) -> None:
        self._enter_level(tickets[0].level + 1)
        val_acc = [ticket.metrics["val_acc"] for ticket in tickets]
        test_acc = [ticket.metrics["test_acc"] for ticket in tickets]
        self._console.print(
            f"level {tickets[0].level:2d}  density {tickets[0].density:7.2%}  "
            f"val acc {sum(val_acc) / len(val_acc):.2%}  test acc {sum(test_acc) / len(test_acc):.2%}  "
            f"{tickets[0].metrics['engine']}",
        )
