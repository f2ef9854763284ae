"""What is seen while a recipe runs: bars on a terminal, a line per level elsewhere."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lthprune.experiments import Recipe, Run, Watcher
from lthprune.search import Ticket
from lthprune.training import Evaluation


class RunProgress:
    """Two bars, one over the levels and one over the steps of the present level, with loss and accuracy."""

    def __init__(self, recipe: Recipe, finished: int) -> None:
        self.run: Run | None = None
        self._console = Console()
        self._progress = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        levels = recipe.prune.levels or 0  # whoever shows progress has the levels worked out
        self._levels = self._progress.add_task("levels", total=levels + 1, completed=finished)
        self._steps = self._progress.add_task("", total=recipe.run.trials * recipe.train.steps)
        self._level = finished - 1
        self._made = [0] * recipe.run.trials  # steps of each trial at the present level

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
        self._console.print(f"Run directory: {run.folder}", highlight=False, soft_wrap=True)

    def _evaluation(self, level: int, trial: int, evaluation: Evaluation) -> None:
        if level != self._level:
            self._level = level
            self._made = [0] * len(self._made)
            self._progress.reset(self._steps)
        self._made[trial] = evaluation.step
        self._progress.update(
            self._steps,
            completed=sum(self._made),
            description=f"loss {evaluation.val_loss:.3f} acc {evaluation.val_acc:.2%}",
        )

    def _finished(self, tickets: Sequence[Ticket]) -> None:
        self._progress.advance(self._levels)
        val_acc = [ticket.metrics["val_acc"] for ticket in tickets]
        test_acc = [ticket.metrics["test_acc"] for ticket in tickets]
        self._console.print(
            f"level {tickets[0].level:2d}  density {tickets[0].density:7.2%}  "
            f"val acc {sum(val_acc) / len(val_acc):.2%}  test acc {sum(test_acc) / len(test_acc):.2%}  "
            f"{tickets[0].metrics['engine']}",
            highlight=False,
        )
