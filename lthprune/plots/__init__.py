"""Figures of runs, with matplotlib; nothing here touches pyplot's global state."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from lthprune.errors import StorageError
from lthprune.histories import Histories
from lthprune.plots.curves import plot_accuracy_at_early_stop, plot_accuracy_over_steps, plot_early_stop_steps
from lthprune.runs import Run

__all__ = [
    "FIGURES",
    "plot_accuracy_at_early_stop",
    "plot_accuracy_over_steps",
    "plot_early_stop_steps",
    "save_figures",
]

FIGURES: dict[str, Callable[[Histories, str], Figure]] = {
    "accuracy-over-steps": plot_accuracy_over_steps,
    "accuracy-at-early-stop": plot_accuracy_at_early_stop,
    "early-stop-steps": plot_early_stop_steps,
}


def save_figures(run: Run) -> list[Path]:
    """Draw a run's figures into its ``figures`` folder, as PNG and SVG, and return their paths.

    Raises:
        StorageError: no level is finished, or the folder cannot be written.
    """
    if not run.tickets.manifest()["finished"]:
        raise StorageError(f"{run.folder} has no finished level to plot yet; go on with: lthprune resume {run.folder}")
    histories = run.histories()
    title = f"{run.recipe_name}: {run.recipe().prune.method.upper()}, {len(histories.curves['val_acc'])} trials"
    folder = run.folder / "figures"
    paths = []
    try:
        folder.mkdir(exist_ok=True)
        for name, plot in FIGURES.items():
            figure = plot(histories, title)
            for ending in ("png", "svg"):
                paths.append(folder / f"{name}.{ending}")
                figure.savefig(paths[-1])
    except OSError as error:
        raise StorageError(f"cannot write into {folder}: {error.strerror or error}.") from error
    return paths
