"""Pieces of a run, each with some of its trials, merged into one run directory."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from lthprune.errors import StorageError
from lthprune.experiments.environment import other_roundings
from lthprune.experiments.execution import reason_to_end
from lthprune.experiments.folders import create_run
from lthprune.experiments.run import Run
from lthprune.experiments.run_folder import name_trials
from lthprune.search import ALL_DIVERGED, append_joined, begin_joined, end_joined
from lthprune.training import Histories
from lthprune.writing import only_writer


def merge_runs(pieces: Sequence[Run], folder: str | Path) -> Run:
    """Merge pieces of a run, which have different trials, into a run with all of them, in a new folder.

    Tickets, histories and manifest are those that one run of all trials writes. The pieces stay as they are. A run with
    a ``stop_when`` ends at the level at which the networks of all its trials fulfil it, as it would have ended.

    Args:
        pieces: finished runs of some trials each, which ``run_recipe(..., trials=...)`` made.
        folder: of the merged run.

    Raises:
        StorageError: the pieces are not of one run or lack trials or levels, a file is damaged, or the folder holds a
            run; nothing is written then. The message lists all differences.
        RecipeError: the recipe has a ``stop_when`` and names functions of your own, and a piece was opened without
            ``trust_code``.

    Examples:
        >>> import tempfile
        >>> from lthprune import load_recipe, run_recipe
        >>> recipe = load_recipe("lenet-digits", ["train.steps=5", "prune.levels=1", "run.trials=3"])
        >>> with tempfile.TemporaryDirectory() as out:
        ...     pieces = [run_recipe(recipe, "short", out=out, trials=trials) for trials in ([0, 1], [2])]
        ...     merged = merge_runs(pieces, f"{out}/merged")
        ...     pieces[0].trials, merged.trials, [len(merged.tickets.level(level)) for level in (0, 1)]
        ((0, 1), (0, 1, 2), [3, 3])
    """
    _check_pieces(pieces)
    _warn_of_stacked(pieces)
    folder = Path(folder).expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise StorageError(f"{folder} is there already and is not empty. Name a new folder for the merged run.")
    environments, (levels, reason) = [piece.environment() for piece in pieces], _end(pieces)
    warn_of_mixed_roundings(environments)
    with only_writer(folder):
        run = create_run(pieces[0].recipe(), folder)
        run.write_environment(joined_environment(environments))
        begin_joined([piece.tickets for piece in pieces], run.tickets)
        histories = run.gather_histories()
        for _ in range(levels):
            join_level(pieces, run, histories)
        if reason is not None:
            run.tickets.end(reason)
        elif not run.complete:
            end_joined([piece.tickets for piece in pieces], run.tickets, end_of_pieces(pieces))
    return run


def join_level(pieces: Sequence[Run], run: Run, histories: Histories) -> None:
    """Add the next level of a run, which all of its pieces have, and enter it in the run's histories."""
    for piece in pieces:
        if piece.tickets.finished > run.tickets.finished:
            histories.record(piece.tickets.open(run.tickets.finished))
    histories.save(run.folder / "histories.npz")
    append_joined([piece.tickets for piece in pieces], run.tickets)


def _check_pieces(pieces: Sequence[Run]) -> None:
    """Raise a StorageError unless the pieces are finished, of one run, and have all of its trials once."""
    if not pieces:
        raise StorageError("there are no pieces to merge. Name the run directories of all pieces.")
    first, faults = pieces[0], []
    for piece in pieces:
        piece.check_searched("Merge the pieces")
        piece.recipe()  # which is the one that it began with
        faults += [f"{piece.folder} has {each}" for each in _differences(first, piece)]
    folders = [piece.folder.resolve() for piece in pieces]
    faults += [f"{folder} is named twice" for folder in dict.fromkeys(folders) if folders.count(folder) > 1]
    found: dict[int, list[Path]] = {}
    for piece in dict(zip(folders, pieces, strict=True)).values():
        for trial in piece.trials:
            found.setdefault(trial, []).append(piece.folder)
    for several in dict.fromkeys(tuple(found[trial]) for trial in sorted(found) if len(found[trial]) > 1):
        trials = [trial for trial in sorted(found) if tuple(found[trial]) == several]
        faults.append(f"{name_trials(trials)} {_is(trials)} in {' and '.join(map(str, several))}")
    missing = sorted(set(range(first.recipe().run.trials)) - set(found))
    if missing:
        faults.append(f"{name_trials(missing)} of {first.recipe().run.trials} {_is(missing)} in no piece")
    faults += [
        f"{piece.folder} has {piece.tickets.finished} of {piece.settings['prune']['levels'] + 1} levels (resume it "
        f"with: {piece.resume_command})"
        for piece in pieces
        if not piece.complete
    ]
    if faults:
        raise StorageError(f"these are not all the finished pieces of one run: {'; '.join(faults)}.")
    for piece in pieces:
        manifest = piece.tickets.manifest()
        for file in (file for files in (manifest["initial"], *manifest["finished"]) for file in files):
            piece.tickets.path_of(file)  # raises before anything is written


