"""The progress of a run: bars on a terminal, and a line for every finished level."""

from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from lthprune.experiments import Recipe, Run, Watcher
from lthprune.search import LOWER_RATE, Failure, Ticket
from lthprune.training import Evaluation
from lthprune_cli.consoles import Console
from lthprune_cli.failures import count_failures


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


class JobsProgress:
    """The progress of several runs on a cluster at a time: a bar for each that has begun, and lines as in a run."""

    def __init__(self) -> None:
        self._console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            _Amount(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> "JobsProgress":
        if not self._progress.disable:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._progress.disable:
            self._progress.stop()

    def watcher(self, name: str, recipe: Recipe) -> Watcher:
        """Return the watcher of a run, given what to call it and its recipe."""
        levels, total = recipe.prune.levels or 0, recipe.run.trials * recipe.train.steps
        bar = self._progress.add_task(name, total=total, measured="", visible=False)
        last: dict[int, Evaluation] = {}

        def show(level: int, trial: int, evaluation: Evaluation) -> None:
            last[trial] = evaluation
            accuracy = sum(each.val_acc for each in last.values()) / len(last)
            measured = f"  level {level} of {levels}, acc {accuracy:.1%}"
            made = sum(each.step for each in last.values())
            self._progress.update(bar, completed=made, measured=measured, visible=True)

        def finish(tickets: Sequence[Ticket]) -> None:
            last.clear()
            self._progress.update(bar, completed=0, visible=tickets[0].level < levels)
            self._console.print(f"{name}: {_line(tickets)}")

        return Watcher(on_evaluation=show, on_diverged=lambda failure: _warn_of(f"{name}: {failure}"), on_level=finish)


class RunProgress:
    """Two bars with what they count: the levels of the run with the time left, and the steps of the present level.

    The second line shows means over the trials at their last evaluations.
    """

    def __init__(self, recipe: Recipe, finished: int, trials: Sequence[int] | None = None) -> None:
        self.run: Run | None = None
        self._trials = recipe.run.trials if trials is None else len(trials)
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
        self._levels = recipe.prune.levels or 0  # the recipe of a preview or a run contains its levels
        self._steps = self._trials * recipe.train.steps  # of all trials, at each level
        self._mean = self._trials > 1
        total, steps = (self._levels + 1) * self._steps, f"steps, {self._trials} trials" if self._mean else "steps"
        self._whole = self._progress.add_task("", total=total, completed=finished * self._steps)
        self._present = self._progress.add_task(steps, total=self._steps, measured="")
        self._last: dict[int, tuple[int, Evaluation]] = {}  # of each trial; on a cluster, some are levels ahead
        self._gone: set[int] = set()  # the trials whose training diverged
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
        return Watcher(
            on_begin=self._begin,
            on_evaluation=self._evaluation,
            on_diverged=self._diverged,
            on_level=self._finished,
        )

    def _begin(self, run: Run) -> None:
        self.run = run
        self._gone = set(run.diverged)
        self._console.print(f"Run directory: {run.folder}", soft_wrap=True)

    def _enter_level(self, level: int) -> None:
        self._level = level
        self._last = {trial: (at, last) for trial, (at, last) in self._last.items() if at >= level}
        if level > self._levels:  # the last one is finished
            return
        self._show_level(level, level)
        self._progress.update(self._whole, completed=level * self._steps)
        self._progress.update(self._present, completed=0, measured="")
        self._progress.refresh()  # every level is shown, however short

    def _show_level(self, lowest: int, highest: int) -> None:
        levels = f"level {lowest}" if lowest == highest else f"levels {lowest}-{highest}"
        dense = " (dense)" if highest == 0 else ""
        self._progress.update(self._whole, description=f"{levels} of {self._levels}{dense}")

    def _evaluation(self, level: int, trial: int, evaluation: Evaluation) -> None:
        if level < self._level or (level > self._level and not self._last):
            self._enter_level(level)
        self._last[trial] = level, evaluation
        levels, known = zip(*self._last.values(), strict=True)
        self._show_level(self._level, max(levels))
        made = sum(each.step for each in known)
        made += len(self._gone) * (self._steps // self._trials)
        loss = sum(each.val_loss for each in known) / len(known)
        accuracy = sum(each.val_acc for each in known) / len(known)
        measured = f"  {'mean ' if self._mean else ''}val loss {loss:.3f}, acc {accuracy:.1%}"
        self._progress.update(self._present, completed=made, measured=measured)
        made += sum(at - self._level for at in levels) * (self._steps // self._trials)
        self._progress.update(self._whole, completed=self._level * self._steps + made)

    def _diverged(self, failure: Failure) -> None:
        if failure.level < self._level or (failure.level > self._level and not self._last):
            self._enter_level(failure.level)
        self._gone.add(failure.trial)
        self._last.pop(failure.trial, None)
        _warn_of(str(failure))

    def _finished(self, tickets: Sequence[Ticket]) -> None:
        self._enter_level(tickets[0].level + 1)
        self._console.print(_line(tickets))
        failed = count_failures([ticket.failure for ticket in tickets if ticket.failure is not None])
        gone = f"{len(self._gone)} diverged" if self._gone else ""
        if failed or gone:
            self._console.print(f"          of {self._trials} trials: {', '.join(filter(None, (gone, failed)))}")


def _warn_of(divergence: str) -> None:
    text = f" {divergence}. This trial ends there. {LOWER_RATE}"
    Console(stderr=True).print(Text.assemble(("Warning:", "yellow"), text))


def _line(tickets: Sequence[Ticket]) -> str:
    """Return what is printed of a finished level: means over its trials."""
    val_acc = [ticket.metrics["val_acc"] for ticket in tickets]
    test_acc = [ticket.metrics["test_acc"] for ticket in tickets]
    return (
        f"level {tickets[0].level:2d}  density {tickets[0].density:7.2%}  "
        f"val acc {sum(val_acc) / len(val_acc):.2%}  test acc {sum(test_acc) / len(test_acc):.2%}  "
        f"{tickets[0].metrics['engine']}"
    )
