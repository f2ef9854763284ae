"""Errors and warnings: each says in one paragraph what is wrong, where, and how to fix it."""

import contextlib
import difflib
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
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


class DivergedWarning(UserWarning):
    """The training of a model diverged, so a search continues without it."""


class CoverageWarning(UserWarning):
    """The default selection leaves out many of a model's weights."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller's own code that led here, however many calls inside the package lie between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, contextlib.__file__)):
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


def listed(faults: Sequence[str], most: int = 5) -> str:
    """Return the first faults of a list, joined by semicolons, and how many others there are.

    Examples:
        >>> listed(["a is missing", "b is missing", "c is missing"], most=2)
        'a is missing; b is missing; and 1 other'
    """
    others = len(faults) - most
    more = [f"and {others:,} other{'s' if others > 1 else ''}"] if others > 0 else []
    return "; ".join([*faults[:most], *more])


def shown(value: object, most: int = 200) -> str:
    """Return a value as Python writes it, for error messages; of a long one the beginning and the end.

    Examples:
        >>> shown("a" * 1000, most=15)
        "'aaaaa...aaaaa'"
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a deeply nested list
        return f"a value of the type {type(value).__name__} that is too long to show"
    return shortened(text, most)


def shortened(text: str, most: int = 500) -> str:
    """Return a text of at most so many characters, without its middle if it is longer.

    Examples:
        >>> shortened("from the first to the last", most=15)
        'from t...e last'
    """
    kept = (most - 3) // 2
    return text if len(text) <= most else f"{text[:kept]}...{text[-kept:]}"
