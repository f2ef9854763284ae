"""Errors and warnings: each says in one paragraph what is wrong, where, and how to fix it."""

import difflib
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = f"{Path(__file__).parent}{os.sep}"


class LthpruneError(Exception):
    """The base class of all errors of lthprune; the message says what is wrong, where, and how to fix it."""


class PruningError(LthpruneError, ValueError):
    """A model, schedule, score, search or training cannot do what was asked; raised before anything is changed."""


class RecipeError(LthpruneError, ValueError):
    """A recipe cannot be read or contradicts itself; the message lists all of its faults."""


class DataError(LthpruneError):
    """A data set is missing, damaged or of the wrong shape."""


class StorageError(LthpruneError):
    """A ticket or run on disk is missing, damaged or does not fit its use."""


class LayerCollapseWarning(UserWarning):
    """Pruning has removed the last weight of a layer, so no signal passes through it."""


class NothingPrunedWarning(UserWarning):
    """A fraction above zero of a few weights rounds to no weight at all."""


class UnmovedWarning(UserWarning):
    """A training did not change a tensor that the dense training had changed."""


class CoverageWarning(UserWarning):
    """The default selection leaves out many of a model's weights."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller's own code that led here, however many calls inside the package lie between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known word, or a full stop.

    Examples:
        >>> suggestion("geometirc", ["geometric", "target"])
        "; did you mean 'geometric'?"
        >>> suggestion("zebra", ["geometric", "target"])
        '.'
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."