def _differences(first: Run, piece: Run) -> list[str]:
    """Return a phrase for each entry of a piece's search that is not that of the first piece."""
    mine, others = (_flat(each.tickets.manifest()["search"]) for each in (piece, first))
    return [
        f"other data than {first.folder}" if key == "data" else f"{key} = {mine.get(key)!r}, not {others.get(key)!r}"
        for key in {**others, **mine}
        if mine.get(key) != others.get(key)
    ]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested table's values by dotted key, without the word ``settings``."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = "" if key == "settings" and not prefix else f"{prefix}{key}"
        flat |= _flat(value, f"{name}." if name else "") if isinstance(value, dict) else {name: value}
    return flat


def _is(trials: Sequence[int]) -> str:
    return "is" if len(trials) == 1 else "are"


def warn_of_mixed_roundings(pieces: Sequence[Mapping[str, Any]]) -> None:
    """Warn if the environments of pieces differ in what their last bits depend on."""
    differing = {each for piece in pieces for each in other_roundings(pieces[0], piece)}
    if differing:
        warnings.warn(
            f"the pieces were not made alike: {'; '.join(sorted(differing))}. Some trials may differ in their last "
            "bits from those of one run.",
            stacklevel=3,
        )


def joined_environment(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the environment of the first piece, with the start, the times and the peak memory of all."""
    seconds: dict[str, float] = {}
    for piece in pieces:
        for level, took in piece.get("seconds_per_level", {}).items():
            seconds[level] = round(seconds.get(level, 0) + took, 3)
    peaks = [piece["peak_memory_mb"] for piece in pieces if piece.get("peak_memory_mb") is not None]
    return {
        **pieces[0],
        "started": min(str(piece.get("started", "")) for piece in pieces),
        "seconds_per_level": seconds,
        "peak_memory_mb": max(peaks, default=None),
    }


def _end(pieces: Sequence[Run]) -> tuple[int, str | None]:
    """Return the number of levels of the merged run, and why its ``stop_when`` ends it there; None if it does not."""
    levels, condition = max(piece.tickets.finished for piece in pieces), pieces[0].recipe().run.stop_when
    if condition is not None:
        splittings = [piece.splittings(trial) for piece in pieces for trial in piece.trials]
        alike = _longest(pieces).tickets.ended not in (None, ALL_DIVERGED)  # their last level ends any run by itself
        for level, trials in islice(enumerate(zip_longest(*splittings)), levels - alike):
            reason = reason_to_end(condition, [trial.splitting.status for trial in trials if trial is not None])
            if reason is not None:
                return level + 1, reason
    return levels, None


def end_of_pieces(pieces: Sequence[Run]) -> str:
    """Return why the run of these pieces ends before its last level: as those that have the most levels."""
    return str(_longest(pieces).tickets.ended)


def _longest(pieces: Sequence[Run]) -> Run:
    return max(pieces, key=lambda piece: piece.tickets.finished)


def _warn_of_stacked(pieces: Sequence[Run]) -> None:
    """Warn if an engine trained the pieces whose bits depend on how many trials it trains side by side."""
    dense = [ticket for piece in pieces if piece.tickets.finished for ticket in piece.tickets.open(0)]
    if any(ticket.metrics["engine"] == "stacked" for ticket in dense):
        warnings.warn(
            "the engine stacked computes all trials in one product, so these differ in their last bits from those of "
            "one run. Set train.engine=compiled or unhooked for trials that do not depend on one another.",
            stacklevel=3,
        )
