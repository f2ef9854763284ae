"""Histories: the measurements over the trials, levels and evaluations of a run, as plain arrays."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from lthprune.array_files import check_sizes
from lthprune.errors import StorageError
from lthprune.files import write_atomically
from lthprune.reading import open_regular
from lthprune.search import Ticket
from lthprune.training.record import HISTORIES, TASK_HISTORIES
from lthprune.training.stopping import early_stopping_index


@dataclass(frozen=True, repr=False)
class Histories:
    """The measurements of a run.

    Attributes:
        curves: ``train_loss``, ``val_loss``, ``val_acc``, ``test_acc``, each of shape (trials, levels + 1,
            evaluations); NaN where nothing was measured: after training stopped early, before a late rewind point,
            and for levels that a trial has not finished. For data of several tasks also ``task_val_acc`` and
            ``task_test_acc``, of shape (trials, levels + 1, evaluations, tasks).
        density: (levels + 1,), in [0, 1]; NaN for unfinished levels.
        steps: (evaluations,), the optimiser step of each evaluation.
    """

    curves: dict[str, np.ndarray]
    density: np.ndarray
    steps: np.ndarray

    def __repr__(self) -> str:
        trials, levels, evaluations = self.curves["val_loss"].shape
        return (
            f"<Histories of {_number(trials, 'trial')}, {_number(levels, 'level')} ({self.finished} finished) and "
            f"{_number(evaluations, 'evaluation')}: {', '.join(self.curves)}>"
        )

    @property
    def finished(self) -> int:
        """The number of finished levels, the dense one included."""
        return int((~np.isnan(self.density)).sum())

    @classmethod
    def empty(cls, trials: int, levels: int, steps: Sequence[int], tasks: int = 1) -> "Histories":
        """Return histories without any measurement.

        Examples:
            >>> Histories.empty(5, 12, [100, 200]).curves["val_acc"].shape
            (5, 13, 2)
        """
        shape = (trials, levels + 1, len(steps))
        curves = {name: np.full(shape, np.nan) for name in HISTORIES}
        if tasks > 1:
            curves |= {name: np.full((*shape, tasks), np.nan) for name in TASK_HISTORIES}
        return cls(curves, np.full(levels + 1, np.nan), np.array(steps))

    def fits(self, other: "Histories") -> bool:
        """Return whether these are curves of the same names, shapes and types as others, at the same steps."""
        mine, others = ({**each.curves, "density": each.density} for each in (self, other))
        return np.array_equal(self.steps, other.steps) and {
            name: (values.shape, values.dtype) for name, values in mine.items()
        } == {name: (values.shape, values.dtype) for name, values in others.items()}

    def plausible(self, levels: int) -> bool:
        """Return whether the first levels have a density in [0, 1], and all accuracies are in [0, 1] or NaN."""
        density = self.density[:levels]
        accuracies = [curve for name, curve in self.curves.items() if name.endswith("acc")]
        return bool(((density >= 0) & (density <= 1)).all()) and all(
            bool(((curve >= 0) & (curve <= 1) | np.isnan(curve)).all()) for curve in accuracies
        )

    def record(self, tickets: Sequence[Ticket]) -> None:
        """Enter a finished level, given the tickets of its trials with their ``history`` among the metrics.

        Raises:
            StorageError: a ticket, which may be a stranger's, has no such history.
        """
        for ticket in tickets:
            try:
                self.density[ticket.level] = ticket.density
                for name, curve in self.curves.items():
                    curve[ticket.trial, ticket.level] = ticket.metrics["history"][name]
            except (LookupError, TypeError, ValueError) as error:
                raise StorageError(
                    f"the ticket of level {ticket.level} of trial {ticket.trial} is damaged: it has no history of this "
                    f"run's evaluations ({error}). Restore it from a copy."
                ) from error

    def up_to(self, finished: int) -> "Histories":
        """Return the histories of the first ``finished`` levels; the rest is NaN."""
        kept = Histories({name: curve.copy() for name, curve in self.curves.items()}, self.density.copy(), self.steps)
        for curve in kept.curves.values():
            curve[:, finished:] = np.nan
        kept.density[finished:] = np.nan
        return kept

    def only(self, trials: Sequence[int]) -> "Histories":
        """Return the histories of these trials."""
        return Histories({name: curve[list(trials)] for name, curve in self.curves.items()}, self.density, self.steps)

    @classmethod
    def pooled(cls, repeats: Sequence["Histories"], density: np.ndarray) -> "Histories":
        """Return the trials of several histories as those of one, at given densities, of shape (levels + 1,).

        For controls, whose own density is that of other networks.
        """
        first = repeats[0]
        curves = {name: np.concatenate([each.curves[name] for each in repeats]) for name in first.curves}
        finished = min(each.finished for each in repeats)
        return cls(curves, density, first.steps).up_to(finished)

    def early_stop_steps(self) -> np.ndarray:
        """Return the steps of minimum validation loss, of shape (trials, levels + 1); NaN for levels without any."""
        steps: np.ndarray = self.steps[self._early_stop_places()].astype(float)
        steps[~self.measured] = np.nan
        return steps

    @property
    def measured(self) -> np.ndarray:
        """Whether a trial has finished a level, of shape (trials, levels + 1), and has a validation loss there."""
        measured: np.ndarray = ~np.isnan(self.curves["val_loss"]).all(axis=2)
        measured[:, np.isnan(self.density)] = False
        return measured

    def at_early_stop(self, name: str) -> np.ndarray:
        """Return a curve's values at the early-stopping steps, of shape (trials, levels + 1), or (..., tasks).

        NaN for levels that a trial has not finished, and for those of earlier versions at which it diverged.
        """
        curve, places = self.curves[name], self._early_stop_places()
        at = places.reshape(*places.shape, *[1] * (curve.ndim - 2))
        values: np.ndarray = np.take_along_axis(curve, at, axis=2).squeeze(axis=2)
        values[~self.measured] = np.nan
        return values

    def save(self, path: Path) -> None:
        """Write the arrays to an ``.npz`` file, atomically."""
        buffer = io.BytesIO()
        np.savez(buffer, **self.curves, density=self.density, steps=self.steps)  # type: ignore[arg-type]
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Histories":
        """Read the histories that ``save`` wrote.

        Raises:
            StorageError: the file is missing or damaged.
        """
        try:
            with open_regular(path) as stream:
                check_sizes(stream, (*HISTORIES, *TASK_HISTORIES, "density", "steps"))
                file = np.load(stream, allow_pickle=False)
                names = [*HISTORIES, *(name for name in TASK_HISTORIES if name in file)]
                arrays = {name: np.asarray(file[name]) for name in (*names, "density", "steps")}  # others are bytes
            if any(array.dtype.kind not in "fiu" for array in arrays.values()):
                raise ValueError("its arrays are not numbers")
        except Exception as error:  # numpy, zipfile and its decoders raise errors of many types
            raise StorageError(
                f"{path} is missing or damaged ({error}). `lthprune resume {quote(str(path.parent))}` writes it again."
            ) from error
        return cls({name: arrays[name] for name in names}, arrays["density"], arrays["steps"])

    def _early_stop_places(self) -> np.ndarray:
        return np.array([[early_stopping_index(level) for level in trial] for trial in self.curves["val_loss"]])


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
