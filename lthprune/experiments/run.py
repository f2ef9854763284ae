"""A run: its files, and the summary, structure, figures, tables and exports that follow from them."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from lthprune.analysis import Cost, ticket_costs
from lthprune.arguments import check_word
from lthprune.compaction import Export, export_ticket
from lthprune.data import shapes_of_parts, tasks_of
from lthprune.errors import LthpruneError
from lthprune.experiments import figures
from lthprune.experiments.comparison import Comparison, compare
from lthprune.experiments.frames import as_frame, evaluation_columns, level_columns
from lthprune.experiments.run_folder import RunFolder, name_trials
from lthprune.experiments.structure import (
    LevelSplitting,
    LevelStructure,
    Structure,
    Trial,
    analyse,
    analyse_level,
    split_levels,
)
from lthprune.experiments.subject import NotApplicableError, Subject
from lthprune.experiments.summary import LevelSummary, summarise
from lthprune.reading import expanded
from lthprune.search import Ticket
from lthprune.training import Histories

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Run(RunFolder):
    """A run of a recipe: its tickets, summary, structure, figures and tables.

    Args:
        folder: the run directory.
        trust_code: whether functions of your own that the run's recipe names may be imported, to resume the run or to
            build its network. Without it, nothing named in the directory is imported.

    Attributes:
        folder: the run directory.
        tickets: the store of the run's tickets; ``run.tickets.level(3)`` reads those of level 3, one for each trial.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = run_recipe(recipe, "short", out=folder)
        ...     summary, structure, columns = run.summary(), run.structure(), run.to_frame("level")
        ...     figure = run.plot("states")
        >>> [level.level for level in summary], structure.parameters.counts.shape, columns["trial"].tolist()
        ([0, 1], (2, 5), [0, 0, 1, 1])
    """

    def __repr__(self) -> str:
        try:
            return f"<Run {str(self.folder)!r}: {self._described()}>"
        except (LthpruneError, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
            return f"<Run {str(self.folder)!r}: damaged or unreadable ({type(error).__name__})>"

    def _described(self) -> str:
        if not self.tickets.exists:
            return "no run"
        search, finished = self.tickets.manifest()["search"], self.tickets.finished
        if "driver" in search:
            return f"the tickets of {search['driver']}(), {finished} of {search['levels'] + 1} levels"
        settings = self.settings
        method, trials = settings["prune"]["method"].upper(), settings["run"]["trials"]
        number = f"{trials} trial{'s' if trials > 1 else ''}"
        said = f"{name_trials(self.trials)} of {trials}" if self.piece else number
        text = f"{self.recipe_name}, {method}, {said}, {self.state}"
        text += f", {finished} of {settings['prune']['levels'] + 1} levels"
        try:
            density = self.histories().density
        except LthpruneError:
            return text  # the histories can be written again; see ``gather_histories``
        return f"{text}, down to {density[finished - 1]:.2%} of the weights" if finished > 1 else text

    def summary(self) -> list[LevelSummary]:
        """Return accuracies and early stopping at each finished level, over the trials.

        See [`smallest_winning`][lthprune.experiments.smallest_winning] for the level to choose.

        Raises:
            StorageError: the folder is no run, or a file is damaged.
        """
        if not self.tickets.manifest()["finished"]:
            return []
        dense = self._first(0)
        histories, weights = self.histories(), sum(mask.numel() for mask in dense.masks.values())
        left = [round(float(density) * weights) for density in histories.density[: histories.finished]]
        if self.narrowed:
            left = [self._first(level).left for level in range(histories.finished)]
        return summarise(histories, left, tuple(dense.metrics.get("tasks", {})), self.tickets.failures)

    def _first(self, level: int) -> Ticket:
        """Return a level's ticket of the first trial that it has."""
        return self.tickets.ticket(level, self.tickets.trials(level)[0])

    def controls(self) -> dict[tuple[str, int], "Run"]:
        """Return the controls of this run that were begun, by kind and repetition.

        [`run_control`][lthprune.experiments.run_control] trains them.
        """
        paths = sorted(self.folder.glob("controls/*/manifest.json"))
        found = [(run, run.control) for run in (Run(path.parent, trust_code=self.trust_code) for path in paths)]
        return {(control["kind"], control["repeat"]): run for run, control in found if control is not None}

    def comparisons(self) -> list[Comparison]:
        """Compare this run with each kind of its controls, level by level and trial by trial.

        Raises:
            StorageError: a file of the run or of a control is damaged.
        """
        return [compare(kind, self.histories(), repeats) for kind, repeats in self._histories_of_controls().items()]

    def _histories_of_controls(self) -> dict[str, list[Histories]]:
        """Return the histories of each kind's repetitions; those that others are ahead of are left out."""
        kinds: dict[str, list[Histories]] = {}
        for (kind, _), control in self.controls().items():
            if control.tickets.finished:
                kinds.setdefault(kind, []).append(control.histories())
        longest = {kind: max(each.finished for each in repeats) for kind, repeats in kinds.items()}
        return {kind: [each for each in repeats if each.finished == longest[kind]] for kind, repeats in kinds.items()}

    def structure(self, trial: int | None = None, *, functional: bool = False) -> Structure:
        """Return the states of one trial's neurons and parameters at each finished level.

        Args:
            trial: the trial's number; by default the first of the run.
            functional: read biases and activations as trained; otherwise states follow from the masks alone.

        Raises:
            StorageError: the folder is no run, no level is finished, there is no such trial, or a file is damaged.
            PruningError: the network cannot be traced.
        """
        return analyse(self._trial(self.check_trial(trial)), self.levels_of(trial), functional=functional)

    def structure_at(self, level: int, trial: int | None = None, *, functional: bool = False) -> LevelStructure:
        """Return the states of one trial's neurons and parameters at one level, neuron by neuron.

        The arguments and errors are those of ``structure``.
        """
        return analyse_level(self._trial(self.check_trial(trial)), level, functional=functional)

    def splittings(self, trial: int | None = None) -> tuple[LevelSplitting, ...]:
        """Return how far one trial's network has split at each finished level; empty for data of a single task."""
        if len(self.recipe().data.parts) < 2:  # there is nothing to build the network for
            return ()
        trial = self.check_trial(trial)
        there = [level for level in range(self.tickets.finished) if trial in self.tickets.trials(level)]
        return split_levels(self._trial(trial), there)

    def costs(self, trial: int | None = None) -> tuple[Cost, ...]:
        """Return the parameters and multiply-adds of one trial's network at each finished level.

        See [`ticket_costs`][lthprune.analysis.ticket_costs] for what is counted.

        Raises:
            StorageError: the folder is no run, no level is finished, there is no such trial, or a file is damaged.
            PruningError: the run prunes layers whose multiply-adds cannot be counted.
        """
        levels, of = self.levels_of(trial), self._trial(self.check_trial(trial))
        return tuple(ticket_costs(of.model, map(of.read, levels), of.example))

    def plot(
        self, name: str = "accuracy-at-early-stop", *, trial: int | None = None, level: int | None = None
    ) -> "Figure":
        """Return one of the run's figures.

        Args:
            name: ``accuracy-over-steps``, ``accuracy-at-early-stop``, ``early-stop-steps``, ``steps-needed``,
                ``controls``, ``stability``, ``interpolation`` or ``information`` of all trials; ``pruned-by-layer``,
                ``weight-histograms``, ``states``, ``lifetimes``, ``biases``, ``inputs``, ``coverage``,
                ``decidedness`` or ``separation`` of one trial; or ``weights`` or ``network`` of one level of it.
            trial: the number of that trial; by default the first of the run.
            level: the number of that level; by default the last that the trial has finished.

        Raises:
            StorageError: no level is finished, there is no such trial or level, or a file is damaged.
            PruningError: the name is unknown, the figure does not apply to this run, or the network cannot be traced.
        """
        return figures.plot(self._subject(trial, level), name)

    def save_figures(
        self, *, trial: int | None = None, level: int | None = None, out: str | Path | None = None
    ) -> list[Path]:
        """Write all figures that apply to the run as PNG, SVG and PDF, and return their paths.

        Each ticket is read and traced once, and kept until the figures are drawn. Warns if the network cannot be
        traced, and leaves out the figures that show its neurons.

        Args:
            trial: the trial that figures of one trial show; by default the first of the run.
            level: the level that figures of one level show; by default the last finished one.
            out: the folder; ``figures`` in the run directory by default.

        Raises:
            StorageError: no level is finished, there is no such trial or level, a file is damaged, or the folder
                cannot be written.
        """
        folder = self.folder / "figures" if out is None else expanded(out)
        return figures.save_figures(self._subject(trial, level), folder)

    def to_frame(self, per: Literal["evaluation", "level"] = "evaluation") -> Any:
        """Return the measurements as a table: a pandas DataFrame if pandas is installed, otherwise a dict of arrays.

        The columns are ``trial``, ``level``, ``density``, ``step`` (or ``early_stop_step``), ``train_loss``,
        ``val_loss``, ``val_acc`` and ``test_acc``; for data of several tasks also their accuracies, as in
        ``test_acc_moons``.

        Args:
            per: a row for each trial, level and ``"evaluation"``, without those where nothing was measured; or a row
                for each trial and ``"level"``, at the early-stopping step.

        Raises:
            PruningError: ``per`` is unknown.
            StorageError: the folder is no run, or its histories are damaged.
        """
        check_word("per", per, ("evaluation", "level"))
        tasks = list(self._first(0).metrics.get("tasks", {})) if self.tickets.finished else []
        columns = evaluation_columns if per == "evaluation" else level_columns
        return as_frame(columns(self.histories(), tasks))

    def export(
        self,
        level: int | None = None,
        *,
        trial: int | None = None,
        weights: Literal["trained", "rewound"] = "trained",
        compact: bool = False,
        drop_inputs: bool = False,
        onnx: bool = False,
        out: str | Path | None = None,
    ) -> Export:
        """Write the network of a ticket into a folder, where it needs no recipe.

        Args:
            level: the ticket's; by default the last that the trial has finished.
            trial: the ticket's; by default the first of the run.
            weights: as of [`export_ticket`][lthprune.compaction.export_ticket], like the next three.
            compact: make the network smaller.
            drop_inputs: with ``compact``, drop the unused inputs too.
            onnx: write ``model.onnx`` too.
            out: the folder; ``exports/level-NN-trial-N`` in the run directory by default.

        Raises:
            StorageError: the ticket is missing or damaged, or the folder contains an export or cannot be written.
            PruningError: as of ``export_ticket``; nothing is written then.
        """
        level = self.levels_of(trial)[-1] if level is None else level
        trial = self.check_trial(trial)
        recipe, ticket = self.recipe(), self.tickets.ticket(level, trial)
        folder = self.folder / "exports" / f"level-{level:02d}-trial-{trial}" if out is None else out
        return export_ticket(
            ticket,
            self.model(trial),
            self.data_shape()[0],
            folder,
            weights=weights,
            compact=compact,
            drop_inputs=drop_inputs,
            onnx=onnx,
            spec=recipe.model,
            source={"recipe": self.recipe_name, "run": self.name, "level": level, "trial": trial},
        )

    def _trial(self, number: int, read: Callable[[int], Ticket] | None = None) -> Trial:
        recipe = self.recipe()
        return Trial(
            run=self.name,
            number=number,
            method=recipe.prune.method,
            read=read or partial(self.tickets.ticket, trial=number),
            model=self.model(number),
            example=torch.zeros(1, *self.data_shape()[0]),
            tasks=tasks_of(recipe.data, data_dir=self.data_dir, trust_code=self.trust_code),
            coverage=recipe.run.coverage,
            failures=tuple(failure for failure in self.tickets.failures if failure.trial == number),
        )

    def _subject(self, trial: int | None, level: int | None) -> Subject:
        self.check_started()
        recipe, trial = self.recipe(), self.check_trial(trial)
        levels = [each for each in range(self.tickets.finished) if trial in self.tickets.trials(each)]
        shown = level if level is not None else levels[-1] if levels else 0
        self.check_level(shown)

        @cache
        def read(level: int) -> Ticket:
            if not levels:
                raise NotApplicableError(
                    f"{self.why_missing(trial)}, so no figure can show this trial. Name another one."
                )
            return self.tickets.ticket(level, trial)

        what = recipe.prune.method.upper() + (", transferred" if self.transfer else "")
        what = what if self.control is None else self.control["kind"]
        return Subject(
            title=f"{self.recipe_name}: {what}",
            trial=trial,
            level=shown,
            levels=len(levels) or 1,
            tasks=len(recipe.data.parts),
            per_epoch=self.steps_per_epoch,
            read_shapes=lambda: shapes_of_parts(recipe.data, data_dir=self.data_dir, trust_code=self.trust_code),
            read_histories=lambda: self.histories().only(self.trials),
            read_controls=lambda: {
                kind: Histories.pooled(repeats, self.histories().density)
                for kind, repeats in self._histories_of_controls().items()
            },
            read_stability=self.stability,
            read_information=self.information,
            read_tasks=lambda: tasks_of(recipe.data, data_dir=self.data_dir, trust_code=self.trust_code),
            read_ticket=read,
            analyse=lambda: analyse(self._trial(trial, read), levels or [0]),
            analyse_level=lambda: analyse_level(self._trial(trial, read), shown),
        )
